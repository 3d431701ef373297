"""Two searches on one results folder, each with a Ray of its own: every trial is trained once, whoever dies."""

import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tiny import EXPERIMENT, ONE_PROCESS, Finished, here, of_stages, start, tables_of, write
from waiting import PATIENCE, wait_for

import raysl as package
from raysl.data.storage.scan import inspect, resolve
from raysl.launch.coordination.leases import Driver, Leases
from raysl.results.records.proposals import read_proposals
from raysl.results.storage.store import Store
from raysl.search.trials import expand

pytestmark = pytest.mark.usefixtures("tracked")

MORE = EXPERIMENT.replace("[1e-2, 1e-3]", "[1e-2, 3e-3, 1e-3]")
OPTUNA = EXPERIMENT.replace(
    "lr: {grid: [1e-2, 1e-3]}}", "lr: {loguniform: [1e-4, 1e-1]}}\n    search: {algorithm: optuna, num_configs: 3}"
)
OTHERS = "is on this folder; what it trains is not trained here"


def runs_of(results: Path) -> Counter[str]:
    """Return how often MLflow has each run, by what it is of."""
    client = MlflowClient(f"sqlite:///{results}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return Counter(run.data.tags["raysl.id"].partition(":")[2] for run in client.search_runs(ids))


def times_begun(results: Path) -> dict[str, int]:
    """Return how often each trial was trained from its first epoch on."""
    return {path.stem: path.read_text().count("epoch 1 of") for path in (results / "logs").glob("*.log")}


def end(driver: subprocess.Popen[str]) -> str:
    printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, printed
    return printed


def leftovers(results: Path) -> list[Path]:
    hidden = [path for path in results.rglob(".*") if path.is_file()]
    return [*(results / "claims").iterdir(), *(results / "drivers").iterdir(), *hidden]


@pytest.fixture
def alone(finished: Callable[..., Finished]) -> tuple[Path, Path]:
    """A search by itself: its YAML and its results folder."""
    file, results, printed = finished(MORE, tracked=True)
    assert OTHERS not in printed
    assert not leftovers(results)
    return file, results


@pytest.mark.slow
def test_started_together_they_train_each_trial_once(alone: tuple[Path, Path], tmp_path: Path) -> None:
    file, expected = alone
    results = tmp_path / "results"
    both = [start(file, results, "--max-concurrent", 1) for _ in range(2)]
    printed = [end(driver) for driver in both]
    assert times_begun(results) == dict.fromkeys(times_begun(expected), 1)
    assert tables_of(results) == tables_of(expected)
    assert runs_of(results) == runs_of(expected)
    assert set(runs_of(results).values()) == {1}
    assert [text.count(OTHERS) for text in printed] == [1, 1]
    assert all(f"[{number}/6]" in text for text in printed for number in range(1, 7))
    assert {path.name for path in (results / "models").iterdir()} == {
        path.name for path in (expected / "models").iterdir()
    }
    assert not leftovers(results)


def with_a_model_too_many(expected: Path, results: Path) -> Path:
    """Copy a finished search, with the model of a trial that was not selected."""
    shutil.copytree(expected, results)
    trials = package.read(str(results)).trials.to_pylist()
    dropped = next(trial["trial_id"] for trial in trials if not trial["selected"])
    model = results / "models" / f"{dropped}.safetensors"
    model.write_bytes(b"")
    return model


@pytest.mark.slow
def test_models_stay_while_another_search_is_there(alone: tuple[Path, Path], tmp_path: Path) -> None:
    file, expected = alone
    results = tmp_path / "results"
    model = with_a_model_too_many(expected, results)
    with Leases(Store.open(str(results), create=False)) as other:
        done = here("tune", file, "--results", results)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"another search ({other.driver}) {OTHERS}" in done.stdout
        assert model.exists()
    done = here("tune", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not model.exists()


def test_the_last_search_to_leave_drops_what_was_kept_for_others(
    alone: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(Leases):
        """Two that end at once: each sees the other until it has left itself."""

        def others(self) -> list[Driver]:
            return [] if self._ended.is_set() else [replace(self.driver, id="other")]

    monkeypatch.setattr("raysl.api.searching.Leases", Watched)
    file, expected = alone
    model = with_a_model_too_many(expected, tmp_path / "results")
    done = here("tune", file, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not model.exists()


@pytest.mark.slow
def test_one_finishes_what_the_other_was_killed_in(alone: tuple[Path, Path], tmp_path: Path) -> None:
    file, expected = alone
    results = tmp_path / "results"
    killed, other = (start(file, results, "--max-concurrent", 1) for _ in range(2))
    wait_for("checkpoint of the one", lambda: has_begun(file, results, killed), killed)
    killed.kill()
    killed.communicate()
    end(other)
    assert tables_of(results) == tables_of(expected)
    assert runs_of(results) == runs_of(expected)
    assert set(runs_of(results).values()) == {1}
    assert not leftovers(results)


@pytest.mark.slow
def test_one_proposes_at_a_time_and_the_other_goes_on_from_there(tmp_path: Path) -> None:
    file, results = write(tmp_path, OPTUNA), tmp_path / "results"
    both = [start(file, results, *ONE_PROCESS, "--score", "all") for _ in range(2)]
    printed = [end(driver) for driver in both]
    waits = [f"waiting for the search of {socket.gethostname()}, pid {driver.pid}" in text
             for driver, text in zip(both, reversed(printed), strict=True)]  # fmt: skip
    assert sorted(waits) == [False, True], printed
    [stage_id] = [path.stem for path in (results / "proposals").iterdir()]
    assert len(read_proposals(Store.open(str(results), create=False), stage_id)) == 3
    assert set(times_begun(results).values()) == {1}
    trials = package.read(str(results)).trials.to_pylist()
    assert Counter(trial["stage"] for trial in trials) == {"semi": 6, "finetune": 2}
    assert all(trial["test_accuracy"] is not None for trial in trials)
    assert set(runs_of(results).values()) == {1}
    assert not leftovers(results)


def has_begun(file: Path, results: Path, driver: subprocess.Popen[str]) -> list[Path]:
    """Return the checkpoints of the first stage's trials that a driver is training."""
    experiment = package.load(file)
    datas = of_stages(experiment, resolve(experiment.data, inspect(experiment.data)))
    trials = {
        trial.spec.weights_id(None): trial.spec.id for trial in expand(experiment, experiment.stages[0], datas, {})
    }
    claims = Leases(Store(str(results))).taken()
    names = [claim[:16] for claim, owner in claims.items() if owner.pid == driver.pid]
    ids = [trials[name] for name in names if name in trials]
    return [path for trial_id in ids if (path := results / "checkpoints" / f"{trial_id}.pt").exists()]
