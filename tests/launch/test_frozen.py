"""Stages that train nothing, through a real search: probed, selected, scored, taken up again, and read by everybody."""

import json
import shutil
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from mlflow import MlflowClient
from tiny import ONE_PROCESS, Finished, here, inline, raysl, start, tables_of
from waiting import wait_for

import raysl as package
from raysl.data.storage.decoded_cache import load_test
from raysl.results.records.features import read_features
from raysl.results.records.rows import read_scores
from raysl.results.storage.store import Store
from raysl.training.spec import TrialSpec

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 64}
model: {backbone: small_resnet, features: 16}
seeds: 2
probes: {knn: {k: 9}}
stages:
  pretrain:
    method: {name: rotation}
    epochs: 4
    milestones: [1]
    batch_size: 32
    optimizer: {name: adam, lr: {grid: [1e-2, 1e-4]}}
  knn:
    method: {name: frozen}
    start_from: pretrain
    start_epoch: {grid: [1, 4]}
    probe: knn
  clustering:
    method: {name: frozen}
    data: {labels: 100}
    start_from: pretrain
    probe: clustering
  svm:
    method: {name: frozen}
    start_from: pretrain
  linear:
    method: {name: supervised}
    start_from: pretrain
    freeze: backbone
    probe: classifier
    epochs: 2
    batch_size: 20
    optimizer: {name: sgd, lr: 0.05}
"""
FROZEN = ("knn", "clustering", "svm")


@pytest.fixture
def searched(finished: Callable[..., Finished]) -> Finished:
    return finished(EXPERIMENT, tracked=True)


def trials_of(results: Path, *stages: str) -> list[dict[str, Any]]:
    return [trial for trial in package.read(str(results)).trials.to_pylist() if trial["stage"] in stages]


@pytest.mark.slow
def test_trials_that_train_nothing_finish_with_a_probe_accuracy_alone(searched: Finished) -> None:
    tables = package.read(str(searched[1]))
    trials = trials_of(searched[1], *FROZEN)
    assert Counter(trial["stage"] for trial in trials) == {"knn": 4, "clustering": 2, "svm": 2}
    for trial in trials:
        assert (trial["status"], trial["method"], trial["final_loss"], trial["epochs"]) == (
            "finished",
            "frozen",
            None,
            0,
        )
        assert 0.1 < trial["probe_accuracy"] <= 1
    assert set(tables.curves["stage"].to_pylist()) == {"pretrain", "linear"}
    configs = [config for config in tables.configs.to_pylist() if config["stage"] in FROZEN]
    assert all(config["eligible"] and config["final_loss_mean"] is None for config in configs)


def test_each_seed_probes_the_model_that_it_has_in_the_selected_config(searched: Finished) -> None:
    starts = {t["seed"]: t["trial_id"] for t in trials_of(searched[1], "pretrain") if t["selected"]}
    specs = [json.loads(trial["spec"]) for trial in trials_of(searched[1], "knn")]
    assert [(spec["start_epoch"], spec["seed"], spec["start"]) for spec in specs] == [
        (1, 0, starts[0]), (1, 1, starts[1]), (None, 0, starts[0]), (None, 1, starts[1]),
    ]  # fmt: skip
    assert {spec["probes"]["knn"]["k"] for spec in specs} == {9}


def test_the_epoch_of_the_highest_probe_accuracy_is_selected(searched: Finished) -> None:
    found: dict[int, list[float]] = {}
    for trial in trials_of(searched[1], "knn"):
        found.setdefault(trial["params.start_epoch"], []).append(trial["probe_accuracy"])
    means = {epoch: statistics.fmean(values) for epoch, values in found.items()}
    assert len(set(means.values())) == 2
    [chosen] = [s for s in package.read(str(searched[1])).selections.to_pylist() if s["stage"] == "knn"]
    assert (chosen["rule"], json.loads(chosen["params"])) == (
        "probe_accuracy",
        {"start_epoch": max(means, key=means.get)},
    )  # type: ignore[arg-type]


def test_the_linear_svm_of_a_stage_of_its_own_gives_the_start_s_numbers(searched: Finished) -> None:
    columns = ("seed", "probe_accuracy", "test_accuracy")
    own, again = (
        [tuple(trial[column] for column in columns) for trial in trials_of(searched[1], stage) if trial["selected"]]
        for stage in ("pretrain", "svm")
    )
    assert own == again


OVER_THE_TRAINING = """\
name: curve
data: {source: digits, labels: 40, unlabelled: 64}
model: {backbone: small_resnet, features: 16}
seeds: 2
stages:
  teacher:
    method: {name: mean_teacher, momentum: 0.5, p_flip: 0.0}
    epochs: 3
    milestones: [0, 1]
    batch_size: 20
    optimizer: {name: sgd, lr: 0.1}
    probe: classifier
  first: {method: {name: frozen}, start_from: teacher, start_epoch: 0, probe: classifier}
  then: {method: {name: frozen}, start_from: teacher, start_epoch: 1, probe: classifier}
  last: {method: {name: frozen}, start_from: teacher, probe: classifier}
