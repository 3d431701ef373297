"""The selection rules, over rows made by hand."""

import math
from collections.abc import Mapping

import pytest

from raysl.results.rows import Score, TrialRow
from raysl.results.stages import Member, StageRecord
from raysl.search.selection import select, summarise


def row(
    trial_id: str, loss: float | None, accuracy: float | None = 0.5, status: str = "finished", reason: str = ""
) -> TrialRow:
    return TrialRow(
        trial_id=trial_id, status=status, reason=reason, method="rotation", seed=0, final_loss=loss,  # type: ignore[arg-type]
        probe_accuracy=accuracy, epochs=1, num_parameters=1, seconds=1.0, started_at=0.0, finished_at=1.0, workers=1,
        device="cpu", raysl_version="0", torch_version="0", spec="{}", curve=(),
    )  # fmt: skip


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
    assert (b.num_seeds, b.num_finished, b.eligible, b.final_loss_mean) == (2, 1, False, None)


def test_a_missing_seed_is_not_averaged_away() -> None:
    known = rows(LOSSES)
    del known["b0"]
    selection = select(record(), known, 0.0)
    assert selection.config_id == "a"
    assert selection.ineligible[0].reason == "seed 0 is not trained yet"


def test_ties_are_named_and_the_first_in_grid_order_is_taken() -> None:
    selection = select(record(), rows(LOSSES | {"b0": 1.5, "b1": 1.5}), 0.0)
    assert selection.config_id == "a"
    assert "tied with b" in selection.reason


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
    scores = {name: Score(name, accuracy, 10, "{}") for name, accuracy in (("a0", 0.9), ("a1", 0.7), ("b0", 0.5))}
    a, b, _ = summarise(record(), rows(LOSSES), scores)
    assert a.test_accuracy_mean == pytest.approx(0.8)
    assert a.test_accuracy_std == pytest.approx(math.sqrt(0.02))
    assert b.test_accuracy_mean is None  # one of its seeds is not scored
    assert set(select.__annotations__) == {"record", "rows", "selected_at", "return"}
