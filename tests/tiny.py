"""An experiment that trains in seconds, for tests of everything around the training."""

import io
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pyarrow as pa
from waiting import PATIENCE

import raysl as package
from raysl.cli import main
from raysl.data.settings import TrialData
from raysl.search.experiment import Experiment

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 64}
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

# A search's options where it need not have two trials at once: each process of Ray's takes seconds of a core to import.
ONE_PROCESS = ("--max-concurrent", "1")

TIMES = {"seconds", "fold_seconds", "started_at", "finished_at", "selected_at", "seconds_mean", "pareto"}


class Finished(NamedTuple):
    """A search that has ended well, which no test changes: its YAML, its results folder, and what it printed."""

    file: Path
    results: Path
    printed: str


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
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, timeout=PATIENCE, check=False)


def here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of raysl in this process, which has imported what a process of its own would import first."""
    code: object = 0
    printed, complained = io.StringIO(), io.StringIO()
    # As in a process of its own: warnings go to standard error where nobody else has asked for them.
    with (
        patch.object(sys, "argv", ["raysl", *map(str, arguments)]),
        patch.object(logging.getLogger(), "handlers", []),
        redirect_stdout(printed),
        redirect_stderr(complained),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    assert isinstance(code, int), code
    return subprocess.CompletedProcess(arguments, code, printed.getvalue(), complained.getvalue())


def inline(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a search in this process, without Ray; it takes some 3 s where one with Ray takes 20."""
    return here(*arguments, "--backend", "inline")


def start(
    file: Path, results: object, *more: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a search as its user does; all that it prints is in its standard output."""
    return subprocess.Popen(
        command("tune", file, "--results", results, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=env,
    )


TABLES = ("trials", "curves", "configs", "selections")


def tables_of(results: object) -> dict[str, list[dict[str, object]]]:
    """Return a results folder's tables by name, with everything but the times."""
    tables = package.read(str(results))
    return {name: without_times(getattr(tables, name)) for name in TABLES}


def check_two_drivers_share(finished: Finished, results: Path) -> None:
    """Check that two drivers of one folder train each trial once, and end in the tables of one driver."""
    both = [start(finished.file, results, "--max-concurrent", 1) for _ in range(2)]
    printed = [driver.communicate(timeout=PATIENCE)[0] for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], printed
    begun = Counter(path.read_text().count("epoch 1 of") for path in (results / "logs").glob("*.log"))
    assert set(begun) == {1}
    assert tables_of(results) == tables_of(finished.results)


def runs_by_kind(results: Path) -> Counter[str]:
    """Return how many runs of each kind MLflow has in a results folder's own database."""
    from mlflow import MlflowClient  # takes seconds

    client = MlflowClient(f"sqlite:///{results}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return Counter(run.data.tags["raysl.kind"] for run in client.search_runs(ids))


def without_times(table: pa.Table) -> list[dict[str, object]]:
    """Return a table's rows with everything but the times."""
    return table.drop_columns([name for name in table.column_names if name in TIMES]).to_pylist()
