"""Stages that start from milestones, have data of their own, or end hopeless trials, through a real search."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import Finished, here, inline, without_times

import raysl as package

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 64}
model: {backbone: small_resnet, features: null}
seeds: 2
streams: {split: 0}
stages:
  pretrain:
    method: {name: rotation}
    epochs: 6
    milestones: [2, 4]
    batch_size: 32
    optimizer: {name: adam, lr: {grid: [1e-2, 3e-3, 1e-6, 2e-6]}}
    stop: {scheduler: asha, grace: 2, reduction: 2}
  linear:
    method: {name: supervised}
    data: {labels: all}
    start_from: pretrain
    start_epoch: {grid: [2, 4, 6]}
    freeze: backbone
    probe: classifier
    epochs: 3
    batch_size: 64
    optimizer: {name: sgd, lr: 0.05}
"""


@pytest.fixture
def searched(finished: Callable[..., Finished]) -> tuple[Path, Path]:
    """The search's YAML and its results folder; trained one at a time, each trial is held against those before it."""
    return finished(EXPERIMENT, "--score", "all")[:2]


@pytest.fixture
def copied(searched: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The same, to be changed."""
    return searched[0], Path(shutil.copytree(searched[1], tmp_path / "results"))


def trials_of(results: Path, stage: str) -> list[dict[str, Any]]:
    return [trial for trial in package.read(str(results)).trials.to_pylist() if trial["stage"] == stage]


@pytest.mark.slow
def test_hopeless_trials_end_early_and_their_configs_are_not_eligible(searched: tuple[Path, Path]) -> None:
    trials = trials_of(searched[1], "pretrain")
    assert Counter((t["params.optimizer.lr"], t["status"]) for t in trials if t["params.optimizer.lr"] < 1e-4) == {
        (1e-6, "stopped"): 2,
        (2e-6, "stopped"): 2,
    }
    stopped = [trial for trial in trials if trial["status"] == "stopped"]
    assert all(trial["epochs"] in (2, 4) and trial["final_loss"] is None for trial in stopped)
    assert all(trial["reason"].startswith("asha: loss ") for trial in stopped)
    [selection] = [s for s in package.read(str(searched[1])).selections.to_pylist() if s["stage"] == "pretrain"]
    assert selection["num_eligible"] <= 2
    assert any("stopped (asha" in config["reason"] for config in selection["ineligible"])


def test_each_milestone_is_a_row_with_the_score_of_the_classifier_on_it(searched: tuple[Path, Path]) -> None:
    trials = trials_of(searched[1], "linear")
    assert [(trial["params.start_epoch"], trial["seed"]) for trial in trials] == [
        (2, 0), (2, 1), (4, 0), (4, 1), (6, 0), (6, 1),
    ]  # fmt: skip
    starts = [trial["trial_id"] for trial in trials_of(searched[1], "pretrain") if trial["selected"]]
    specs = [json.loads(trial["spec"]) for trial in trials]
    assert [(spec["start"], spec["start_epoch"]) for spec in specs] == [
        (start, epoch) for epoch in (2, 4, None) for start in starts
    ]
    assert all(trial["test_accuracy"] is not None and trial["probe_accuracy"] is None for trial in trials)
    assert len({trial["final_loss"] for trial in trials}) == 6
    assert {spec["data"]["labels"] for spec in specs} == {1297}
    shown = here("show", searched[1]).stdout
    assert "tiny: linear, small_resnet, 1297 labelled images of digits, scored by its classifier" in shown
    assert shown.count("scored by its classifier") == 1


def test_models_are_kept_of_what_was_selected_alone_milestones_too(searched: tuple[Path, Path]) -> None:
    _, results = searched
    starts = [trial["trial_id"] for trial in trials_of(results, "pretrain") if trial["selected"]]
    ends = [trial["trial_id"] for trial in trials_of(results, "linear") if trial["selected"]]
    kept = {f"{start}{epoch}.safetensors" for start in starts for epoch in ("", "@2", "@4")} | {
        f"{end}.safetensors" for end in ends
    }
    assert {path.name for path in (results / "models").iterdir()} == kept


def test_a_lost_milestone_is_trained_again_and_changes_no_number(copied: tuple[Path, Path]) -> None:
    file, results = copied
    before = {name: without_times(getattr(package.read(str(results)), name)) for name in ("trials", "selections")}
    start = next(trial["trial_id"] for trial in trials_of(results, "pretrain") if trial["selected"])
    (results / "models" / f"{start}@4.safetensors").unlink()
    for row in (results / "rows").glob("*.parquet"):
        if row.stem in {trial["trial_id"] for trial in trials_of(results, "linear")}:
            row.unlink()
    done = inline("tune", file, "--results", results, "--score", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (results / "models" / f"{start}@4.safetensors").exists()
    assert "training 1 trials again for models that are gone" in done.stdout
    after = {name: without_times(getattr(package.read(str(results)), name)) for name in ("trials", "selections")}
    assert after == before


@pytest.mark.slow
def test_without_the_stop_the_same_trials_are_trained_to_their_end(copied: tuple[Path, Path]) -> None:
    file, results = copied
    done = inline("tune", file, "--results", results, "--set", "stages.pretrain.stop=null")
    assert done.returncode == 0, done.stdout + done.stderr
    current = [t for t in package.read(str(results)).current().trials.to_pylist() if t["stage"] == "pretrain"]
    assert Counter(trial["status"] for trial in current) == {"finished": 8}