"""


def test_the_classifier_of_each_milestone_is_scored(finished: Callable[..., Finished]) -> None:
    """It is the averaged one, as that of the end."""
    _, results, _ = finished(OVER_THE_TRAINING)
    images, labels = load_test(TrialSpec.model_validate_json(trials_of(results, "teacher")[0]["spec"]).data)
    scores = {
        stage: {trial["seed"]: trial["test_accuracy"] for trial in trials_of(results, stage)}
        for stage in ("teacher", "first", "then", "last")
    }
    assert scores["last"] == scores["teacher"]
    for stage, epoch in (("first", 0), ("then", 1)):
        for seed, score in scores[stage].items():
            model = package.load_model(results, "teacher", seed=seed, epoch=epoch)
            with torch.no_grad():
                predicted = model.classify(model.preprocess(np.array(images))).argmax(1)
            assert float((predicted.numpy() == labels).mean()) == score
    assert len({tuple(found.values()) for found in scores.values()}) == 3


def test_scores_and_features_are_of_the_selected_alone_and_models_of_those_that_train(
    searched: Finished,
) -> None:
    _, results, _ = searched
    trials = trials_of(results, "pretrain", "linear", *FROZEN)
    assert all((trial["test_accuracy"] is not None) == trial["selected"] for trial in trials)
    selected = {trial["trial_id"] for trial in trials if trial["selected"]}
    assert {path.stem for path in (results / "features").iterdir()} == selected
    trained = [t["trial_id"] for t in trials_of(results, "pretrain", "linear") if t["selected"]]
    milestones = [f"{t['trial_id']}@1" for t in trials_of(results, "pretrain") if t["selected"]]
    assert {path.stem for path in (results / "models").iterdir()} == {*trained, *milestones}


def test_kept_predictions_are_those_of_the_probe(searched: Finished) -> None:
    store = Store.open(str(searched[1]), create=False)
    scores = read_scores(store)
    for trial in (trial for trial in trials_of(searched[1], *FROZEN) if trial["selected"]):
        kept = read_features(store, trial["trial_id"])
        assert np.mean(kept.predicted == kept.labels) == trial["test_accuracy"]
        settings = json.loads(scores[trial["trial_id"]].probe)
        expected = {"knn": "temperature", "clustering": "restarts", "svm": "C"}[trial["stage"]]
        assert expected in settings


def test_no_test_score_is_older_than_its_selection(searched: Finished) -> None:
    _, results, _ = searched
    selections = [json.loads(path.read_text()) for path in (results / "selections").iterdir()]
    assert len(selections) == 5
    for selection in selections:
        for trial_id in selection["trial_ids"]:
            assert (results / "scores" / f"{trial_id}.parquet").stat().st_mtime >= selection["selected_at"]


def test_a_rerun_trains_nothing_and_starts_no_ray(searched: Finished) -> None:
    file, results, _ = searched
    before = {path: path.stat().st_mtime_ns for path in results.glob("*.arrow")}
    again = here("tune", file, "--results", results)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count(", 0 to train, ") == 5
    assert "starting Ray" not in again.stdout
    assert {path: path.stat().st_mtime_ns for path in results.glob("*.arrow")} == before


@pytest.mark.slow
@pytest.mark.parametrize("after", ["selections", "scores"])
def test_a_search_that_was_killed_between_stages_goes_on(searched: Finished, tmp_path: Path, after: str) -> None:
    file, reference, _ = searched
    results = tmp_path / "results"
    shutil.copytree(reference, results)
    lost = {trial["trial_id"] for trial in trials_of(reference, *FROZEN)}
    for path in results.glob("*/*"):
        if path.stem in lost or path.parent.name == "selections":
            path.unlink()
    driver = start(file, results, *ONE_PROCESS)
    fewest = {"selections": 2, "scores": 1}[after]

    def done() -> int:
        own = [path for path in (results / after).glob("*") if after == "selections" or path.stem in lost]
        return len(own) >= fewest

    wait_for(after, done)
    driver.kill()
    printed, _ = driver.communicate()
    assert "stage svm" not in printed, "the search was over before it was killed"
    again = inline("tune", file, "--results", results)
    assert again.returncode == 0, again.stdout + again.stderr
    assert tables_of(results) == tables_of(reference)


def test_a_lost_start_is_trained_again_for_what_is_to_be_scored(searched: Finished, tmp_path: Path) -> None:
    file, reference, _ = searched
    results = tmp_path / "results"
    shutil.copytree(reference, results)
    for path in (results / "models").iterdir():
        path.unlink()
    for trial in trials_of(reference, *FROZEN):
        (results / "scores" / f"{trial['trial_id']}.parquet").unlink(missing_ok=True)
        (results / "features" / f"{trial['trial_id']}.arrow").unlink(missing_ok=True)
    done = inline("tune", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("trials again for models that are gone") == 1
    assert tables_of(results) == tables_of(reference)


@pytest.mark.slow
def test_two_workers_give_the_same_numbers_and_every_trial_is_scored_on_demand(
    searched: Finished, tmp_path: Path
) -> None:
    file, reference, _ = searched
    results = tmp_path / "results"
    shutil.copytree(reference, results)
    lost = trials_of(reference, "knn", "svm")
    for trial in lost:
        (results / "rows" / f"{trial['trial_id']}.parquet").unlink()
    done = raysl("tune", file, "--results", results, "--set", "resources.workers=2", "--score", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Last result" not in done.stdout  # Tune's own, of a trial that reports nothing
    found = {trial["trial_id"]: trial for trial in trials_of(results, "knn", "svm")}
    assert {trial["workers"] for trial in found.values()} == {2}
    for trial in lost:
        assert found[trial["trial_id"]]["probe_accuracy"] == trial["probe_accuracy"]
    assert all(trial["test_accuracy"] is not None for trial in trials_of(results, *FROZEN))
    configs = [config for config in package.read(str(results)).configs.to_pylist() if config["stage"] == "knn"]
    assert len({config["test_accuracy_mean"] for config in configs}) == 2


def test_what_is_printed_says_what_was_measured(searched: Finished) -> None:
    file, results, printed = searched
    accuracies = [f"finished: probe accuracy {100 * t['probe_accuracy']:.1f} % (" for t in trials_of(results, *FROZEN)]
    assert all(text in printed for text in accuracies)
    shown = here("show", results).stdout
    assert "tiny: knn, small_resnet, 40 labelled images of digits, scored by its nearest neighbours" in shown
    assert "tiny: clustering, small_resnet, 100 labelled images of digits, scored by clustering" in shown
    assert "tiny: svm, small_resnet, 40 labelled images of digits\n" in shown.replace(" " * 10, "\n")
    again = here("train", file, "--stage", "svm", "--seed", 1, "--results", results)
    [row] = [trial for trial in trials_of(results, "svm") if trial["seed"] == 1]
    expected = (
        "finished: nothing is trained, probe accuracy on the labelled training images "
        f"{100 * row['probe_accuracy']:.1f} % (0.0 s)"
    )
    assert expected in again.stdout, again.stdout + again.stderr


def test_a_plan_counts_no_steps(searched: Finished, tmp_path: Path) -> None:
    planned = here("plan", searched[0], "--results", tmp_path / "none", "--steps", 1)
    assert planned.returncode == 0, planned.stderr
    rows = {cells[0]: cells for line in planned.stdout.splitlines() if (cells := line.replace("│", " ").split())}
    assert rows["knn"][1:6] == ["4", "0", "0", "0", "0"]
    assert rows["knn"][-3:] == ["0.0000", "0.00", "0.00"]


def test_mlflow_holds_the_accuracies_and_no_curves(searched: Finished) -> None:
    _, results, _ = searched
    client = MlflowClient(f"sqlite:///{results}/mlflow.db")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    found = {run.data.tags["raysl.trial_id"]: run for run in runs if run.data.tags["raysl.kind"] == "trial"}
    for trial in trials_of(results, *FROZEN):
        run = found[trial["trial_id"]]
        tested = {"final/test_accuracy"} if trial["selected"] else set()
        assert set(run.data.metrics) == {"final/probe_accuracy", "seconds"} | tested
        assert run.info.status == "FINISHED"


TABLE = """\
name: example
source: Somebody 2020
profiles: {small: {digits: {}}}
tables:
  t1:
    title: A table
    data: digits
    experiment: tiny.yaml
    columns:
      knn: {title: KNN, stage: knn}
      clustering: {title: Clustering, stage: clustering}
      linear: {title: Linear, stage: linear}
    rows:
      rotation: {title: Rotation}
"""


def test_a_papers_table_has_columns_of_them(searched: Finished, tmp_path: Path) -> None:
    file, reference, _ = searched
    results = tmp_path / "results"
    shutil.copytree(reference, results)
    table = file.parent / "table.yaml"
    table.write_text(TABLE)
    done = inline("tune", table, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    output = tmp_path / "cells.arrow"
    assert here("table", results, "--format", "arrow", "--output", output).returncode == 0
    cells = {cell["column"]: cell for cell in pa.ipc.open_file(output).read_all().to_pylist()}
    for title, stage in (("KNN", "knn"), ("Clustering", "clustering"), ("Linear", "linear")):
        own = [trial["test_accuracy"] for trial in trials_of(reference, stage) if trial["selected"]]
        assert cells[title]["missing"] == ""
        assert cells[title]["mean"] == pytest.approx(100 * statistics.fmean(own))
