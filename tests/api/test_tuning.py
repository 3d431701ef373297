"""Searches from Python: the command's tables, and no more than is asked for is printed, changed or ended."""

import faulthandler
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import EXPERIMENT, TABLES, Finished, here, tables_of, without_times, write

import raysl
from raysl.api import turns
from raysl.api.tuning import SearchResults
from raysl.launch.cluster.budget import WIND_DOWN
from raysl.plain_yaml import read_one
from raysl.results.records.rows import TrialRow
from raysl.results.schema import SCHEMAS
from raysl.training.uncompiled import set_deterministic

ONE_STAGE = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("seeds: 2", "seeds: 1")
SHORT = ONE_STAGE.replace("[1e-2, 1e-3]", "[1e-2]").replace("epochs: 4", "epochs: 1")


def rows_of(found: SearchResults) -> dict[str, list[dict[str, object]]]:
    return {name: without_times(getattr(found, name)) for name in TABLES}


class Watching(raysl.Observer):
    """Notes what it is told, and prints it too."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def _note(self, what: str) -> None:
        self.told.append(what)
        print(what)  # noqa: T201

    def noted(self, text: str) -> None:
        self._note(text)

    def preparing(self, what: str, done: int, total: int | None) -> None:
        self._note("preparing")

    def trial_started(self, trial_id: str) -> None:
        self._note("started")

    def trial_progressed(self, trial_id: str, epoch: int, epochs: int, loss: float) -> None:
        self._note("progressed")

    def trial_ended(self, row: TrialRow) -> None:
        self._note(row.status)


@pytest.mark.parametrize("kind", ["file", "dict", "experiment"])
def test_its_tables_are_those_of_the_command(
    kind: str, finished: Callable[..., Finished], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected, results = finished(), tmp_path / "results"
    given: Any = {"file": expected.file, "dict": read_one(EXPERIMENT).value, "experiment": raysl.load(expected.file)}
    found = raysl.tune(given[kind], results, backend="inline")
    assert rows_of(found) == tables_of(expected.results) == tables_of(results)
    assert (found.ok, found.failed, found.unselected, found.stopped, found.untracked) == (True, (), (), "", "")
    assert (found.folder, found.tracking) == (str(results), "")
    assert not (results / "mlflow.db").exists()
    assert {name: table.schema for name, table in vars(found).items() if name in TABLES} == {
        name: raysl.read(found.folder).__dict__[name].schema for name in SCHEMAS
    }
    assert found.current().configs.num_rows == found.configs.num_rows
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.mark.usefixtures("tracked")
def test_what_is_done_is_taken_and_the_command_goes_on_from_there(tmp_path: Path) -> None:
    file, results = write(tmp_path, SHORT), tmp_path / "results"
    watching = Watching()
    assert raysl.tune(file, results, backend="inline", observer=watching).ok
    assert watching.told.count("finished") == 1
    again = Watching()
    assert raysl.tune(file, results, backend="inline", observer=again).ok
    assert "finished" not in again.told
    done = here("tune", file, "--results", results, "--backend", "inline")
    assert done.returncode == 0, done.stderr
    assert "1 trials, 0 to train" in done.stdout


def test_an_observer_prints_where_its_program_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trial that is trained in this process has standard output sent to its log."""
    watching, file = Watching(), write(tmp_path, SHORT.replace(", labels: 40, unlabelled: 64", ""))
    found = raysl.tune(file, tmp_path / "results", backend="inline", observer=watching)
    assert found.ok
    assert "data.labels: not given" in watching.told[0]
    assert {"started", "progressed", "finished"} <= set(watching.told)
    assert capsys.readouterr().out.splitlines() == watching.told
    logs = "".join(path.read_text() for path in (tmp_path / "results" / "logs").iterdir())
    assert "progressed" not in logs
    assert "epoch 1 of 1" in logs


def test_what_an_observer_raises_ends_the_search_and_nothing_is_lost(tmp_path: Path) -> None:
    class Stopping(raysl.Observer):
        def trial_ended(self, row: TrialRow) -> None:
            raise KeyError(row.trial_id)

    file, results = write(tmp_path, ONE_STAGE.replace("epochs: 4", "epochs: 1")), tmp_path / "results"
    with pytest.raises(KeyError):
        raysl.tune(file, results, backend="inline", observer=Stopping())
    assert len(list((results / "rows").iterdir())) == 1
    assert [path for folder in ("claims", "drivers") for path in (results / folder).iterdir()] == []
    assert raysl.tune(file, results, backend="inline").ok


def test_a_failed_trial_and_a_stage_without_selection_are_in_what_is_returned(tmp_path: Path) -> None:
    file, results = write(tmp_path, EXPERIMENT.replace("seeds: 2", "seeds: 1")), tmp_path / "results"
    ids = [line.split()[0] for line in here("tune", file, "--dry-run").stdout.splitlines()[2:4]]
    for trial_id in ids:
        (results / "checkpoints" / f"{trial_id}.pt").mkdir(parents=True)
    found = raysl.tune(file, results, backend="inline")
    assert not found.ok
    assert sorted(row.trial_id for row in found.failed) == sorted(ids)
    assert found.unselected == ("semi", "finetune")
    assert [row["status"] for row in found.trials.to_pylist()] == ["failed", "failed"]


