"""Votes of criteria, over rows made by hand."""

from collections.abc import Mapping

import pytest
from ended_rows import ended
from pydantic import TypeAdapter, ValidationError

from raysl.results.criteria import VOTE, VoteName, asked_for, vote_name, voters
from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import Member, StageRecord
from raysl.search.config_means import compared_value, summarise
from raysl.search.rules import RULES, best_by
from raysl.search.selection import select
from raysl.search.vote import Vote, mean_ranks

# Of configs a, b and c, for seeds 0 and 1.  rankme and ami are best high, alignment low.
MEASURED = {
    "a": {"rankme": (9.0, 7.0), "ami": (0.2, 0.4), "alignment": (0.5, 0.5)},
    "b": {"rankme": (6.0, 6.0), "ami": (0.9, 0.7), "alignment": (0.1, 0.3)},
    "c": {"rankme": (1.0, 3.0), "ami": (0.8, 0.6), "alignment": (0.9, 0.9)},
}
CRITERIA = ("rankme", "alignment", "ami")


def record(rule: str = "train_loss") -> StageRecord:
    members = tuple(
        Member(f"{config}{seed}", config, seed, {"optimizer.lr": lr})
        for config, lr in (("a", 0.1), ("b", 0.01), ("c", 0.001))
        for seed in (0, 1)
    )
    return StageRecord("e", "", "s", "id", rule, 0, {}, ("optimizer.lr",), members, 0.0)  # type: ignore[arg-type]


def rows(measured: Mapping[str, Mapping[str, tuple[float | None, float | None]]] = MEASURED) -> dict[str, TrialRow]:
    found = {}
    for config, values in measured.items():
        for seed in (0, 1):
            criteria = {name: value[seed] for name, value in values.items()}
            found[f"{config}{seed}"] = ended(f"{config}{seed}", criteria=criteria)
    return found


def voting(*criteria: str) -> str:
    return vote_name(criteria or CRITERIA)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rule", "chosen"), [("rankme", "a"), ("ami", "b"), ("alignment", "b")])
def test_each_criterion_takes_its_better_end(rule: str, chosen: str) -> None:
    assert select(record(rule), rows(), 0.0).config_id == chosen


def test_the_lowest_mean_rank_is_chosen() -> None:
    # Ranks by rankme 1, 2, 3; by alignment 2, 1, 3; by ami 3, 1, 2.
    selection = select(record(voting()), rows(), 0.0)
    assert [(entry.config_id, entry.value) for entry in selection.ranking] == [
        ("b", pytest.approx(4 / 3)), ("a", pytest.approx(2)), ("c", pytest.approx(8 / 3)),
    ]  # fmt: skip
    assert selection.reason.startswith(
        "lowest mean rank by rankme, alignment and ami over the seeds: 1.33333 (next: 2)"
    )
    assert (
        "alone would be taken by rankme (optimizer.lr=0.1), by alignment (optimizer.lr=0.01), by ami "
        "(optimizer.lr=0.01)" in selection.reason
    )


def test_equal_values_share_their_ranks() -> None:
    means = {"a": {"rankme": 3.0}, "b": {"rankme": 5.0}, "c": {"rankme": 3.0}, "d": {"rankme": 1.0}}
    assert mean_ranks(means, ["rankme"]) == {"a": 2.5, "b": 1, "c": 2.5, "d": 4}


def test_a_tie_of_mean_ranks_is_said_and_the_first_of_the_search_is_taken() -> None:
    # rankme ranks 1, 2, 3, and ami 3, 1, 2: a has 2, b 1.5, c 2.5; without b, a and c have 1.5 both.
    without = {name: values for name, values in rows().items() if name[0] != "b"}
    selection = select(record(voting("rankme", "ami")), without, 0.0)
    assert selection.config_id == "a"
    assert "tied with (optimizer.lr=0.001), the first of the search is taken" in selection.reason


def test_a_config_without_a_value_is_not_ranked_and_says_why() -> None:
    measured = {**MEASURED, "b": MEASURED["b"] | {"ami": (None, 0.7)}}
    selection = select(record(voting()), rows(measured), 0.0)
    assert [(one.config_id, one.reason.partition(":")[0]) for one in selection.ineligible] == [("b", "no vote")]
    assert [(entry.config_id, entry.value) for entry in selection.ranking] == [
        ("a", pytest.approx(4 / 3)), ("c", pytest.approx(5 / 3)),
    ]  # fmt: skip
    alone = select(record("ami"), rows(measured), 0.0)
    assert [one.config_id for one in alone.ineligible] == ["b"]
    assert "no ami: features of a trial have no such value" in alone.ineligible[0].reason


def test_a_diverged_seed_takes_part_in_no_rank() -> None:
    known = rows() | {"b1": ended("b1", "diverged")}
    found = {one.config_id: one.means.get(VOTE) for one in summarise(record(voting()), known, {})}
    assert found == {"a": pytest.approx(4 / 3), "b": None, "c": pytest.approx(5 / 3)}
    assert select(record(voting()), known, 0.0).config_id == "a"


def test_one_config_alone_has_no_mean_rank() -> None:
    stage = record(voting())
    assert compared_value(stage, stage.members[:2], rows()) is None


def test_other_stages_have_no_mean_rank() -> None:
    assert all(VOTE not in one.means for one in summarise(record("rankme"), rows(), {}))


def test_the_audit_chooses_as_the_selection_does() -> None:
    for rule in (*CRITERIA, voting(), voting("rankme", "ami")):
        selection = select(record(rule), rows(), 0.0)
        means = {one.config_id: one.means for one in summarise(record(), rows(), {})}
        assert best_by(rule, means)[0] == selection.config_id
    assert best_by("rankme", {"a": {}, "b": {"rankme": 1.0}}) == ["b"]
    assert best_by("rankme", {}) == []


def test_a_vote_has_one_name_whatever_the_order() -> None:
    vote = Vote.model_validate({"vote": ["ami", "rankme"]})
    assert vote.name == "vote(rankme, ami)"
    assert voters(vote.name) == ("rankme", "ami")
    assert asked_for([vote.name, "lidar", "seconds"]) == ("rankme", "lidar", "ami")
    assert TypeAdapter(VoteName).validate_python(vote.name) == vote.name


@pytest.mark.parametrize("name", ["vote(rankme)", "vote(rankme, loss)", "vote(rankme, ami", "rankme", "vote()", ""])
def test_other_names_are_no_votes(name: str) -> None:
    assert voters(name) == ()
    with pytest.raises(ValidationError):
        TypeAdapter(VoteName).validate_python(name)
    if name not in RULES:
        with pytest.raises(KeyError):
            RULES[name]
