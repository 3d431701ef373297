"""What each random stream explains, of designs with planted components, through the real command."""

import csv
import io
import json
import re
import shlex
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import here, inline, write

from raysl.reports.regrets import regret
from raysl.reports.stages import read_stages
from raysl.results.records.rows import read_rows, write_row
from raysl.results.records.seed_design import SeedDesign
from raysl.results.records.stages import read_stages as read_records
from raysl.results.records.stages import write_stage
from raysl.results.storage.store import Store
from raysl.search.summary import publish_store

CROSSED = SeedDesign(("labels", "init"), "crossed")
ONE = [{"optimizer.lr": 0.1}]
LEVELS = (12, 8)

Outcome = Callable[[Mapping[str, Any], int], dict[str, Any]]


def planted(design: SeedDesign, levels: tuple[int, ...], *deviations: float) -> Outcome:
    """Return outcomes whose test accuracy has a known deviation, in points, for each factor, and at last the rest."""
    rng = np.random.default_rng(0)
    effects = [_standard(rng.normal(size=levels[: place + 1] if design.kind == "nested" else size))
               for place, size in enumerate(levels)]  # fmt: skip
    rest = _standard(rng.normal(size=levels))

    def outcome(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
        cell = design.cell(seed)
        own = [
            effect[cell[: place + 1]] if design.kind == "nested" else effect[cell[place]]
            for place, effect in enumerate(effects)
        ]
        own.append(rest[cell])
        return {"test_accuracy": 0.8 + float(np.dot(own, deviations)) / 100, "seconds": 30.0}

    return outcome


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std(ddof=1)


def facts(*arguments: object) -> Any:
    ended = here("variance", *arguments, "--format", "json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def crossed(made: Callable[..., str], levels: tuple[int, ...] = LEVELS) -> str:
    stage = ("swept", ONE, planted(CROSSED, levels, 3.0, 1.0, 0.5))
    return made(stage, design=CROSSED, levels=levels)


def test_planted_components_are_found(made: Callable[..., str]) -> None:
    [found] = facts(crossed(made))
    variances = {one["source"]: one["variance"] for one in found["components"]}
    assert found["levels"] == {"labels": 12, "init": 8}
    assert variances["labels"] == pytest.approx(9.0, rel=0.05)
    assert variances["init"] == pytest.approx(1.0, rel=0.1)
    assert variances["labels x init"] == pytest.approx(0.25, rel=0.2)
    for one in found["components"]:
        assert one["variance_interval"][0] < one["variance"] < one["variance_interval"][1]
        assert one["share"] == pytest.approx(one["variance"] / sum(variances.values()))
    assert found["mean"] == pytest.approx(80.0, abs=0.2)


def test_planted_components_of_a_nested_design_are_found(made: Callable[..., str]) -> None:
    design = SeedDesign(("init", "order"), "nested")
    [found] = facts(made(("swept", ONE, planted(design, (30, 6), 2.0, 1.0, 0.0)), design=design, levels=(30, 6)))
    assert [one["variance"] for one in found["components"]] == pytest.approx([4.0, 1.0], rel=0.15)
    assert [one["source"] for one in found["components"]] == ["init", "order"]
    assert found["design"] == "nested"
    assert {one["factor"]: one["trials"] for one in found["repetitions"]} == {"init": 6, "order": 30}


def test_the_error_of_the_mean_and_what_lowers_it_at_least_cost(made: Callable[..., str]) -> None:
    [found] = facts(crossed(made))
    labels, init, rest = (one["variance"] for one in found["components"])
    assert found["standard_error"] ** 2 == pytest.approx(labels / 12 + init / 8 + rest / 96)
    best, other = found["repetitions"]
    assert (best["factor"], best["levels"], best["trials"], best["seconds"]) == ("labels", 13, 8, 240.0)
    assert best["standard_error"] ** 2 == pytest.approx(labels / 13 + init / 8 + rest / 104)
    assert (other["factor"], other["trials"]) == ("init", 12)
    assert best["options"] == ["--set seeds.labels=13", "--set stages.swept.optimizer.lr=0.1"]
    printed = here("variance", crossed(made)).stdout
    assert "surer at least cost: raysl tune FILE --set seeds.labels=13" in printed


def test_the_cheapest_is_by_trials_and_not_by_levels(made: Callable[..., str]) -> None:
    """One more initialisation lowers the error more, and takes six times as many trials."""
    levels = (24, 4)
    [found] = facts(made(("swept", ONE, planted(CROSSED, levels, 4.0, 1.5, 0.1)), design=CROSSED, levels=levels))
    first, second = found["repetitions"]
    assert first["factor"] == "labels"
    assert first["standard_error"] > second["standard_error"]
    assert (first["trials"], second["trials"]) == (4, 24)


def test_every_form_has_the_same_numbers(made: Callable[..., str]) -> None:
    uri = crossed(made)
    [found] = facts(uri)
    rows = list(csv.DictReader(io.StringIO(here("variance", uri, "--format", "csv").stdout)))
    assert [float(row["share"]) for row in rows] == [one["share"] for one in found["components"]]
    assert [float(row["variance_high"]) for row in rows] == [one["variance_interval"][1] for one in found["components"]]
    share = f"{100 * found['components'][0]['share']:.0f} ("
    for form in ("table", "markdown"):
        printed = here("variance", uri, "--format", form).stdout
        assert share in printed
        assert "residual (labels x init, split, order, augmentation)" in " ".join(printed.split())


def test_the_residual_has_the_streams_that_follow_the_seed(made: Callable[..., str]) -> None:
    design, levels = SeedDesign(("split", "init"), "crossed"), (3, 2)

    def fixed(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
        streams = {**design.streams(seed), "order": 7}
        return planted(design, levels, 1.0, 1.0, 1.0)(params, seed) | {"spec": json.dumps({"streams": streams})}

    [found] = facts(made(("swept", ONE, fixed), design=design, levels=levels))
    assert found["in_residual"] == ["augmentation"]  # the labelled images follow the split


def test_another_metric_and_a_stage_or_config_may_be_named(made: Callable[..., str]) -> None:
    uri = crossed(made)
    [found] = facts(f"{uri}:swept:c0", "--metric", "seconds")
    assert {one["variance"] for one in found["components"]} == {0.0}
    refused = here("variance", uri, "--metric", "accuracy")
    assert refused.returncode == 2
    assert "test_accuracy" in refused.stderr


def test_a_cell_without_a_value_is_named(made: Callable[..., str]) -> None:
    outcome = planted(CROSSED, (3, 2), 1.0, 1.0, 1.0)
    lost = next(seed for seed in range(9) if CROSSED.cell(seed) == (2, 1))

    def failing(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
        facts = outcome(params, seed)
        return {"status": "failed", "final_loss": None} if seed == lost else facts

    refused = here("variance", f"{made(('swept', ONE, failing), design=CROSSED, levels=(3, 2))}:swept:c0")
    assert refused.returncode == 2
    assert "no test_accuracy in 1 of 6 cells, and components need all: (labels 2, init 1: failed)" in refused.stderr
    options = "--set seeds.labels=3 --set seeds.init=2 --set stages.swept.optimizer.lr=0.1"
    assert f"this trains what is missing: raysl tune FILE {options} --results " in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("facts", "metric", "expected"),
    [
        ({"status": "diverged", "final_loss": None}, "final_loss", "has diverged is not trained again: another config"),
        ({"test_accuracy": None}, "test_accuracy", "trains what is missing: raysl tune FILE --set seeds.labels=3"),
        ({}, "lidar", "--set 'stages.swept.criteria=[lidar]' --results"),
        ({"probe_accuracy": None}, "probe_accuracy", "has finished is not trained again"),
    ],
)
def test_what_is_said_of_a_cell_depends_on_why_it_is_empty(
    made: Callable[..., str], facts: dict[str, Any], metric: str, expected: str
) -> None:
    outcome = planted(CROSSED, (3, 2), 1.0, 1.0, 1.0)
    uri = made(("swept", ONE, lambda params, seed: outcome(params, seed) | facts), design=CROSSED, levels=(3, 2))
    refused = here("variance", f"{uri}:swept:c0", "--metric", metric)
    assert refused.returncode == 2
    assert f"no {metric} in 6 of 6 cells" in refused.stderr
    assert "init 0: " in refused.stderr
    assert "1 more" in refused.stderr
    assert expected in refused.stderr


def folded(uri: str) -> None:
    """Make a folder's stage a cross-fitted one: each cell has two folds of 12 s."""
    store = Store.open(uri, create=False)
    rows, [stage] = read_rows(store), read_records(store)
    for name, row in rows.items():
        for fold in range(2):
            write_row(store, replace(row, trial_id=f"{name}-{fold}", seconds=12.0))
    members = [replace(one, folds=(f"{one.trial_id}-0", f"{one.trial_id}-1")) for one in stage.members]
    write_stage(store, replace(stage, rule="cross_fit(2)", members=tuple(members)))
    publish_store(store)


def test_a_new_cell_of_a_cross_fitted_stage_has_trials_of_folds_too(made: Callable[..., str]) -> None:
    uri = crossed(made)
    folded(uri)
    [found] = facts(uri)
    best = found["repetitions"][0]
    assert (best["factor"], best["trials"], best["seconds"]) == ("labels", 8 * 3, pytest.approx(8 * (30.0 + 2 * 12.0)))
    [found] = facts(uri, "--metric", "cross_fit_accuracy")
    assert (found["mean"], found["repetitions"][0]["trials"]) == (50.0, 8 * 3)


def test_a_config_of_which_only_folds_were_trained_is_trained_by_its_command(made: Callable[..., str]) -> None:
    uri = crossed(made, (3, 2))
    folded(uri)
    store = Store.open(uri, create=False)
    for name in read_rows(store):
        if name.count("-") == 2:
            store.delete(f"rows/{name}.parquet")
            store.delete(f"scores/{name}.parquet")
    publish_store(store)
    refused = here("variance", f"{uri}:swept:c0")
    assert refused.returncode == 2
    assert "init 0: cross_fitted" in refused.stderr
    assert "this trains what is missing: raysl tune FILE --set seeds.labels=3" in refused.stderr


def test_a_stage_whose_name_has_a_dot_is_quoted_in_its_command(made: Callable[..., str]) -> None:
    outcome = planted(CROSSED, (3, 2), 1.0, 1.0, 1.0)
    [found] = facts(made(("swept.v1", ONE, outcome), design=CROSSED, levels=(3, 2)))
    [_, option] = found["repetitions"][0]["options"]
    assert shlex.split(option) == ["--set", 'stages."swept.v1".optimizer.lr=0.1']


def test_a_factor_of_one_level_has_no_component(made: Callable[..., str]) -> None:
    levels = (4, 1)
    stage = ("swept", ONE, lambda params, seed: {"test_accuracy": 0.5 + CROSSED.cell(seed)[0] / 100})
    [found] = facts(made(stage, design=CROSSED, levels=levels))
    assert [one["source"] for one in found["components"]] == ["labels"]
    assert found["components"][0]["variance"] == pytest.approx(statistics.variance([0, 1, 2, 3]))


def test_seeds_of_one_stream_and_a_single_cell_say_so(made: Callable[..., str]) -> None:
    outcome = planted(CROSSED, (2, 2), 1.0, 1.0, 1.0)
    refused = here("variance", made(("swept", ONE, outcome)))
    assert refused.returncode == 2
    assert "all random streams follow its seeds" in refused.stderr
    refused = here("variance", made(("swept", ONE, outcome), name="one", design=CROSSED, levels=(1, 1)))
    assert "one level of labels, init" in refused.stderr


TWO = [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.01}]


def test_nothing_takes_cells_for_independent_seeds(made: Callable[..., str], tmp_path: Path) -> None:
    def outcome(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
        value = 0.5 + params["optimizer.lr"] + seed / 100
        return {"probe_accuracy": value, "test_accuracy": 0.7 - value + 0.01 * (seed % 2) * (value < 0.55)}

    independent = made(("swept", TWO, outcome), name="independent", num_seeds=4)
    uri = made(("swept", TWO, outcome), design=CROSSED, levels=(2, 2))
    for arguments in (("seeds", uri), ("compare", f"{uri}:swept:c0", f"{uri}:swept:c1")):
        refused = here(*arguments)
        assert refused.returncode == 2
        assert "cells of labels x init, which share levels" in refused.stderr
        assert here(*(str(one).replace(uri, independent) for one in arguments)).returncode == 0
    regrets = [regret(stage) for one in (uri, independent) for stage in read_stages([one])]
    assert [one.interval is None for one in regrets] == [True, False]
    shown = here("show", uri, "--intervals", "t").stdout
    assert "no intervals: its seeds are cells of labels x init" in shown
    tables = [here("show", one, "--intervals", "t").stdout.partition("intervals:")[0] for one in (uri, independent)]
    assert [" to " in table or bool(re.search(r"\d \[\d", table)) for table in tables] == [False, True]
    assert "no intervals" not in here("show", independent, "--intervals", "t").stdout
    assert json.loads(here("show", uri, "--format", "json").stdout)["configs"][0]["in_tie_set"] is None
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    here("report", uri, "--output", page)
    here("report", independent, "--output", other)
    assert "what each random stream explains" in page.read_text()
    assert "what each random stream explains" not in other.read_text()
    assert [bool(re.search(r"<small>[\d.]+ to [\d.]+<", one.read_text())) for one in (page, other)] == [False, True]


@pytest.mark.slow
def test_its_command_trains_the_new_cells_of_the_config_alone(tmp_path: Path) -> None:
    file, results = write(tmp_path), tmp_path / "results"
    changes = ("stages.semi.epochs=1", "stages.finetune.epochs=1", "seeds={labels: 2, init: 2}")
    short = [word for change in changes for word in ("--set", change)]
    assert inline("tune", file, *short, "--results", results).returncode == 0
    store = Store.open(str(results), create=False)
    before = read_rows(store)
    [semi] = facts(f"{results}:semi")
    best = semi["repetitions"][0]
    arguments = [word for option in best["options"] for word in shlex.split(option)]
    again = inline("tune", file, *short, *arguments, "--results", results)
    assert again.returncode == 0, again.stderr
    added = [row for name, row in read_rows(store).items() if name not in before]
    assert sorted(row.method for row in added) == ["semi"] * best["trials"] + ["supervised"] * best["trials"]
    for stage in facts(results):
        assert sorted(stage["levels"].values()) == [2, 3]
        assert stage["levels"][best["factor"]] == 3
    starts = {json.loads(row.spec)["start"]: row.seed for row in read_rows(store).values() if row.method != "semi"}
    assert all(read_rows(store)[start].seed == seed for start, seed in starts.items())


@pytest.mark.slow
def test_its_command_trains_the_cells_that_failed(tmp_path: Path) -> None:
    file, results = write(tmp_path), tmp_path / "results"
    short = [word for change in ("stages.semi.epochs=1", "stages.finetune.epochs=1") for word in ("--set", change)]
    design = ("--set", "seeds={labels: 2, init: 2}")
    assert inline("tune", file, *short, *design, "--results", results).returncode == 0
    store = Store.open(str(results), create=False)
    [semi] = facts(f"{results}:semi")
    [stage] = [one for one in read_stages([str(results)]) if one.stage == "semi"]
    name = next(t["trial_id"] for t in stage.trials if (t["config_id"], t["seed"]) == (semi["config_id"], 3))
    lost = read_rows(store)[name]
    write_row(store, replace(lost, status="failed", reason="no memory", final_loss=None, probe={}, curve=()))
    publish_store(store)
    refused = here("variance", f"{results}:semi:{semi['config_id']}", "--metric", "final_loss")
    [command] = re.findall(r"raysl tune FILE (.*)", refused.stderr)
    again = inline("tune", file, *short, *shlex.split(command))
    assert again.returncode == 0, again.stderr
    [whole] = facts(f"{results}:semi", "--metric", "final_loss")
    assert whole["levels"] == {"labels": 2, "init": 2}
    assert read_rows(store)[name].final_loss == lost.final_loss