def test_a_limit_is_in_what_is_returned(tmp_path: Path) -> None:
    file, results = write(tmp_path, SHORT.replace("epochs: 1", "epochs: 100000")), tmp_path / "results"
    found = raysl.tune(file, results, backend="inline", max_hours=(WIND_DOWN + 3) / 3600)
    assert (found.ok, found.failed) == (False, ())
    assert found.stopped.startswith("--max-hours ")
    assert [row["status"] for row in found.trials.to_pylist()] == ["pending"]
    assert len(list((results / "checkpoints").glob("*.pt"))) == 1


@pytest.mark.slow
def test_a_search_in_another_thread_is_as_in_the_main_one_and_waits_for_its_turn(
    finished: Callable[..., Finished], tmp_path: Path
) -> None:
    expected, found = finished(), dict[int, SearchResults]()

    def search(number: int) -> None:
        found[number] = raysl.tune(expected.file, tmp_path / str(number), backend="inline")

    threads = [threading.Thread(target=search, args=(number,)) for number in range(2)]
    with turns.own_turn():
        for thread in threads:
            thread.start()
        threads[0].join(0.2)
        assert not list(tmp_path.iterdir())
    for thread in threads:
        thread.join()
    assert [rows_of(found[number]) for number in range(2)] == [tables_of(expected.results)] * 2


@pytest.mark.usefixtures("tracked")
def test_its_process_is_left_as_it_was(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    set_deterministic(False)  # another test of this process may have left it on
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    log = logging.getLogger("raysl")
    level, handlers, told_of_faults = log.level, list(log.handlers), faulthandler.is_enabled()
    try:
        file = write(tmp_path, SHORT)
        assert raysl.tune(file, tmp_path / "results", backend="inline").ok
        assert raysl.train(file).status == "finished"
        assert raysl.plan(file, steps=1).num_trials == 1
        assert torch.get_num_threads() == 2
        assert faulthandler.is_enabled() == told_of_faults
    finally:
        torch.set_num_threads(1)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert (log.level, log.handlers) == (level, handlers)


def test_an_observer_cannot_begin_another_search(tmp_path: Path) -> None:
    class Nesting(raysl.Observer):
        def trial_started(self, trial_id: str) -> None:
            raysl.train(file)

    file = write(tmp_path, SHORT)
    with pytest.raises(raysl.UserError, match="this thread is searching or training already"):
        raysl.tune(file, tmp_path / "results", backend="inline", observer=Nesting())
    assert raysl.train(file).status == "finished"


WORKERS = {**read_one(SHORT).value, "resources": {"workers": 2}}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no experiment": ({"experiment": 3}, "experiment: 3 is of the type int"),
    "a missing file": ({"experiment": "missing.yaml"}, "cannot be read"),
    "a mistake in a dict": ({"experiment": {"name": "x", "stages": {}}}, "dict['stages']: "),
    "a backend": ({"backend": "rays"}, "--backend rays: did you mean 'ray'?"),
    "a backend of another type": ({"backend": None}, "--backend None: choices: inline, ray"),
    "whose scores": ({"score": ["all"]}, "--score ['all']"),
    "what is trained again": ({"retrain": "cod"}, "--retrain cod: did you mean 'code'?"),
    "no trials at once": ({"max_concurrent": 0}, "--max-concurrent 0: must be a whole number from 1 on"),
    "half a trial": ({"max_concurrent": 1.5}, "--max-concurrent 1.5"),
    "several at once": ({"max_concurrent": 2}, "--max-concurrent 2: --backend inline"),
    "negative hours": ({"max_hours": -1}, "--max-hours -1: must be a number from 0 on"),
    "hours that are none": ({"max_hours": float("nan")}, "--max-hours nan"),
    "hours as text": ({"max_hours": "1"}, "--max-hours '1'"),
    "hours that are too few": ({"max_hours": 0.001}, "--max-hours 0.001"),
    "a cost without a price": ({"max_cost": 1.0}, "--max-cost 1: this machine has no price"),
    "a cluster inline": ({"address": "auto"}, "--address auto: --backend inline"),
    "a job server": ({"address": "http://127.0.0.1:8265", "backend": "ray"}, "--address: a search is handed"),
    "the Ray Client": ({"address": "ray://h:10001", "backend": "ray"}, "--address ray://h:10001"),
    "an address of another type": ({"address": 6379}, "address: 6379 is of the type int"),
    "a cluster file": ({"cluster": "c.yaml", "address": "auto", "backend": "ray"}, "--cluster c.yaml"),
    "a tracking folder": ({"tracking": "./mlruns"}, "sqlite:///"),
    "results of another type": ({"results": 3}, "results: 3 is of the type int"),
    "results in a file": ({"results": __file__}, "is a file, not a folder"),
    "results of no known kind": ({"results": "nowhere://x"}, "nowhere://x"),
    "an observer's class": ({"observer": Watching}, "observer: "),
    "a function as observer": ({"observer": print}, "derives from raysl.Observer"),
    "too many workers": ({"experiment": WORKERS}, "resources.workers: 2"),
    "too many labels": ({"experiment": {**read_one(SHORT).value, "data": {"labels": 9999}}}, "dict['data']['labels']"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_a_user_error(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given, expected = REFUSED[kind]
    standard = {"experiment": write(tmp_path, SHORT), "results": tmp_path / "results", "backend": "inline"}
    with pytest.raises(raysl.UserError) as refused:
        raysl.tune(**standard | given)
    assert expected in str(refused.value)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.glob("results/rows/*"))
