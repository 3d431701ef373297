"""A search with limits, as its user gives them: it ends in time, loses nothing, and goes on."""

import time
from pathlib import Path

import pytest
from tiny import EXPERIMENT, ONE_PROCESS, here, raysl, write

LONG = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("epochs: 4", "epochs: 5000")


@pytest.mark.slow
@pytest.mark.clock
def test_a_search_ends_within_its_hours(tmp_path: Path) -> None:
    results = tmp_path / "results"
    began = time.monotonic()
    done = raysl("tune", write(tmp_path, LONG), "--results", results, *ONE_PROCESS, "--max-hours", 45 / 3600)
    assert time.monotonic() - began < 45  # the promise itself, not a timing
    assert done.returncode == 3, done.stdout + done.stderr
    assert "stopped: --max-hours 0.0125 is reached; finished trials are kept; the same command goes on" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((results / "rows").glob("*")), "a trial that was stopped has failed"
    left = [path.name for folder in ("claims", "drivers") for path in (results / folder).glob("*")]
    assert left == []


def test_limits_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    file, results = write(tmp_path), tmp_path / "results"
    for options, message in (
        (("--max-hours", 0.001), "--max-hours 0.001: is 4 s"),
        (("--max-cost", 5), "--max-cost 5: this machine has no price"),
        (("--cluster", tmp_path / "none.yaml"), "none.yaml: No such file"),
    ):
        done = here("tune", file, "--results", results, *options)
        assert done.returncode == 2
        assert message in done.stderr
        assert not results.exists()
