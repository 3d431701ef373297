"""`raysl tune` as its user runs it: real Ray, real MLflow, real tables; and what a kill leaves."""

import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters import descendants
from tiny import EXPERIMENT, ONE_PROCESS, Finished, here, inline, raysl, runs_by_kind, start, tables_of, write
from waiting import PATIENCE, wait_for

import raysl as package

TRIAL = "ray::TrialProcess"  # the title of a process that trains
BEGINS = re.compile(r"begins on \S+, process (\d+)")  # in a trial's log


@pytest.fixture
def by_ray(finished: Callable[..., Finished]) -> Finished:
    return finished(EXPERIMENT, *ONE_PROCESS, ray=True, tracked=True)


@pytest.mark.slow
def test_ray_and_the_inline_backend_give_the_same_tables(by_ray: Finished, undisturbed: Finished) -> None:
    assert tables_of(by_ray.results) == tables_of(undisturbed.results)
    assert runs_by_kind(by_ray.results) == runs_by_kind(undisturbed.results)
    assert "starting Ray" in by_ray.printed
    assert "starting Ray" not in undisturbed.printed


def test_a_search_leaves_tables_and_mlflow_runs(by_ray: Finished) -> None:
    _, results, printed = by_ray
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


def test_a_process_goes_on_with_the_next_stage(by_ray: Finished) -> None:
    _, results, _ = by_ray
    trials = package.read(str(results)).trials.to_pylist()
    first, second = (
        processes(results, [trial["trial_id"] for trial in trials if trial["stage"] == stage])
        for stage in ("semi", "finetune")
    )
    assert len(first) == 4
    assert set(first) & set(second)


def test_the_selected_config_has_the_lowest_mean_final_loss(by_ray: Finished) -> None:
    tables = package.read(str(by_ray.results))
    losses: dict[str, list[float]] = {}
    for trial in tables.trials.to_pylist():
        if trial["stage"] == "semi":
            losses.setdefault(trial["config_id"], []).append(trial["final_loss"])
    means = {config_id: sum(values) / len(values) for config_id, values in losses.items()}
    chosen = next(row for row in tables.selections.to_pylist() if row["stage"] == "semi")
    assert chosen["config_id"] == min(means, key=means.__getitem__)


def test_only_selected_trials_have_test_scores_and_models(by_ray: Finished) -> None:
    _, results, _ = by_ray
    trials = package.read(str(results)).trials.to_pylist()
    assert all((trial["test_accuracy"] is not None) == trial["selected"] for trial in trials)
    assert {path.stem for path in (results / "models").iterdir()} == {t["trial_id"] for t in trials if t["selected"]}
    assert not list((results / "checkpoints").glob("*"))


def test_a_later_stage_starts_from_the_selected_models_seed_by_seed(by_ray: Finished) -> None:
    import json

    trials = package.read(str(by_ray.results)).trials.to_pylist()
    selected = {trial["seed"]: trial["trial_id"] for trial in trials if trial["stage"] == "semi" and trial["selected"]}
    starts = {t["seed"]: json.loads(t["spec"])["start"] for t in trials if t["stage"] == "finetune"}
    assert starts == selected


@pytest.mark.usefixtures("tracked")
def test_the_same_command_again_trains_nothing_and_adds_nothing(by_ray: Finished) -> None:
    file, results, _ = by_ray
    before = {path: path.stat().st_mtime_ns for path in results.glob("*.arrow")}
    runs = runs_by_kind(results)
    again = here("tune", file, "--results", results)
    assert again.returncode == 0
    assert "0 to train" in again.stdout
    assert "starting Ray" not in again.stdout
    assert runs_by_kind(results) == runs
    assert {path: path.stat().st_mtime_ns for path in results.glob("*.arrow")} == before


def test_train_gives_the_numbers_of_the_search(by_ray: Finished) -> None:
    file, results, _ = by_ray
    trials = package.read(str(results)).trials.to_pylist()
    expected = next(t for t in trials if t["stage"] == "semi" and t["seed"] == 1 and t["params.optimizer.lr"] == 1e-3)
    done = raysl("train", file, "--stage", "semi", "--seed", 1, "--set", "stages.semi.optimizer.lr=1e-3")
    assert done.returncode == 0, done.stderr
    assert f"final loss {expected['final_loss']!r}" in done.stdout
    assert expected["trial_id"] in done.stdout
    assert "leaked" not in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("tracked")
