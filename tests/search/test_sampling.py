"""Optuna's samplers over a space, as functions of what they were asked and told."""

import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.diverging import SHARES, searched
from optuna.trial import TrialState

from raysl.config import load
from raysl.errors import UserError
from raysl.results.records.proposals import Proposal, Told, read_proposals, write_proposal
from raysl.results.storage.store import Store
from raysl.search import sampling
from raysl.search.samplers import build_sampler
from raysl.search.sampling import Sampler, draw, rehearse, told_of
from raysl.search.settings import SearchSettings
from raysl.search.space import Choice, Grid, IntRange, Range, Space, size

SPACE: Space = {
    "w": Range(0.0, 1.0),
    "lr": Range(1e-4, 1e-1, log=True),
    "depth": IntRange(1, 4),
    "kind": Choice(("a", "b")),
}
PLANE: Space = {"w": Range(0.0, 1.0), "lr": Range(1e-4, 1e-1, log=True)}
SPACES = Path(__file__).parents[2] / "search_spaces"
OPTIMUM = {"w": 0.3, "lr": 3e-3}


def optuna(num_configs: int = 20, **more: Any) -> SearchSettings:
    return SearchSettings(algorithm="optuna", num_configs=num_configs, **more)


def accuracy(params: dict[str, Any]) -> float:
    """Return a synthetic objective, 1 at `OPTIMUM` and lower everywhere else."""
    import math

    return 1 - (params["w"] - OPTIMUM["w"]) ** 2 - (math.log10(params["lr"] / OPTIMUM["lr"]) / 3) ** 2


def search(settings: SearchSettings, num: int, space: Space = SPACE, value: Callable[..., float] = accuracy) -> Sampler:
    """Return a sampler that was told of each config before it was asked for the next."""
    sampler, told = Sampler(settings, space, ["probe_accuracy"]), []
    for number in range(num):
        params = sampler.propose(told)
        assert params is not None
        told = [Told(number, "finished", (value(params),))]
    return sampler


def params_of(sampler: Sampler) -> list[dict[str, Any]]:
    return [proposal.params for proposal in sampler.proposals]


def test_proposals_lie_in_the_space() -> None:
    for params in params_of(search(optuna(), 25)):
        assert 0 <= params["w"] <= 1
        assert 1e-4 <= params["lr"] <= 1e-1
        assert params["depth"] in (1, 2, 3, 4)
        assert isinstance(params["depth"], int)
        assert params["kind"] in ("a", "b")


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "TPESampler", "multivariate": True, "n_startup_trials": 4},
        {"name": "NSGAIISampler", "population_size": 5},
        {"name": "QMCSampler"},
        {"name": "RandomSampler"},
    ],
    ids=lambda sampler: sampler["name"],
)
@pytest.mark.parametrize("stop", [1, 7, 13])
def test_a_search_that_is_taken_up_again_proposes_what_the_undisturbed_one_does(
    sampler: dict[str, Any], stop: int
) -> None:
    settings = optuna(sampler=sampler)
    undisturbed, killed = search(settings, 16), search(settings, stop)
    again = Sampler(settings, SPACE, ["probe_accuracy"])
    again.replay(killed.proposals)
    for number in range(stop, 16):
        again.propose([Told(number - 1, "finished", (accuracy(again.proposals[number - 1].params),))])
    assert again.proposals == undisturbed.proposals


def test_the_order_of_asking_and_telling_is_replayed_too() -> None:
    """Two configs at once: each is proposed while the one before is still being trained."""
    settings = optuna(sampler={"name": "TPESampler", "n_startup_trials": 2})

    def late(sampler: Sampler, numbers: range) -> None:
        for number in numbers:
            told = [Told(n, "finished", (accuracy(sampler.proposals[n].params),)) for n in [number - 2] if n >= 0]
            sampler.propose(told)

    whole, first, again = (Sampler(settings, SPACE, ["probe_accuracy"]) for _ in range(3))
    late(whole, range(14))
    late(first, range(9))
    again.replay(first.proposals)
    late(again, range(9, 14))
    assert again.proposals == whole.proposals
    assert params_of(whole) != params_of(search(settings, 14))


