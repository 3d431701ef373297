"""The selection rules, over rows made by hand."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from ended_rows import ended

from raysl.results.records.rows import Score, TrialRow
from raysl.results.records.stages import Member, StageRecord
from raysl.results.tables.build import ConfigSummary
from raysl.search.config_means import pareto_front, summarise
from raysl.search.rules import OBJECTIVES, RULES
from raysl.search.selection import is_tie, select


def row(
    trial_id: str, loss: float | None, accuracy: float | None = 0.5, status: str = "finished", reason: str = ""
) -> TrialRow:
    probe = {} if accuracy is None else {"accuracy": accuracy}
    return ended(trial_id, status, reason=reason, final_loss=loss, probe=probe)  # type: ignore[arg-type]


def record(rule: str = "train_loss") -> StageRecord:
    members = tuple(
        Member(f"{config}{seed}", config, seed, {"optimizer.lr": lr})
        for config, lr in (("a", 0.1), ("b", 0.01), ("c", 0.001))
        for seed in (0, 1)
    )
    return StageRecord("e", "", "s", "id", rule, 0, {}, ("optimizer.lr",), members, 0.0)  # type: ignore[arg-type]


def rows(losses: Mapping[str, float | None], **others: TrialRow) -> dict[str, TrialRow]:
    return {name: row(name, loss) for name, loss in losses.items()} | others


LOSSES = {"a0": 1.0, "a1": 2.0, "b0": 1.4, "b1": 1.4, "c0": 0.1, "c1": 9.0}


def test_the_lowest_mean_is_chosen_not_the_lowest_seed() -> None:
    selection = select(record(), rows(LOSSES), 0.0)
    assert selection.config_id == "b"
    assert selection.trial_ids == ("b0", "b1")
    assert selection.params == {"optimizer.lr": 0.01}
    assert [(entry.config_id, entry.value) for entry in selection.ranking] == [("b", 1.4), ("a", 1.5), ("c", 4.55)]
    assert "1.4" in selection.reason
    assert "1.5" in selection.reason


def test_a_config_with_a_failed_seed_is_named_and_never_chosen() -> None:
    failed = row("b1", None, None, "diverged", "non-finite loss in epoch 3 of 9")
    selection = select(record(), rows(LOSSES, b1=failed), 0.0)
    assert selection.config_id == "a"
    assert [(entry.config_id, entry.reason) for entry in selection.ineligible] == [
        ("b", "seed 1 diverged (non-finite loss in epoch 3 of 9)")
    ]
    [_, b, _] = summarise(record(), rows(LOSSES, b1=failed), {})
    assert (b.num_seeds, b.num_finished, b.eligible, b.means.get("final_loss")) == (2, 1, False, None)


def test_a_missing_seed_is_not_averaged_away() -> None:
    known = rows(LOSSES)
    del known["b0"]
    selection = select(record(), known, 0.0)
    assert selection.config_id == "a"
    assert selection.ineligible[0].reason == "seed 0 is not trained yet"


def test_ties_are_named_and_the_first_of_the_search_is_taken() -> None:
    selection = select(record(), rows(LOSSES | {"b0": 1.5, "b1": 1.5}), 0.0)
    assert selection.config_id == "a"
    assert selection.reason.endswith("tied with (optimizer.lr=0.01), the first of the search is taken")


@pytest.mark.parametrize("status", ["collapsed", "stopped"])
def test_a_seed_that_ended_early_makes_its_config_ineligible_with_its_reason(status: str) -> None:
    # Its curve ended before the others' did, and so may hold a loss that looks better than theirs.
    ended = row("b0", 0.0, 0.99, status, "in epoch 3 of 9")
    selection = select(record(), rows(LOSSES, b0=ended), 0.0)
    assert selection.config_id == "a"
    assert [(entry.config_id, entry.reason) for entry in selection.ineligible] == [
        ("b", f"seed 0 {status} (in epoch 3 of 9)")
    ]
    [_, b, _] = summarise(record(), rows(LOSSES, b0=ended), {})
    assert (b.eligible, b.num_finished, b.means) == (False, 1, {})


def test_probe_accuracy_takes_the_highest() -> None:
    known = {name: row(name, 1.0, accuracy) for name, accuracy in LOSSES.items()}
    assert select(record("probe_accuracy"), known, 0.0).config_id == "c"


def test_probe_accuracy_needs_one_for_every_seed() -> None:
    known = {name: row(name, 1.0, accuracy) for name, accuracy in LOSSES.items()} | {"c1": row("c1", 1.0, None)}
    selection = select(record("probe_accuracy"), known, 0.0)
    assert selection.config_id == "a"
    assert selection.ineligible[0].config_id == "c"


def test_nothing_eligible_selects_nothing_and_says_so() -> None:
    failed = {name: row(name, None, None, "failed", "its process died") for name in LOSSES}
    selection = select(record(), failed, 0.0)
    assert (selection.config_id, selection.trial_ids) == (None, ())
    assert "no config is eligible" in selection.reason


def test_test_scores_reach_the_summary_but_no_rule() -> None:
    scores = {
        name: Score(name, {"accuracy": accuracy}, 10, "{}")
        for name, accuracy in (("a0", 0.9), ("a1", 0.7), ("b0", 0.5))
    }
    a, b, _ = summarise(record(), rows(LOSSES), scores)
    assert a.means.get("test_accuracy") == pytest.approx(0.8)
    assert a.stds.get("test_accuracy") == pytest.approx(math.sqrt(0.02))
    assert b.means.get("test_accuracy") is None  # one of its seeds is not scored
    assert set(select.__annotations__) == {"record", "rows", "selected_at", "return"}


def config(name: str, accuracy: float | None, seconds: float | None, *, eligible: bool = True) -> ConfigSummary:
    values = {"final_loss": 1.0, "probe_accuracy": accuracy, "seconds": seconds}
    means = {column: value for column, value in values.items() if value is not None}
    return ConfigSummary("id", name, 1, 1, eligible, "", means, {})


def with_loss(summary: ConfigSummary, loss: float) -> ConfigSummary:
    return replace(summary, means={**summary.means, "final_loss": loss})


def test_the_front_is_of_configs_that_none_other_beats() -> None:
    configs = [
        config("slow and good", 0.9, 30.0),
        config("slower", 0.9, 31.0),
        config("quick", 0.5, 1.0),
        config("worse", 0.4, 1.0),
        config("between", 0.7, 10.0),
        config("beaten by between", 0.6, 20.0),
    ]
    assert pareto_front(configs, ["probe_accuracy", "seconds"]) == {"slow and good", "quick", "between"}
    assert pareto_front(reversed(configs), ["seconds", "probe_accuracy"]) == {"slow and good", "quick", "between"}


def test_equal_configs_are_on_the_front_together() -> None:
    configs = [config("a", 0.9, 1.0), config("b", 0.9, 1.0), config("c", 0.8, 1.0)]
    assert pareto_front(configs, ["probe_accuracy", "seconds"]) == {"a", "b"}


def test_only_eligible_configs_with_all_values_are_on_the_front() -> None:
    configs = [config("failed", 0.9, 1.0, eligible=False), config("unmeasured", None, 1.0), config("c", 0.1, 9.0)]
    assert pareto_front(configs, ["probe_accuracy", "seconds"]) == {"c"}
    assert pareto_front([], ["probe_accuracy", "seconds"]) == set()


def test_the_front_agrees_with_every_pair_compared() -> None:
    values = [(place * 7 % 11 / 11, float(place * 5 % 13), place * 3 % 7 / 7) for place in range(60)]
    configs = [with_loss(config(str(place), a, s), loss) for place, (a, s, loss) in enumerate(values)]
    costs = [(-a, s, loss) for a, s, loss in values]
    expected = {
        str(place)
        for place, own in enumerate(costs)
        if not any(other != own and all(x <= y for x, y in zip(other, own, strict=True)) for other in costs)
    }
    assert pareto_front(configs, ["probe_accuracy", "seconds", "train_loss"]) == expected
    assert 3 < len(expected) < 60


def test_only_a_search_of_several_objectives_has_a_front() -> None:
    for objectives in ((), ("probe_accuracy",)):
        alone = replace(record(), objectives=objectives)
        assert {summary.pareto for summary in summarise(alone, rows(LOSSES), {})} == {None}
    both = replace(record(), objectives=("train_loss", "seconds"))
    failed = row("c0", None, None, "failed", "its process died")
    assert [summary.pareto for summary in summarise(both, rows(LOSSES, c0=failed), {})] == [False, True, False]


def test_no_objective_reads_test_scores() -> None:
    assert set(RULES) < set(OBJECTIVES)
    assert not any("test" in rule.column for rule in OBJECTIVES.values())
    # Weighing is no choosing: the rule alone does that.
    weighed = replace(record(), objectives=("probe_accuracy", "seconds"))
    assert select(weighed, rows(LOSSES), 0.0) == select(record(), rows(LOSSES), 0.0)


def test_trials_of_different_code_are_named_in_the_reason() -> None:
    trained = rows(LOSSES)
    of_one = {name: replace(one, code="1") for name, one in trained.items()}
    assert "code" not in select(record(), trained, 0.0).reason
    assert "code" not in select(record(), of_one, 0.0).reason
    mixed = select(record(), of_one | {"c0": replace(trained["c0"], code="2")}, 0.0)
    assert mixed.reason.endswith("; trials of different code were compared: 5 of 1, 1 of 2")
    earlier = select(record(), of_one | {"c0": trained["c0"]}, 0.0)
    assert earlier.reason.endswith("5 of 1, 1 of code that was not recorded")


def test_trials_of_other_methods_have_other_code_and_may_be_compared() -> None:
    trained = {
        name: replace(one, code=name[0], spec=json.dumps({"method": {"name": name[0]}}))
        for name, one in rows(LOSSES).items()
    }
    assert "code" not in select(record(), trained, 0.0).reason


def test_what_was_not_compared_is_not_named() -> None:
    trained = {name: replace(one, code="1") for name, one in rows(LOSSES).items()}
    trained["c1"] = replace(trained["c1"], code="2", status="failed")
    assert "code" not in select(record(), trained, 0.0).reason


def test_many_ties_are_counted() -> None:
    members = tuple(Member(f"t{n}", f"c{n}", 0, {"w": n / 10}) for n in range(9))
    selection = select(replace(record(), members=members), rows(dict.fromkeys((m.trial_id for m in members), 1.0)), 0.0)
    tied = "tied with (w=0.1), (w=0.2), (w=0.3), (w=0.4), (w=0.5), 3 more, the first of the search is taken"
    assert selection.reason.endswith(tied)


@pytest.mark.parametrize(
    ("values", "rule", "tie"),
    [
        ([], "train_loss", False),
        ([1.0], "probe_accuracy", False),
        ([1.0, 1.0], "probe_accuracy", True),
        ([1.0, 1.0], "train_loss", False),
        ([0.9, 0.9], "probe_accuracy", False),
        ([0.9, 0.9, 0.9], "probe_accuracy", True),
        ([0.9, 0.9, 0.8], "probe_accuracy", False),
    ],
)
def test_equal_values_are_a_tie_where_they_are_no_accident(values: list[float], rule: str, tie: bool) -> None:
    assert is_tie(values, RULES[rule]) == tie


def noisy(**losses: tuple[float, ...]) -> tuple[StageRecord, dict[str, TrialRow]]:
    """Return a stage whose configs have these losses, by seed, and cost 3, 2 and 1 s."""
    members = tuple(
        Member(f"{name}{seed}", name, seed, {"epochs": 30 - 10 * place})
        for place, (name, values) in enumerate(losses.items())
        for seed in range(len(values))
    )
    trained = {
        f"{name}{seed}": replace(row(f"{name}{seed}", loss), seconds=3.0 - place)
        for place, (name, values) in enumerate(losses.items())
        for seed, loss in enumerate(values)
    }
    return replace(record(), members=members), trained


BEST, AS_GOOD, WORSE = (1.0, 1.3, 0.8, 1.1), (1.3, 0.9, 1.1, 1.0), (9.0, 9.4, 8.7, 9.1)


def test_the_tie_set_is_of_configs_that_cannot_be_told_from_the_best() -> None:
    stage, trained = noisy(a=BEST, b=AS_GOOD, c=WORSE)
    assert [summary.in_tie_set for summary in summarise(stage, trained, {})] == [True, True, False]


def test_without_a_second_seed_or_config_there_is_no_tie_set() -> None:
    for losses in ({"a": (1.0,), "b": (1.0,)}, {"a": BEST}):
        stage, trained = noisy(**losses)
        assert {summary.in_tie_set for summary in summarise(stage, trained, {})} == {None}
    stage, trained = noisy(a=BEST, b=AS_GOOD)
    failed = {"b1": replace(trained["b1"], status="failed", final_loss=None)}
    assert {summary.in_tie_set for summary in summarise(stage, trained | failed, {})} == {None}  # type: ignore[arg-type]


def test_a_config_that_no_rule_may_choose_is_in_no_tie_set() -> None:
    stage, trained = noisy(a=BEST, b=AS_GOOD, c=WORSE)
    trained["b1"] = row("b1", None, None, "diverged", "non-finite loss")
    assert [summary.in_tie_set for summary in summarise(stage, trained, {})] == [True, False, False]


def test_no_tie_set_reads_test_scores() -> None:
    stage, trained = noisy(a=BEST, b=AS_GOOD, c=WORSE)
    scores = {name: Score(name, {"accuracy": 1.0 - place / 20}, 10, "{}") for place, name in enumerate(trained)}
    with_scores, without = summarise(stage, trained, scores), summarise(stage, trained, {})
    assert [one.in_tie_set for one in with_scores] == [one.in_tie_set for one in without]


def test_a_tie_set_changes_no_selection_unless_it_is_asked_for() -> None:
    stage, trained = noisy(a=BEST, b=AS_GOOD, c=WORSE)
    selection = select(stage, trained, 0.0)
    assert selection.config_id == "a"
    assert selection.reason == "lowest mean final training loss over the seeds: 1.05 (next: 1.075)"


def test_the_cheapest_of_the_tie_set_is_taken_with_its_reason() -> None:
    stage, trained = noisy(a=BEST, b=AS_GOOD, c=WORSE)
    selection = select(replace(stage, ties="cheapest"), trained, 0.0)
    assert selection.config_id == "b"
    assert selection.trial_ids == ("b0", "b1", "b2", "b3")
    assert [entry.config_id for entry in selection.ranking] == ["a", "b", "c"]
    assert selection.reason == (
        "cheapest of the 2 configs that cannot be told from the best at 5 %: 2 s a trial, mean final training loss "
        "over the seeds 1.075; the best (epochs=30): 3 s a trial, mean final training loss over the seeds 1.05"
    )


def test_of_equally_cheap_configs_the_first_of_the_search_is_taken() -> None:
    stage, trained = noisy(a=AS_GOOD, b=BEST, c=WORSE)
    same = {name: replace(one, seconds=1.0) for name, one in trained.items()}
    assert select(replace(stage, ties="cheapest"), same, 0.0).config_id == "a"
    best_is_cheap = same | {f"b{seed}": replace(same[f"b{seed}"], seconds=0.5) for seed in range(4)}
    selection = select(replace(stage, ties="cheapest"), best_is_cheap, 0.0)
    assert selection.config_id == "b"
    assert selection.reason.endswith("0.5 s a trial, mean final training loss over the seeds 1.05, and the best")


def test_the_cheapest_alone_in_its_tie_set_says_so() -> None:
    stage, trained = noisy(a=BEST, c=WORSE)
    selection = select(replace(stage, ties="cheapest"), trained, 0.0)
    assert selection.config_id == "a"
    assert selection.reason.endswith("1.05 (next: 9.05); no other config ties with it at 5 %")
    alone, one = noisy(a=BEST)
    assert select(replace(alone, ties="cheapest"), one, 0.0).config_id == "a"


def test_means_that_differ_by_rounding_tie_and_the_first_of_the_search_is_taken() -> None:
    # The mean of b is less than that of a by the rounding of a sum.
    selection = select(record(), rows(LOSSES | {"a0": 0.3, "a1": 0.3, "b0": 0.3, "b1": 0.3 - 1e-16}), 0.0)
    assert selection.config_id == "a"
    assert [entry.config_id for entry in selection.ranking] == ["a", "b", "c"]
    assert selection.reason.endswith("tied with (optimizer.lr=0.01), the first of the search is taken")
    apart = select(record(), rows(LOSSES | {"a0": 0.3, "a1": 0.3, "b0": 0.3, "b1": 0.3 - 1e-8}), 0.0)
    assert apart.config_id == "b"
