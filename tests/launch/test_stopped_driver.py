"""A driver that is suspended for longer than the limit: another goes on, the first one is told, and nothing is lost."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import elsewhere
import pytest
from s3_server import BUCKET, s3_server
from tiny import EXPERIMENT, Finished, tables_of
from waiting import PATIENCE, wait_for

from raysl.results.records.proposals import read_proposals
from raysl.results.storage.store import Store

pytestmark = pytest.mark.slow
OPTUNA = EXPERIMENT.replace(
    "lr: {grid: [1e-2, 1e-3]}}",
    "lr: {loguniform: [1e-4, 1e-1]}}\n"
    "    search: {algorithm: optuna, num_configs: 5, sampler: {name: TPESampler, n_startup_trials: 3}}",
)
TOLD = "has taken over its work; finished trials are kept; the same command goes on from here"


@contextmanager
def driver(machine: str, ahead: float, file: Path, results: str) -> Iterator[subprocess.Popen[str]]:
    arguments = ("tune", file, "--results", results, "--backend", "inline", "--tracking", f"sqlite:///{file}.{machine}")
    process = subprocess.Popen(
        elsewhere.command(machine, ahead, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "results")
        return
    with s3_server() as server:
        yield f"s3://{BUCKET}/results?{server.query}"


@pytest.mark.alike("two drivers")
@pytest.mark.parametrize(("results", "num_proposals"), [("local", 3), ("object store", 1)], indirect=["results"])
def test_what_it_proposed_and_what_its_successor_proposes_stays(
    finished: Callable[..., Finished], results: str, num_proposals: int
) -> None:
    file, expected, _ = finished(OPTUNA)
    store = Store.open(results, create=True)
    [stage] = [path.name for path in (expected / "proposals").iterdir()]

    with driver("first", 3600, file, results) as first:
        wait_for("proposal", lambda: len(read_proposals(store, stage)) >= num_proposals, first)
        first.send_signal(signal.SIGSTOP)
        before = read_proposals(store, stage)
        with driver("second", -7200, file, results) as second:
            printed, _ = second.communicate(timeout=PATIENCE)
        assert second.returncode == 0, printed
        found = read_proposals(store, stage)
        assert found[: len(before)] == before
        first.send_signal(signal.SIGCONT)
        printed, _ = first.communicate(timeout=PATIENCE)
    assert first.returncode == 1, printed
    assert TOLD in printed
    assert "Traceback" not in printed
    assert read_proposals(store, stage) == found == read_proposals(Store(str(expected)), stage)
    assert tables_of(results) == tables_of(expected)
    assert [*store.list("claims", ""), *store.list("drivers", ""), *store.list("fenced", "")] == []