def test_results_change_what_is_proposed() -> None:
    settings = optuna(sampler={"name": "TPESampler", "n_startup_trials": 3})
    other = search(settings, 12, value=lambda params: -accuracy(params))
    assert params_of(search(settings, 12)) != params_of(other)


def test_another_seed_proposes_others() -> None:
    assert params_of(search(optuna(), 3)) != params_of(search(optuna(seed=1), 3))


def test_what_was_proposed_stands_though_the_sampler_now_proposes_otherwise() -> None:
    old = search(optuna(seed=1), 5)
    again = Sampler(optuna(seed=2), SPACE, ["probe_accuracy"])
    again.replay(old.proposals)
    assert again.proposals == old.proposals
    more = again.propose([Told(4, "finished", (0.5,))])
    assert more is not None
    assert more not in params_of(old)


def test_no_config_is_proposed_twice_and_a_small_space_is_used_up() -> None:
    space: Space = {"depth": IntRange(1, 3), "kind": Choice(("a", "b"))}
    sampler, told, found = Sampler(optuna(), space, ["probe_accuracy"]), [], []
    while (params := sampler.propose(told)) is not None:
        found.append(tuple(params.values()))
        told = [Told(len(found) - 1, "finished", (0.5,))]
    assert sorted(found) == [(depth, kind) for depth in (1, 2, 3) for kind in ("a", "b")]


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_config_without_a_value_is_no_result(status: Any) -> None:
    """Its values elsewhere would be the highest of all, and the search would stay where it fails."""
    sampler, told = (
        Sampler(optuna(sampler={"name": "TPESampler", "n_startup_trials": 5}), PLANE, ["probe_accuracy"]),
        [],
    )
    for number in range(40):
        params = sampler.propose(told)
        assert params is not None
        fails = params["w"] > 0.5
        told = [Told(number, status) if fails else Told(number, "finished", (params["w"],))]
    assert len(sampler.study.get_trials(states=[TrialState.COMPLETE])) > 1
    assert max(trial.value or 0 for trial in sampler.study.trials) <= 0.5


def test_a_stopped_config_is_pruned_and_a_failed_one_failed() -> None:
    sampler = Sampler(optuna(), PLANE, ["probe_accuracy"])
    for told in ((), [Told(0, "stopped")], [Told(1, "failed")]):
        sampler.propose(told)
    assert [trial.state for trial in sampler.study.trials[:2]] == [TrialState.PRUNED, TrialState.FAIL]


def test_one_unfinished_seed_fails_its_config() -> None:
    finished = dict.fromkeys(range(3), "finished")
    assert told_of(4, finished, [0.5]) == Told(4, "finished", (0.5,))
    assert told_of(4, {**finished, 1: "failed"}, [None]).status == "failed"
    for own in ("diverged", "collapsed"):
        assert told_of(4, {0: "stopped", 1: own, 2: "failed"}, [None]) == Told(4, "diverged")
    assert told_of(4, {**finished, 2: "stopped"}, [None]).status == "stopped"
    assert told_of(4, finished, [0.5, None]).status == "failed"


def states(sampler: Sampler) -> list[tuple[str, list[float] | None]]:
    return [(trial.state.name, trial.values) for trial in sampler.study.trials[:-1]]


def test_a_diverged_config_is_as_bad_as_the_worst_that_finished() -> None:
    sampler = Sampler(optuna(), PLANE, ["train_loss"])
    for told in (
        (),
        ("diverged",),
        ("finished", 0.3),
        ("finished", 0.9),
        ("finished", 0.1),
        ("diverged",),
        ("failed",),
    ):
        number = len(sampler.proposals) - 1
        sampler.propose([Told(number, told[0], told[1:])] if told else ())  # type: ignore[arg-type]
    assert states(sampler) == [
        ("PRUNED", None), ("COMPLETE", [0.3]), ("COMPLETE", [0.9]), ("COMPLETE", [0.1]), ("COMPLETE", [0.9]),
        ("FAIL", None),
    ]  # fmt: skip


