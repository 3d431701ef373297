"""Searches that ask for other measurements of what is trained train nothing, and their tables are as if they did."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import EXPERIMENT, Finished, inline, write

import raysl
from raysl.api.costing import Planner
from raysl.api.dataset_setup import resolve_data
from raysl.api.observer import Silent
from raysl.api.step_costs import StepCosts
from raysl.api.target import target
from raysl.results.records.rows import TrialRow, read_rows
from raysl.results.storage.store import Store

SEMI, ROTATION = "method: {name: semi, pretext: {name: rotation}}", "method: {name: rotation}"
PRETEXT = EXPERIMENT.replace("  semi:", "  rotation:").replace(SEMI, ROTATION).replace("from: semi", "from: rotation")
OTHER_C = {"probes.linear_svm.C": 1e-4}
OTHER_LABELS = {"data.labels": 60}


class Watching(raysl.Observer):
    """Notes which trials are trained, and which are not."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.measured: list[str] = []
        self.shared: list[int] = []

    def trial_ended(self, row: TrialRow) -> None:
        (self.trained if row.weights_of is None else self.measured).append(row.trial_id)

    def weights_shared(self, num_trials: int) -> None:
        self.shared.append(num_trials)


def search(folder: Path, results: Path, overrides: dict[str, Any], **options: Any) -> tuple[Watching, Any]:
    watching = Watching()
    experiment = raysl.load(write(folder, PRETEXT), overrides=overrides)
    found = raysl.tune(experiment, results, backend="inline", observer=watching, **options)
    assert found.ok
    return watching, found.current()


def numbers(tables: Any, *, probes: bool) -> list[tuple[Any, ...]]:
    """Return what the trials came to, and which are selected."""
    rows = sorted(tables.trials.to_pylist(), key=lambda row: row["trial_id"])
    names = ["trial_id", "final_loss", "test_accuracy", "selected", *(["probe_accuracy"] if probes else [])]
    return [tuple(row[name] for name in names) for row in rows]


@pytest.fixture
def trained(finished: Callable[..., Finished], tmp_path: Path) -> Path:
    """A results folder in which the experiment was searched, which a test may change."""
    results = tmp_path / "results"
    results.mkdir()
    for path in finished(PRETEXT).results.rglob("*"):
        target = results / path.relative_to(finished(PRETEXT).results)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(path.read_bytes())
    return results


def test_another_c_of_the_svm_trains_nothing(trained: Path, tmp_path: Path) -> None:
    watching, found = search(tmp_path, trained, OTHER_C)
    assert watching.trained == []
    assert (len(watching.measured), watching.shared) == (6, [4, 2])
    _, expected = search(tmp_path, tmp_path / "fresh", OTHER_C)
    assert numbers(found, probes=False) == numbers(expected, probes=False)
    selected = [{row[0]: row[4] for row in numbers(each, probes=True) if row[3]} for each in (found, expected)]
    assert selected[0] == selected[1]
    assert None not in selected[0].values()
    again, _ = search(tmp_path, trained, OTHER_C)
    assert again.trained == again.measured == again.shared == []


def test_another_number_of_labels_trains_only_what_sees_labels(trained: Path, tmp_path: Path) -> None:
    watching, found = search(tmp_path, trained, OTHER_LABELS)
    stages = {row["trial_id"]: row["stage"] for row in found.trials.to_pylist()}
    assert {stages[trial_id] for trial_id in watching.measured} == {"rotation"}
    assert {stages[trial_id] for trial_id in watching.trained} == {"finetune"}
    assert (len(watching.measured), len(watching.trained)) == (4, 2)
    _, expected = search(tmp_path, tmp_path / "fresh", OTHER_LABELS)
    wanted = numbers(expected, probes=False)
    before = len(numbers(found, probes=False)) - len(wanted)
    assert before == 6
    assert set(wanted) <= set(numbers(found, probes=False))


@pytest.mark.slow
def test_where_the_probe_selects_models_that_were_dropped_are_trained_again(trained: Path, tmp_path: Path) -> None:
    overrides = {**OTHER_C, "stages.rotation.select": "probe_accuracy"}
    watching, found = search(tmp_path, trained, overrides)
    stages = {row["trial_id"]: row["stage"] for row in found.trials.to_pylist()}
    pretext = [trial_id for trial_id in watching.trained if stages[trial_id] == "rotation"]
    assert len(pretext) == 2  # of the config that was not selected
    _, expected = search(tmp_path, tmp_path / "fresh", overrides)
    assert numbers(found, probes=True) == numbers(expected, probes=True)


@pytest.mark.slow
def test_a_row_that_was_not_probed_is_where_the_probe_selects(trained: Path, tmp_path: Path) -> None:
    overrides = {**OTHER_C, "stages.rotation.select": "probe_accuracy"}
    search(tmp_path, trained, OTHER_C)
    _, found = search(tmp_path, trained, overrides)
    _, expected = search(tmp_path, tmp_path / "fresh", overrides)
    untested = [{(*row[:2], *row[3:]) for row in numbers(each, probes=True)} for each in (expected, found)]
    assert untested[0] <= untested[1]


