import itertools
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clusters import free_port
from mlflow_server import MlflowServer, mlflow_server
from waiting import wait_for

from raysl.errors import ResultsError, UserError
from raysl.tracking import Tracker

Dump = Callable[..., dict[str, Any]]
FOLDER = "f01dacc0"


def test_what_is_notified_is_tracked_while_the_search_goes_on(search: Any, uri: str, logged: Dump) -> None:
    search.end(0)
    tracker = Tracker(uri, search.tables, FOLDER)
    tracker.notify()
    wait_for("third run", lambda: len(logged(uri)) == 3)
    search.end(1)
    status = tracker.close()
    assert (status.tracked, status.missing, status.reason) == (True, 0, "")
    assert len(logged(uri)) == 4
    assert str(status) == f"tracked in {uri}"


def test_the_last_sync_begins_before_anybody_waits_for_it(search: Any, uri: str, logged: Dump) -> None:
    tracker = Tracker(uri, search.tables, FOLDER, rest=1000)
    search.end(0)
    tracker.finish()
    wait_for("end of the last sync", lambda: not tracker._thread.is_alive())
    assert len(logged(uri)) == 3
    assert tracker.close().tracked


def test_many_changes_make_few_syncs(search: Any, uri: str) -> None:
    calls = []

    def snapshot() -> Any:
        calls.append(1)
        return search.tables()

    tracker = Tracker(uri, snapshot, FOLDER)
    for _ in range(100):
        tracker.notify()
        time.sleep(0.005)
    tracker.close()
    assert 1 <= len(calls) <= 5


def test_an_interrupt_at_any_moment_of_a_notice_holds_nothing_up(uri: str) -> None:
    """It may come between the taking of a lock and the knowledge of it."""

    def snapshot() -> Any:
        raise ResultsError("none here")

    for moment in itertools.count():
        tracker = Tracker(uri, snapshot, FOLDER)
        left = moment

        def interrupt(frame: Any, event: str, argument: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
            return interrupt

        sys.settrace(interrupt)
        try:
            tracker.notify()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        assert tracker.close(timeout=20).reason == "none here", f"moment {moment}"
        if left >= 0:  # it came too late
            return


def test_a_store_of_no_known_kind_is_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match="tracking URI 'mlruns'"):
        Tracker("mlruns", lambda: pytest.fail("read"), FOLDER)


def test_a_server_that_is_not_there_costs_a_warning(search: Any) -> None:
    search.end_all()
    tracker = Tracker(f"http://127.0.0.1:{free_port()}", search.tables, FOLDER)
    tracker.notify()
    wait_for("warning", lambda: tracker.warning is not None)
    status = tracker.close(timeout=30)
    assert not tracker._thread.is_alive()
    assert (status.tracked, status.missing) == (False, 19)
    assert "Connection refused" in status.reason
    assert str(status).startswith("19 runs are not tracked in http://127.0.0.1")


def test_a_server_that_never_answers_does_not_hold_the_search_up(search: Any) -> None:
    search.end(0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracker = Tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", search.tables, FOLDER)
        status = tracker.close(timeout=2)
        assert tracker._thread.is_alive()
    assert not status.tracked
    assert status.reason == "no answer within 2 s"


def test_syncs_of_two_searches_take_turns(search: Any, uri: str, logged: Dump) -> None:
    search.end_all()
    turn = threading.Lock()

    @contextmanager
    def taken() -> Iterator[None]:
        with turn:
            yield

    with turn:
        tracker = Tracker(uri, search.tables, FOLDER, taken)
        status = tracker.close(timeout=1)
        assert not status.tracked
        assert logged(uri) == {}

    def snapshot() -> Any:
        assert turn.locked(), "what another search syncs meanwhile may be newer"
        return search.tables()

    trackers = [Tracker(uri, snapshot, FOLDER, taken) for _ in range(2)]
    for tracker in trackers:
        tracker.notify()
    assert all(tracker.close().tracked for tracker in trackers)
    assert len(logged(uri)) == 19


def test_tables_that_cannot_be_read_are_a_warning_too(uri: str) -> None:
    def snapshot() -> Any:
        raise ResultsError("results folder gone")

    status = Tracker(uri, snapshot, FOLDER).close()
    assert (status.tracked, status.missing, status.reason) == (False, None, "results folder gone")


@pytest.fixture
def server(empty_database: Path, tmp_path: Path) -> Iterator[MlflowServer]:
    shutil.copy(empty_database, tmp_path / "server.db")
    with mlflow_server(tmp_path) as running:
        yield running


@pytest.mark.slow
def test_a_server_that_goes_away_is_caught_up_with(
    search: Any, server: MlflowServer, logged: Dump, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker(server.uri, search.tables, FOLDER)
    for place in range(3):
        search.end(place)
        tracker.notify()
    wait_for("fifth run", lambda: len(logged(server.uri)) == 5)
    assert tracker.warning is None
    server.kill()
    search.end(3)
    tracker.notify()
    wait_for("warning", lambda: tracker.warning is not None)
    server.start()
    server.wait()
    wait_for("sixth run", lambda: len(logged(server.uri)) == 6)
    wait_for("end of the warning", lambda: tracker.warning is None)
    search.end_all().select().score()
    assert tracker.close().tracked
    runs = logged(server.uri)
    assert len(runs) == 19
    assert {len(run.history["loss/total"]) for run in runs.values() if run.tags["raysl.kind"] == "trial"} == {3}
    assert capfd.readouterr() == ("", "")