def test_it_is_so_in_each_of_several_objectives_in_its_own_direction() -> None:
    sampler = Sampler(optuna(), PLANE, ["probe_accuracy", "seconds"])
    for told in ((), ("diverged",), ("finished", 0.9, 12.0), ("finished", 0.2, 3.0), ("diverged",)):
        number = len(sampler.proposals) - 1
        sampler.propose([Told(number, told[0], told[1:])] if told else ())  # type: ignore[arg-type]
    assert states(sampler)[0] == ("COMPLETE", [0.9, 12.0])  # as soon as one had finished
    assert states(sampler)[3] == ("COMPLETE", [0.2, 12.0])


def test_a_sampler_that_repeats_itself_does_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaussian processes know nothing of a config that failed, and propose it again."""
    monkeypatch.setattr(sampling, "MOST_REPEATS", 3)
    settings = optuna(sampler={"name": "GPSampler", "n_startup_trials": 1})
    sampler, again = (Sampler(settings, PLANE, ["train_loss"]) for _ in range(2))
    for number in range(8):
        sampler.propose([Told(number - 1, "failed")] if number > 1 else [Told(0, "finished", (0.5,))][:number])
    assert len({tuple(params.values()) for params in params_of(sampler)}) == 8
    again.replay(sampler.proposals)
    assert again.proposals == sampler.proposals


@pytest.mark.parametrize("share", SHARES)
def test_a_search_leaves_a_region_that_diverges(share: float) -> None:
    """Means over 8 seeds; told as failed, TPE learns nothing of them and proposes more of the same."""
    learnt, failed = ([searched(seed, share, status) for seed in range(8)] for status in ("diverged", "failed"))
    assert statistics.fmean(one.diverged for one in learnt) < 0.85 * statistics.fmean(one.diverged for one in failed)
    assert statistics.median(one.best for one in learnt) < 0.5 * statistics.median(one.best for one in failed)


def best(params: list[dict[str, Any]]) -> float:
    return max(map(accuracy, params))


def test_optuna_beats_random_search_at_equal_budget() -> None:
    """Over 20 repetitions; 15 or more of 20 has a probability of 2 % if both were alike."""
    budget, wins, gaps = 30, 0, []
    for seed in range(20):
        adaptive = best(params_of(search(optuna(seed=seed), budget, PLANE)))
        random = best(draw(SearchSettings(algorithm="random", num_configs=budget, seed=seed), PLANE))
        wins += adaptive > random
        gaps.append((1 - random) / (1 - adaptive))
    assert wins >= 15
    assert statistics.median(gaps) > 1.5


def test_a_longer_random_search_begins_with_the_shorter_one() -> None:
    short, long = (draw(SearchSettings(algorithm="random", num_configs=n, seed=3), SPACE) for n in (5, 12))
    assert long[:5] == short
    assert len({str(params) for params in long}) == 12


def test_another_seed_draws_others_and_a_logarithmic_range_evenly_over_its_logarithm() -> None:
    drawn = [draw(SearchSettings(algorithm="random", num_configs=50, seed=seed), PLANE) for seed in (0, 1)]
    assert drawn[0] != drawn[1]
    assert 10 < sum(params["lr"] < 10**-2.5 for params in drawn[0]) < 40  # 1 or 2 if they were drawn evenly


def test_random_search_takes_each_point_of_a_grid_once() -> None:
    found = draw(SearchSettings(algorithm="random", num_configs=10), {"w": Grid((0.0, 0.5, 1.0))})
    assert sorted(params["w"] for params in found) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("seed", range(4))
def test_random_search_finds_the_last_points_of_a_finite_space(seed: int) -> None:
    space: Space = {"depth": IntRange(1, 10), "w": Grid((0.0, 0.5, 1.0)), "kind": Choice(("a", "b", "c", "d"))}
    assert size(space) == 120
    found = draw(SearchSettings(algorithm="random", num_configs=200, seed=seed), space)
    assert len({tuple(params.values()) for params in found}) == len(found) == 120
    assert all(list(params) == list(space) for params in found)


def test_several_objectives_are_weighed_in_their_own_direction() -> None:
    sampler = Sampler(optuna(), PLANE, ["probe_accuracy", "seconds"])
    sampler.propose(())
    sampler.propose([Told(0, "finished", (0.9, 12.0))])
    sampler.propose([Told(1, "stopped")])
    assert [direction.name for direction in sampler.study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert sampler.study.best_trials[0].values == [0.9, 12.0]


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ({"name": "TPESample"}, "'TPESample' is no sampler; did you mean 'TPESampler'"),
        ({"name": "TPESampler", "multivariat": True}, "sampler.multivariat: is no option of TPESampler; did you mean"),
        ({"name": "TPESampler", "seed": 3}, "is search.seed"),
        ({"name": "QMCSampler", "qmc_type": "sobool"}, "QMCSampler does not take"),
        ({}, "None is no sampler"),
        ({"name": ["TPESampler"]}, "is no sampler"),
        ({"name": "BruteForceSampler"}, "is no sampler"),
        ({"name": "TPESampler", "n_startup_trials": "three"}, "sampler.n_startup_trials: must be int, not 'three'"),
        ({"name": "TPESampler", "multivariate": 1}, "sampler.multivariate: must be bool | None, not 1"),
        ({"name": "TPESampler", "gamma": 0.5}, "sampler.gamma: is a function"),
        ({"name": "QMCSampler", "independent_sampler": "RandomSampler"}, "sampler.independent_sampler: is an object"),
        ({"name": "NSGAIISampler", "crossover": "uniform"}, "sampler.crossover: is an object of BaseCrossover"),
        ({"name": "NSGAIIISampler", "reference_points": [[1.0]]}, "sampler.reference_points: is an object"),
    ],
)
def test_unknown_samplers_and_options_are_refused_with_the_choices(sampler: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        build_sampler(optuna(sampler=sampler))
    assert expected in str(caught.value)


@pytest.mark.parametrize("sampler", [*(path for path in SPACES.glob("*.yaml") if "sampler:" in path.read_text())])
def test_samplers_of_the_shipped_files_are_of_no_old_optuna(sampler: Path, caplog: pytest.LogCaptureFixture) -> None:
    [stage] = [stage for stage in load(sampler).stages if stage.adaptive]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        build_sampler(stage.settings.search)
    build_sampler(optuna())
    assert caplog.text == ""


def test_an_option_that_optuna_will_drop_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        build_sampler(optuna(sampler={"name": "TPESampler", "consider_endpoints": True}))
    assert caplog.text.count("sampler: TPESampler: `consider_endpoints` has been deprecated") == 1


def test_what_a_sampler_refuses_when_it_is_asked_is_known_beforehand() -> None:
    with pytest.raises(UserError, match=r"sampler: CmaEsSampler cannot search this space: .*multi-objective"):
        rehearse(optuna(sampler={"name": "CmaEsSampler"}), PLANE, ["probe_accuracy", "seconds"])
    rehearse(optuna(), PLANE, ["probe_accuracy", "seconds"])


def test_proposals_survive_the_results_folder(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path), create=True)
    assert read_proposals(store, "stage") == []
    whole = search(optuna(), 4).proposals
    for number, proposal in enumerate(whole):
        write_proposal(store, "stage", number, 1, proposal)
    assert read_proposals(store, "stage") == whole
    assert isinstance(whole[1], Proposal)