@pytest.mark.slow
def test_milestones_that_other_code_did_not_keep_are_trained_for(
    trained: Path, tmp_path: Path, edit: Callable[..., None]
) -> None:
    edit("raysl.methods.rotation")
    milestones = {**OTHER_C, "stages.rotation.milestones": [1], "stages.finetune.start_epoch": 1}
    watching, found = search(tmp_path, trained, milestones)
    assert {row["status"] for row in found.trials.to_pylist()} == {"finished"}
    assert watching.trained


@pytest.mark.slow
def test_scores_of_all_train_again_what_was_dropped(trained: Path, tmp_path: Path) -> None:
    _, found = search(tmp_path, trained, OTHER_C, score="all")
    _, expected = search(tmp_path, tmp_path / "fresh", OTHER_C, score="all")
    assert numbers(found, probes=True) == numbers(expected, probes=True)


def test_in_one_search_they_are_trained_once(tmp_path: Path) -> None:
    """The models of the first experiment stay until the second is there."""
    table = tmp_path / "table.yaml"
    write(tmp_path, PRETEXT)
    columns = "few: {title: few}, more: {title: more, set: {data.labels: 60}}"
    table.write_text(
        "name: both\nsource: none\nprofiles: {small: {digits: {set: {data.labels: 40}}}}\n"
        f"tables: {{one: {{title: one, data: digits, columns: {{{columns}}}, "
        "rows: {pre: {title: pre, experiment: tiny.yaml, stage: rotation}}}}\n"
    )
    listed = inline("tune", table, "--dry-run")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.count("(weights of ") == 4
    done = inline("tune", table, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_rows(Store.open(str(tmp_path / "results"), create=False)).values()
    pretext = [row for row in rows if row.method == "rotation"]
    assert len(pretext) == 8
    assert sum(row.weights_of is not None for row in pretext) == 4
    assert all(row.probe.get("accuracy") is not None for row in pretext)


@pytest.mark.slow
def test_two_first_stages_of_an_experiment_are_trained_once(tmp_path: Path) -> None:
    first = PRETEXT[PRETEXT.index("  rotation:") : PRETEXT.index("  finetune:")]
    second = first.replace("  rotation:", "  neighbours:").replace("batch_size: 32", "batch_size: 32\n    probe: knn")
    text = PRETEXT[: PRETEXT.index("  finetune:")] + second
    done = inline("tune", write(tmp_path, text), "--results", tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_rows(Store.open(str(tmp_path / "results"), create=False)).values()
    assert [row.weights_of is None for row in rows].count(True) == 4
    assert all(row.probe.get("accuracy") is not None for row in rows)
    assert len(rows) == 8


@pytest.mark.slow
def test_other_code_is_named_and_retrain_takes_none_of_it(
    trained: Path, tmp_path: Path, edit: Callable[..., None]
) -> None:
    old = {row.code for row in read_rows(Store.open(str(trained), create=False)).values()}
    edit("raysl.methods.rotation")
    arguments = ["tune", write(tmp_path, PRETEXT), "--results", trained, "--set", "probes.linear_svm.C=1e-4"]
    kept = inline(*arguments)
    assert kept.returncode == 0, kept.stderr
    assert "were trained with other code: raysl/methods/rotation.py" in kept.stdout.replace("\n", " ")
    rows = read_rows(Store.open(str(trained), create=False))
    assert sum(row.weights_of is not None for row in rows.values()) == 4  # those whose models are there
    again = inline(*arguments, "--set", "probes.linear_svm.C=1e-3", "--retrain", "code")
    assert again.returncode == 0, again.stderr
    new = {i: row for i, row in read_rows(Store.open(str(trained), create=False)).items() if i not in rows}
    assert len(new) == 6
    assert not old & {row.code for row in new.values()}


PROPOSED = [
    "stages.rotation.search={algorithm: optuna, num_configs: 2}",
    "stages.rotation.optimizer.lr={uniform: [0.1, 1]}",
]


@pytest.mark.parametrize(
    ("more", "shared"),
    [([], 4), (["stages.rotation.stop={scheduler: asha}"], 0), (PROPOSED, 0)],
    ids=["grid", "stopped early", "proposed"],
)
def test_a_plan_of_two_counts_what_they_share(more: list[str], shared: int, tmp_path: Path) -> None:
    planner = Planner(str(tmp_path / "results"), target(None, None), StepCosts(1))
    for labels in (40, 60):
        experiment = raysl.load(write(tmp_path, PRETEXT), overrides=[*more, f"data.labels={labels}"])
        planned = planner.add(experiment, resolve_data(experiment, Silent()))
    assert planned.shapes[0].shared == shared
    assert (planned.shapes[0].trial_seconds == 0) is (shared > 0)


def test_a_plan_counts_no_training_for_them(trained: Path, tmp_path: Path) -> None:
    experiment = raysl.load(write(tmp_path, PRETEXT), overrides=OTHER_LABELS)
    [planned] = raysl.plan(experiment, trained, steps=1).experiments
    assert [(shape.stage, shape.num_trials, shape.done) for shape in planned.shapes] == [
        ("rotation", 4, 4),
        ("finetune", 2, 0),
    ]
