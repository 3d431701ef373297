"""Searches in one process, without Ray: what fails, stops or kills them loses nothing either."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from tiny import EXPERIMENT, Finished, here, inline, start, tables_of, write
from waiting import PATIENCE, wait_for

import raysl as package
from raysl.launch.runtime.failures import MAX_FAILURES

ONE_STAGE = EXPERIMENT[: EXPERIMENT.index("  finetune:")]


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_one_that_is_interrupted_or_killed_goes_on(
    undisturbed: Finished, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    file, results = undisturbed.file, tmp_path / "results"
    # Ray's import is a second of a start that is to be short.
    (tmp_path / "ray.py").write_text("raise AssertionError('ray is imported')")
    driver = start(file, results, "--backend", "inline", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    wait_for("finished trial", lambda: list((results / "rows").glob("*.parquet")), driver)
    driver.send_signal(sent)
    printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == code, printed
    assert "Traceback" not in printed
    assert ("the same command goes on from here" in printed) == (sent == signal.SIGINT)
    rows = {path.name: path.read_bytes() for path in (results / "rows").iterdir()}
    assert len(rows) < 6, "the search was over before it was stopped"
    again = inline("tune", file, "--results", results)
    assert again.returncode == 0, again.stdout + again.stderr
    assert tables_of(results) == tables_of(undisturbed.results)
    assert {name: (results / "rows" / name).read_bytes() for name in rows} == rows


def test_a_limit_ends_a_trial_between_two_epochs(tmp_path: Path) -> None:
    results = tmp_path / "results"
    file = write(tmp_path, ONE_STAGE.replace("epochs: 4", "epochs: 100000"))
    done = inline("tune", file, "--results", results, "--max-hours", 33 / 3600)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "is reached; finished trials are kept; the same command goes on from here" in done.stdout
    assert not list((results / "rows").glob("*")), "a trial that was stopped has failed"
    assert len(list((results / "checkpoints").glob("*.pt"))) == 1
    assert [path for folder in ("claims", "drivers") for path in (results / folder).iterdir()] == []
    kept = {path: path.read_bytes() for path in (results / "checkpoints").iterdir()}
    again = inline("tune", file, "--results", results, "--max-hours", 33 / 3600)
    assert again.returncode == 3, again.stdout + again.stderr
    assert "of them by other commands on this results folder; finished trials are kept" in again.stdout
    assert {path: path.read_bytes() for path in (results / "checkpoints").iterdir()} == kept, "it has trained"


@pytest.mark.slow
def test_a_trial_that_dies_is_tried_as_often_as_by_ray(tmp_path: Path) -> None:
    results = tmp_path / "results"
    file = write(tmp_path, ONE_STAGE.replace("seeds: 2", "seeds: 1"))
    first, second = [line.split()[0] for line in here("tune", file, "--dry-run").stdout.splitlines()[2:]]
    (results / "checkpoints" / f"{first}.pt").mkdir(parents=True)
    done = inline("tune", file, "--results", results)
    assert done.returncode == 1, done.stdout + done.stderr
    assert Counter(t["status"] for t in package.read(str(results)).trials.to_pylist()) == {"failed": 1, "finished": 1}
    begun = [(results / "logs" / f"{name}.log").read_text().count(" begins on ") for name in (first, second)]
    assert begun == [1 + MAX_FAILURES, 1]


def test_what_a_trial_prints_is_in_its_log_and_what_the_search_prints_is_not(undisturbed: Finished) -> None:
    logs = "".join(path.read_text() for path in (undisturbed.results / "logs").iterdir())
    assert "finished: final loss" in undisturbed.printed
    assert "finished: final loss" not in logs
    assert "epoch 1 of 4: loss" in logs
    assert "epoch 1 of 4: loss" not in undisturbed.printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--backend", "rays"), ["--backend rays: did you mean 'ray'? choices: inline, ray"]),
        (("--backend", "inline", "--address", "auto"), ["--address auto", "--backend inline"]),
        (("--backend", "inline", "--address", "http://127.0.0.1:8265"), ["--address http", "--backend inline"]),
        (("--backend", "inline", "--cluster", "c.yaml"), ["--cluster c.yaml", "--backend inline"]),
        (("--backend", "inline", "--max-concurrent", 2), ["--max-concurrent 2", "choices: 1, --backend ray"]),
        (("--backend", "inline", "--set", "resources.workers=2"), ["resources.workers: 2", "choices", "--backend ray"]),
        (("--backend", "inline", "--set", "resources.cpus=4096"), ["resources", "4096 CPU(s)"]),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path: Path, options: tuple[object, ...], words: list[str]) -> None:
    refused = here("tune", write(tmp_path), "--results", tmp_path / "results", *options)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert [word for word in words if word not in refused.stderr] == [], refused.stderr
    assert not list(tmp_path.glob("results/rows/*"))
