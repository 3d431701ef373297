"""`raysl tune` as its user runs it: real Ray, real MLflow, real tables; and what a kill leaves."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from clusters import descendants
from mlflow import MlflowClient
from tiny import EXPERIMENT, command, raysl, without_times, write

import raysl as package
from raysl.results import Tables

TRIAL = "ray::TrialProcess"  # the title of a process that trains
BEGINS = re.compile(r"begins on \S+, process (\d+)")  # in a trial's log


def tables_equal(left: Tables, right: Tables) -> None:
    for name in ("trials", "curves", "configs", "selections"):
        assert without_times(getattr(left, name)) == without_times(getattr(right, name)), name


def runs_by_kind(results: Path) -> Counter[str]:
    client = MlflowClient(f"sqlite:///{results}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return Counter(run.data.tags["raysl.kind"] for run in client.search_runs(ids))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A finished search: its YAML, its results folder, and what it printed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    file, results = write(folder), folder / "results"
    done = raysl("tune", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    return file, results, done.stdout


def test_a_search_leaves_tables_and_mlflow_runs(undisturbed: tuple[Path, Path, str]) -> None:
    _, results, printed = undisturbed
    tables = package.read(str(results))
    assert Counter(tables.trials["status"].to_pylist()) == {"finished": 6}
    assert sorted(path.name for path in results.glob("*.arrow")) == [
        "configs.arrow", "curves.arrow", "selections.arrow", "trials.arrow",
    ]  # fmt: skip
    assert runs_by_kind(results) == {"stage": 2, "config": 3, "trial": 6}
    assert tables.curves.num_rows == 4 * 4 * 3 + 2 * 3 * 2  # trials x epochs x terms, the total included
    assert "selected" in printed
    assert "\x1b" not in printed


def processes(results: Path, logs: list[str]) -> list[str]:
    """Return the processes that logs say their trials began in."""
    return [found for name in logs for found in BEGINS.findall((results / "logs" / f"{name}.log").read_text())]


def test_a_process_goes_on_with_the_next_stage(undisturbed: tuple[Path, Path, str]) -> None:
    _, results, _ = undisturbed
    trials = package.read(str(results)).trials.to_pylist()
    first, second = (
        processes(results, [trial["trial_id"] for trial in trials if trial["stage"] == stage])
        for stage in ("semi", "finetune")
    )
    assert len(first) == 4
    assert set(first) & set(second)


def test_the_selected_config_has_the_lowest_mean_final_loss(undisturbed: tuple[Path, Path, str]) -> None:
    tables = package.read(str(undisturbed[1]))
    losses: dict[str, list[float]] = {}
    for trial in tables.trials.to_pylist():
        if trial["stage"] == "semi":
            losses.setdefault(trial["config_id"], []).append(trial["final_loss"])
    means = {config_id: sum(values) / len(values) for config_id, values in losses.items()}
    chosen = next(row for row in tables.selections.to_pylist() if row["stage"] == "semi")
    assert chosen["config_id"] == min(means, key=means.__getitem__)


def test_only_selected_trials_have_test_scores_and_models(undisturbed: tuple[Path, Path, str]) -> None:
    _, results, _ = undisturbed
    trials = package.read(str(results)).trials.to_pylist()
    assert all((trial["test_accuracy"] is not None) == trial["selected"] for trial in trials)
    assert {path.stem for path in (results / "models").iterdir()} == {t["trial_id"] for t in trials if t["selected"]}
    assert not list((results / "checkpoints").glob("*"))


def test_a_later_stage_starts_from_the_selected_models_seed_by_seed(undisturbed: tuple[Path, Path, str]) -> None:
    import json

    trials = package.read(str(undisturbed[1])).trials.to_pylist()
    selected = {trial["seed"]: trial["trial_id"] for trial in trials if trial["stage"] == "semi" and trial["selected"]}
    starts = {t["seed"]: json.loads(t["spec"])["start"] for t in trials if t["stage"] == "finetune"}
    assert starts == selected


def test_the_same_command_again_trains_nothing_and_adds_nothing(undisturbed: tuple[Path, Path, str]) -> None:
    file, results, _ = undisturbed
    before = {path: path.stat().st_mtime_ns for path in results.glob("*.arrow")}
    runs = runs_by_kind(results)
    again = raysl("tune", file, "--results", results)
    assert again.returncode == 0
    assert "0 to train" in again.stdout
    assert "starting Ray" not in again.stdout
    assert runs_by_kind(results) == runs
    assert {path: path.stat().st_mtime_ns for path in results.glob("*.arrow")} == before


def test_train_gives_the_numbers_of_the_search(undisturbed: tuple[Path, Path, str]) -> None:
    file, results, _ = undisturbed
    trials = package.read(str(results)).trials.to_pylist()
    expected = next(t for t in trials if t["stage"] == "semi" and t["seed"] == 1 and t["params.optimizer.lr"] == 1e-3)
    done = raysl("train", file, "--stage", "semi", "--seed", 1, "--set", "stages.semi.optimizer.lr=1e-3")
    assert done.returncode == 0, done.stderr
    assert f"final loss {expected['final_loss']!r}" in done.stdout
    assert expected["trial_id"] in done.stdout
    assert "leaked" not in done.stderr


def wait_for(what: str, condition: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.05)


def start(file: Path, results: Path, *more: object) -> subprocess.Popen[str]:
    arguments = command("tune", file, "--results", results, *more)
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_killed_driver_loses_nothing(undisturbed: tuple[Path, Path, str], tmp_path: Path) -> None:
    file, reference, _ = undisturbed
    results = tmp_path / "results"
    driver = start(file, results)
    wait_for("finished trial", lambda: len(list((results / "rows").glob("*.parquet"))) >= 1)
    children = descendants(driver.pid)
    driver.kill()
    driver.wait()
    # Ray's own agents take minutes to notice; what trains must not go on.
    trials = [pid for pid, line in children.items() if line.startswith(TRIAL)]
    assert trials
    wait_for("end of the killed search's trials", lambda: not any(Path(f"/proc/{pid}").exists() for pid in trials))
    rows = {path.name: path.read_bytes() for path in (results / "rows").iterdir()}
    assert len(rows) < 6, "the search was over before it was killed"
    again = raysl("tune", file, "--results", results)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{4 - min(4, len(rows))} to train" in again.stdout
    tables_equal(package.read(str(results)), package.read(str(reference)))
    assert {name: (results / "rows" / name).read_bytes() for name in rows} == rows
    assert runs_by_kind(results) == runs_by_kind(reference)


def test_a_killed_worker_goes_on_from_its_checkpoint(undisturbed: tuple[Path, Path, str], tmp_path: Path) -> None:
    file, reference, _ = undisturbed
    results = tmp_path / "results"
    driver = start(file, results, "--max-concurrent", 1)
    wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")))
    workers = [pid for pid, line in descendants(driver.pid).items() if line.startswith(TRIAL)]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    printed, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, printed
    assert any("goes on after epoch" in path.read_text() for path in (results / "logs").iterdir())
    tables_equal(package.read(str(results)), package.read(str(reference)))


def test_interrupting_says_how_to_go_on(tmp_path: Path) -> None:
    file, results = write(tmp_path), tmp_path / "results"
    driver = start(file, results)
    wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")))
    children = descendants(driver.pid)
    driver.send_signal(signal.SIGINT)
    printed, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "the same command goes on from here" in printed
    assert "Traceback" not in printed
    wait_for(
        "end of the interrupted search's processes", lambda: not any(Path(f"/proc/{pid}").exists() for pid in children)
    )


@pytest.mark.slow
def test_two_workers_give_the_numbers_of_one(undisturbed: tuple[Path, Path, str], tmp_path: Path) -> None:
    """The order of summation differs, so losses agree to 1e-4 after some 20 steps, not to the last digit."""
    _, reference, _ = undisturbed
    results = tmp_path / "results"
    text = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-3]")
    more = ("--set", "resources.workers=2", "--max-concurrent", 1)
    done = raysl("tune", write(tmp_path, text), "--results", results, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    of_one = {trial["trial_id"]: trial for trial in package.read(str(reference)).trials.to_pylist()}
    rows = package.read(str(results)).trials.to_pylist()
    assert len(rows) == 2
    for row in rows:
        assert row["workers"] == 2
        assert row["final_loss"] == pytest.approx(of_one[row["trial_id"]]["final_loss"], rel=1e-4)
        assert row["test_accuracy"] is not None
    for rank in ("", ".rank1"):
        assert len(set(processes(results, [row["trial_id"] + rank for row in rows]))) == 1, "a group for each trial"


@pytest.mark.slow
def test_a_killed_trial_of_two_workers_leaves_room_for_itself(tmp_path: Path) -> None:
    """What Ray reserved for its group is all that there is: kept, it would have the search wait for ever."""
    text = (
        EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-3]").replace("seeds: 2", "seeds: 1")
    )
    results = tmp_path / "results"
    file = write(tmp_path, text.replace("epochs: 4", "epochs: 40"))
    driver = start(file, results, "--set", f"resources.workers={os.cpu_count()}", "--set", "stages.semi.batch_size=16")
    wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")))
    trials = [pid for pid, line in descendants(driver.pid).items() if line.startswith(TRIAL)]
    for pid in trials:
        os.kill(pid, signal.SIGKILL)
    printed, _ = driver.communicate(timeout=300)
    assert trials
    assert driver.returncode == 0, printed
    assert "goes on after epoch" in next((results / "logs").glob("*[0-9a-f].log")).read_text()


@pytest.mark.slow
def test_diverged_trials_are_named_and_not_averaged(tmp_path: Path) -> None:
    text = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace(
        "name: adam, lr: {grid: [1e-2, 1e-3]}", "name: sgd, lr: {grid: [1e-2, 1e12]}"
    )
    results = tmp_path / "results"
    done = raysl("tune", write(tmp_path, text), "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "non-finite loss in epoch" in done.stdout
    tables = package.read(str(results))
    configs = {row["params.optimizer.lr"]: row for row in tables.configs.to_pylist()}
    assert (configs[1e12]["eligible"], configs[1e12]["final_loss_mean"]) == (False, None)
    assert configs[1e-2]["selected"]
    again = raysl("tune", write(tmp_path, text), "--results", results)
    assert "0 to train" in again.stdout


@pytest.mark.slow
def test_failed_trials_are_named_with_their_logs_and_tried_again(tmp_path: Path) -> None:
    results = tmp_path / "results"
    text = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("seeds: 2", "seeds: 1")
    file = write(tmp_path, text)
    broken = re.findall(r"[0-9a-f]{16}", raysl("tune", file, "--dry-run").stdout)[0]
    in_the_way = results / "checkpoints" / f"{broken}.pt"
    in_the_way.mkdir(parents=True)
    done = raysl("tune", file, "--results", results)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    trials = package.read(str(results)).trials.to_pylist()
    assert {trial["trial_id"]: trial["status"] for trial in trials if trial["status"] != "finished"} == {
        broken: "failed"
    }
    assert f"{results}/logs/{broken}.log" in done.stdout
    assert "ResultsError" in done.stdout
    in_the_way.rmdir()
    again = raysl("tune", file, "--results", results)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 to train" in again.stdout


@pytest.mark.slow
def test_a_damaged_model_is_trained_again(undisturbed: tuple[Path, Path, str], tmp_path: Path) -> None:
    file, reference, _ = undisturbed
    results = tmp_path / "results"
    shutil.copytree(reference, results)
    trials = package.read(str(results)).trials.to_pylist()
    start = next(t["trial_id"] for t in trials if t["stage"] == "semi" and t["selected"] and t["seed"] == 1)
    model = results / "models" / f"{start}.pt"
    whole = model.read_bytes()
    model.write_bytes(whole[:-100])
    (results / "scores" / f"{start}.parquet").unlink()
    done = raysl("tune", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert model.read_bytes() == whole
    tables_equal(package.read(str(results)), package.read(str(reference)))


def test_a_stage_starts_from_its_own_search_and_no_other_in_the_folder(
    undisturbed: tuple[Path, Path, str], tmp_path: Path
) -> None:
    file, reference, _ = undisturbed
    results = tmp_path / "results"
    shutil.copytree(reference, results)
    other = raysl("train", file, "--stage", "finetune", "--results", results, "--set", "data.labels=60")
    assert other.returncode == 2
    assert "no selection there holds it" in other.stderr
    same = raysl("train", file, "--stage", "finetune", "--results", results, "--seed", 1)
    trials = package.read(str(reference)).trials.to_pylist()
    expected = next(trial for trial in trials if trial["stage"] == "finetune" and trial["seed"] == 1)
    assert expected["trial_id"] in same.stdout, same.stdout + same.stderr


def test_a_trial_that_no_node_can_hold_is_refused_at_once(tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = raysl("tune", write(tmp_path), "--results", results, "--set", "resources.cpus=4096")
    assert done.returncode == 2
    assert "resources" in done.stderr
    assert "4096 CPU(s)" in done.stderr
    assert "Traceback" not in done.stderr
