"""An experiment that trains in seconds, for tests of everything around the training."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from raysl.data.settings import TrialData
from raysl.search.experiment import Experiment

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: 16}
seeds: 2
resources: {checkpoint_seconds: 0}
stages:
  semi:
    method: {name: semi, pretext: {name: rotation}}
    epochs: 4
    batch_size: 32
    optimizer: {name: adam, lr: {grid: [1e-2, 1e-3]}}
    schedule: {name: exponential}
  finetune:
    method: {name: supervised}
    start_from: semi
    epochs: 3
    batch_size: 20
    optimizer: {name: sgd, lr: 0.01}
"""

TIMES = {"seconds", "started_at", "finished_at", "selected_at", "seconds_mean", "pareto"}


def write(folder: Path, text: str = EXPERIMENT) -> Path:
    """Write the experiment, or another one, to a file."""
    file = folder / "tiny.yaml"
    file.write_text(text)
    return file


def of_stages(experiment: Experiment, data: TrialData) -> dict[str, TrialData]:
    """Return the same data for each stage."""
    return {stage.name: data for stage in experiment.stages}


def command(*arguments: object) -> list[str]:
    """Return a command line of raysl."""
    return [sys.executable, "-c", "from raysl.cli import main; main()", *map(str, arguments)]


def raysl(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run raysl as its user does."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, timeout=600, check=False)


def without_times(table: pa.Table) -> list[dict[str, object]]:
    """Return a table's rows with everything but the times."""
    return table.drop_columns([name for name in table.column_names if name in TIMES]).to_pylist()