def test_a_killed_driver_loses_nothing(undisturbed: Finished, tmp_path: Path) -> None:
    file, reference, _ = undisturbed
    results = tmp_path / "results"
    driver = start(file, results, *ONE_PROCESS)
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
    again = raysl("tune", file, "--results", results, *ONE_PROCESS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{4 - min(4, len(rows))} to train" in again.stdout
    assert tables_of(results) == tables_of(reference)
    assert {name: (results / "rows" / name).read_bytes() for name in rows} == rows
    assert runs_by_kind(results) == runs_by_kind(reference)


@pytest.mark.slow
def test_a_killed_worker_goes_on_from_its_checkpoint(undisturbed: Finished, tmp_path: Path) -> None:
    file, reference, _ = undisturbed
    results = tmp_path / "results"
    driver = start(file, results, *ONE_PROCESS)
    wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")))
    workers = [pid for pid, line in descendants(driver.pid).items() if line.startswith(TRIAL)]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, printed
    assert any("goes on after epoch" in path.read_text() for path in (results / "logs").iterdir())
    assert tables_of(results) == tables_of(reference)


@pytest.mark.slow
def test_interrupting_says_how_to_go_on(tmp_path: Path) -> None:
    file, results = write(tmp_path), tmp_path / "results"
    driver = start(file, results, *ONE_PROCESS)
    wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")))
    children = descendants(driver.pid)
    driver.send_signal(signal.SIGINT)
    printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130
    assert "the same command goes on from here" in printed
    assert "Traceback" not in printed
    wait_for(
        "end of the interrupted search's processes", lambda: not any(Path(f"/proc/{pid}").exists() for pid in children)
    )


@pytest.mark.slow
def test_two_workers_give_the_numbers_of_one(finished: Callable[..., Finished], tmp_path: Path) -> None:
    """The order of summation differs, which Adam would blow up: it takes steps of one size of what rounding leaves."""
    adam, descent = "{name: adam, lr: {grid: [1e-2, 1e-3]}}", "{name: sgd, lr: 0.01, momentum: 0.0}"
    text, results = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace(adam, descent), tmp_path / "results"
    more = ("--set", "resources.workers=2", "--max-concurrent", 1)
    done = raysl("tune", write(tmp_path, text), "--results", results, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    of_one = {trial["trial_id"]: trial for trial in package.read(str(finished(text).results)).trials.to_pylist()}
    rows = package.read(str(results)).trials.to_pylist()
    assert len(rows) == 2
    for row in rows:
        assert row["workers"] == 2
        assert row["final_loss"] == pytest.approx(of_one[row["trial_id"]]["final_loss"], rel=1e-5)
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
    file = write(tmp_path, text.replace("epochs: 4", "epochs: 15"))
    driver = start(file, results, "--set", f"resources.workers={os.cpu_count()}", "--set", "stages.semi.batch_size=16")
    wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")))
    below = descendants(driver.pid)
    trials = [pid for pid, line in below.items() if line.startswith(TRIAL)]
    for pid in trials:
        os.kill(pid, signal.SIGKILL)
    printed, _ = driver.communicate(timeout=PATIENCE)
    assert trials
    actors = {found[1] for line in below.values() if (found := re.match(r"ray::(\w+)", line))}
    assert actors == {"TrialProcess", "Courier", "RayTrainWorker", "RuntimeEnvAgent"}
    assert driver.returncode == 0, printed
    assert "goes on after epoch" in next((results / "logs").glob("*[0-9a-f].log")).read_text()


def test_diverged_trials_are_named_and_not_averaged(tmp_path: Path) -> None:
    text = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace(
        "name: adam, lr: {grid: [1e-2, 1e-3]}", "name: sgd, lr: {grid: [1e-2, 1e12]}"
    )
    results = tmp_path / "results"
    done = inline("tune", write(tmp_path, text), "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "non-finite loss in epoch" in done.stdout
    tables = package.read(str(results))
    configs = {row["params.optimizer.lr"]: row for row in tables.configs.to_pylist()}
    assert (configs[1e12]["eligible"], configs[1e12]["final_loss_mean"]) == (False, None)
    assert configs[1e-2]["selected"]
    again = inline("tune", write(tmp_path, text), "--results", results)
    assert "0 to train" in again.stdout


def test_failed_trials_are_named_with_their_logs_and_tried_again(tmp_path: Path) -> None:
    results = tmp_path / "results"
    text = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("seeds: 2", "seeds: 1")
    file = write(tmp_path, text)
    broken = re.findall(r"[0-9a-f]{16}", here("tune", file, "--dry-run").stdout)[0]
    in_the_way = results / "checkpoints" / f"{broken}.pt"
    in_the_way.mkdir(parents=True)
    done = inline("tune", file, "--results", results)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    trials = package.read(str(results)).trials.to_pylist()
    assert {trial["trial_id"]: trial["status"] for trial in trials if trial["status"] != "finished"} == {
        broken: "failed"
    }
    assert f"{results}/logs/{broken}.log" in done.stdout
    assert "ResultsError" in done.stdout
    in_the_way.rmdir()
    again = inline("tune", file, "--results", results)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 to train" in again.stdout


def test_a_damaged_model_is_trained_again(undisturbed: Finished, tmp_path: Path) -> None:
    file, reference, _ = undisturbed
    results = tmp_path / "results"
    shutil.copytree(reference, results)
    trials = package.read(str(results)).trials.to_pylist()
    start = next(t["trial_id"] for t in trials if t["stage"] == "semi" and t["selected"] and t["seed"] == 1)
    model = results / "models" / f"{start}.safetensors"
    whole = model.read_bytes()
    model.write_bytes(whole[:-100])
    (results / "scores" / f"{start}.parquet").unlink()
    done = inline("tune", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert model.read_bytes() == whole
    assert tables_of(results) == tables_of(reference)


@pytest.mark.slow
def test_a_stage_starts_from_its_own_search_and_no_other_in_the_folder(undisturbed: Finished, tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_a_trial_that_no_node_can_hold_is_refused_at_once(tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = raysl("tune", write(tmp_path), "--results", results, "--set", "resources.cpus=4096")
    assert done.returncode == 2
    assert "resources" in done.stderr
    assert "4096 CPU(s)" in done.stderr
    assert "Traceback" not in done.stderr
