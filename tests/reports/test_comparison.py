"""`raysl compare`: what is paired and refused, and its numbers against scipy and worked values."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tiny import here

from raysl.reports.comparison import compare, overall
from raysl.reports.contestants import read_contestant, tasks
from raysl.reports.searched import MEASURES
from raysl.results.criteria import CRITERIA, Criterion
from raysl.statistics.paired import holm

CONFIGS = [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.01}]
SCORES = {"a": (0.80, 0.82, 0.78, 0.85, 0.81), "b": (0.83, 0.84, 0.80, 0.89, 0.82), "c": (0.79, 0.84, 0.76, 0.86, 0.80)}
Make = Callable[..., str]


def spec(seed: int, *, temperature: float = 0.5, split: int | None = None, **data: Any) -> dict[str, Any]:
    drawn = {"digest": "d", "labels": 50, "draw": "balanced"} | data
    streams = {} if split is None else {"split": split}
    return {
        "spec": json.dumps(
            {"data": drawn, "streams": streams, "method": {"name": "simclr", "temperature": temperature}, "seed": seed}
        )
    }


@pytest.fixture
def folder(made: Make) -> Make:
    """Make a results folder of stages, whose first config has these test scores and is selected."""

    def make(name: str, stages: Mapping[str, Sequence[float]], num_seeds: int = 5, **given: Any) -> str:
        def outcome_of(scores: Sequence[float]) -> Callable[..., dict[str, Any]]:
            def outcome(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
                first = params["optimizer.lr"] == 0.1
                scored = {"test_accuracy": scores[seed]} if first else {}
                measured = {"probe_accuracy": 0.6 if first else 0.5, "final_loss": 1 - scores[seed]}
                return measured | scored | spec(seed, **given)

            return outcome

        every = ((stage, CONFIGS, outcome_of(scores)) for stage, scores in stages.items())
        return made(*every, name=name, num_seeds=num_seeds)

    return make


@pytest.fixture
def three(folder: Make) -> list[str]:
    return [folder(name, {"semi": scores}) for name, scores in SCORES.items()]


def test_differences_are_those_of_scipy_with_holm_over_all_pairs(three: list[str]) -> None:
    found = compare(tasks([read_contestant(one) for one in three], None), "t")
    expected = [stats.ttest_rel(SCORES[a], SCORES[b]) for a, b in ("ab", "ac", "bc")]
    assert [(one.first, one.second) for one in found] == [(0, 1), (0, 2), (1, 2)]
    assert [one.p for one in found] == pytest.approx(holm(np.array([one.pvalue for one in expected])))
    for one, (a, b), test in zip(found, ("ab", "ac", "bc"), expected, strict=True):
        assert one.differences == pytest.approx([100 * (x - y) for x, y in zip(SCORES[a], SCORES[b], strict=True)])
        low, high = test.confidence_interval(0.95)
        assert one.interval == pytest.approx((100 * low, 100 * high))
        wins = [(x > y) + (x == y) / 2 for x in SCORES[a] for y in SCORES[b]]
        assert one.improvement == pytest.approx(np.mean(wins))


def test_the_detectable_difference_is_found_as_often_as_stated(three: list[str]) -> None:
    one, *_ = compare(tasks([read_contestant(name) for name in three], None), "t")
    std = float(np.std(one.differences, ddof=1))
    draws = np.random.default_rng(0).normal(one.detectable, std, (20_000, 5))
    found = stats.ttest_1samp(draws, 0.0, axis=1).pvalue <= 0.05 / 3  # the strictest of three comparisons
    assert found.mean() == pytest.approx(0.8, abs=0.015)


def test_seeds_are_paired_by_their_number_and_only_common_ones_count(folder: Make) -> None:
    uris = [folder("a", {"s": SCORES["a"]}), folder("b", {"s": SCORES["b"]}, num_seeds=3)]
    [one] = compare(tasks([read_contestant(uri) for uri in uris], None), "t")
    assert one.task.seeds == (0, 1, 2)
    assert one.differences == pytest.approx((-3.0, -2.0, -2.0))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": 100}, "labels is 50 and 100 (seed 0)"),
        ({"digest": "e"}, "the set of images is d and e (seed 0)"),
        ({"draw": "uniform"}, "draw is balanced and uniform (seed 0)"),
        ({"train_fraction": 0.5}, "train_fraction is None and 0.5 (seed 0)"),
    ],
)
def test_other_labelled_images_are_refused(folder: Make, changes: dict[str, Any], told: str) -> None:
    uris = [folder("a", {"s": SCORES["a"]}), folder("b", {"s": SCORES["b"]}, **changes)]
    ended = here("compare", *uris)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "not the same labelled training images" in ended.stderr


def test_a_fixed_split_is_not_that_of_the_seed(folder: Make) -> None:
    ended = here("compare", folder("a", {"s": SCORES["a"]}), folder("b", {"s": SCORES["b"]}, split=0))
    assert ended.returncode == 2
    assert "the seed of the split is 1 and 0 (seed 1)" in ended.stderr


def test_several_data_sets_are_matched_by_name_and_summarised(folder: Make) -> None:
    uris = [
        folder("a", {"x": SCORES["a"], "y": SCORES["b"], "own": SCORES["c"]}),
        folder("b", {"y": SCORES["c"], "x": SCORES["b"]}),
    ]
    compared = tasks([read_contestant(uri) for uri in uris], None)
    assert [task.name.partition(",")[0] for task in compared] == ["x", "y"]
    assert len(compare(compared, "t")) == 2
    whole = overall(compared)
    assert whole.iqms[0][0] == pytest.approx(stats.trim_mean([100 * v for v in SCORES["a"] + SCORES["b"]], 0.25))
    each = [np.mean([(x > y) + (x == y) / 2 for x in SCORES[a] for y in SCORES[b]]) for a, b in ("ab", "bc")]
    assert whole.improvements[0, 1][0] == pytest.approx(np.mean(each))
    (low, high), mean = whole.iqms[0][1], whole.iqms[0][0]
    assert low < mean < high
    shown = here("compare", *uris)
    assert "all 2 together" in shown.stdout
    assert "corrected for all 2 comparisons (Holm)" in shown.stdout
    facts = json.loads(here("compare", *uris, "--format", "json").stdout)
    assert [len(task["comparisons"]) for task in facts["tasks"]] == [1, 1]
    assert facts["together"]["interquartile_means"][0]["mean"] == pytest.approx(mean)


def test_a_stage_and_a_config_can_be_named(folder: Make) -> None:
    uri = folder("a", {"x": SCORES["a"], "y": SCORES["b"]})
    [one] = compare(tasks([read_contestant(f"{uri}:x"), read_contestant(f"{uri}:swept/y")], None), "t")
    assert one.mean == pytest.approx(-2.4)
    [two] = compare(tasks([read_contestant(f"{uri}:x:c1"), read_contestant(f"{uri}:x")], "probe_accuracy"), "t")
    assert two.differences == pytest.approx((-10.0,) * 5)
    assert two.interval is None  # equal differences have no spread
    ended = here("compare", f"{uri}:x:c1", f"{uri}:x")
    assert ended.returncode == 2
    assert "seed 0 has no test_accuracy; `raysl tune --score all`" in ended.stderr


@pytest.mark.parametrize(
    ("suffix", "told"),
    [
        (":z", "no such stage; choices: x, y"),
        (":x:c7", "no such config of this stage; choices: c0, c1"),
        ("/none:x", "is none of DIR, DIR:STAGE or DIR:STAGE:CONFIG"),
    ],
)
def test_what_is_not_there_is_refused_with_the_choices(folder: Make, suffix: str, told: str) -> None:
    uri = folder("a", {"x": SCORES["a"], "y": SCORES["b"]})
    ended = here("compare", f"{uri}{suffix}", uri)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_folder_whose_name_has_a_colon_is_a_folder(folder: Make) -> None:
    uri = folder("a:x", {"x": SCORES["a"], "y": SCORES["b"]})
    assert len(read_contestant(uri).sides) == 2
    assert len(read_contestant(f"{uri}:y").sides) == 1


def test_one_to_compare_and_an_unknown_metric_are_refused(three: list[str]) -> None:
    assert "1 to compare: from 2" in here("compare", three[0]).stderr
    ended = here("compare", *three, "--metric", "accuracy")
    assert (ended.returncode, "did you mean 'test_accuracy'?" in ended.stderr) == (2, True)
    for metric in MEASURES:
        ended = here("compare", *three, "--metric", metric)
        assert ended.returncode in (0, 2), f"{metric}: {ended.stderr}"
    assert "--intervals z: choices: bootstrap, t" in here("compare", *three, "--intervals", "z").stderr


def test_training_losses_are_compared_only_where_they_mean_the_same(folder: Make) -> None:
    uris = [folder("a", {"x": SCORES["a"]}), folder("b", {"x": SCORES["b"]})]
    facts = json.loads(here("compare", *uris, "--metric", "final_loss", "--format", "json").stdout)
    [pair] = facts["tasks"][0]["comparisons"]
    assert pair["difference"] == pytest.approx(0.024)
    wins = np.mean([(x < y) + (x == y) / 2 for x in 1 - np.array(SCORES["a"]) for y in 1 - np.array(SCORES["b"])])
    assert pair["probability_of_improvement"] == pytest.approx(wins)  # the lower loss is better
    other = folder("c", {"x": SCORES["c"]}, temperature=0.1)
    ended = here("compare", uris[0], other, "--metric", "final_loss")
    assert ended.returncode == 2
    assert "method.temperature is 0.5 and 0.1, which changes what the loss means" in ended.stderr
    assert here("compare", uris[0], other).returncode == 0


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda one: one.name)
def test_a_criterion_is_compared_in_its_own_direction(made: Make, criterion: Criterion) -> None:
    def outcome(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
        return {"criteria": {criterion.name: 2.0 if params["optimizer.lr"] == 0.1 else 1.0}} | spec(seed)

    uri = made(("x", CONFIGS, outcome), num_seeds=3)
    [one] = compare(tasks([read_contestant(f"{uri}:x:c{place}") for place in (0, 1)], criterion.name), "t")
    assert one.improvement == (1.0 if criterion.highest else 0.0)
    ended = here("compare", f"{uri}:x:c0", f"{uri}:x:c1", "--metric", criterion.name)
    assert f"has a {'greater' if criterion.highest else 'lower'} value" in ended.stdout
    other = "rankme" if criterion.name != "rankme" else "ami"
    ended = here("compare", f"{uri}:x:c0", f"{uri}:x:c1", "--metric", other)
    assert ended.returncode == 2
    assert f"seed 0 has no {other}; `criteria: [{other}]` in the stage x and the search's command" in ended.stderr


def test_a_stage_that_trains_nothing_cannot_measure_criteria(made: Make) -> None:
    uri = made(("x", CONFIGS, lambda params, seed: {"method": "frozen"} | spec(seed)))
    ended = here("compare", f"{uri}:x:c0", f"{uri}:x:c1", "--metric", "ami")
    assert "no ami; frozen trains nothing, and its features are those of the stage that it starts from" in ended.stderr
    ended = here("compare", f"{uri}:x:c0", f"{uri}:x:c1", "--metric", "probe_mean_iou")
    assert ended.stderr.rstrip().endswith("seed 0 has no probe_mean_iou")


def test_one_seed_has_a_difference_and_no_test(folder: Make) -> None:
    uris = [folder(name, {"x": SCORES[name]}, num_seeds=1) for name in "ab"]
    ended = here("compare", *uris)
    assert "one seed, which says nothing of noise" in ended.stdout
    [pair] = json.loads(here("compare", *uris, "--format", "json").stdout)["tasks"][0]["comparisons"]
    assert (pair["interval"], pair["p"], pair["detectable"]) == (None, None, None)


def test_the_tables_fit_80_columns(three: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = here("compare", *three, "--intervals", "bootstrap")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    tabular = [line for line in lines if line[:1] in "┃│┏├┡└"]
    assert max(map(len, tabular)) <= 80
    assert [line for line in lines if re.match("│ A - B │.*to.*│", line)]  # in one part
    assert "95 % percentile bootstrap intervals" in ended.stdout
