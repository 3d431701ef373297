"""What a trial leaves in its log."""

import logging
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from s3_server import BUCKET, s3_server
from small_disk import small_disk

from raysl.launch.runtime.trial_log import DIED, last_error, trial_log
from raysl.outgoing import learn_address
from raysl.results.storage import file_systems as module
from raysl.results.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path), create=True)


def attempt(store: Store, error: Exception | None, *messages: str) -> None:
    with suppress(ValueError, RuntimeError), trial_log(store, "abc", rank=0):
        for message in messages:
            logging.getLogger("raysl.training").info(message)
        sys.stderr.write("printed by a library\n")
        if error:
            raise error


def die(store: Store, message: str) -> None:
    with trial_log(store, "abc", rank=0):
        logging.getLogger("raysl.training").info(message)
        raise KeyError("what it died of")


def test_everything_goes_to_the_log(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt(store, None, "epoch 1 of 2")
    attempt(store, None, "epoch 2 of 2")
    text = (tmp_path / "logs" / "abc.log").read_text()
    assert text.count("epoch 1 of 2") == text.count("epoch 2 of 2") == 1
    assert text.count("printed by a library") == 2
    assert capsys.readouterr() == ("", "")


def test_a_library_that_was_imported_in_a_trial_writes_to_the_next_one_s_log(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Handlers of such libraries keep standard error as it was then: a log that is closed by now."""
    with trial_log(store, "abc", rank=0):
        handler = logging.StreamHandler()
    for name in ("abc", "def"):
        with trial_log(store, name, rank=0):
            handler.emit(logging.makeLogRecord({"msg": f"a warning of {name}"}))
    handler.emit(logging.makeLogRecord({"msg": "a warning of the search"}))
    assert (tmp_path / "logs" / "abc.log").read_text() == "a warning of abc\n"
    assert (tmp_path / "logs" / "def.log").read_text() == "a warning of def\n"
    assert capsys.readouterr() == ("", "a warning of the search\n")


def test_the_last_error_is_the_exception_that_ended_the_trial(store: Store) -> None:
    assert last_error(store, "abc") == DIED
    attempt(store, ValueError("the first\nof two lines"), "epoch 1 of 2")
    assert last_error(store, "abc") == "ValueError: the first"


def test_a_trial_that_went_on_and_was_killed_did_not_die_of_an_older_exception(store: Store) -> None:
    attempt(store, ValueError("old"))
    attempt(store, None, "goes on after epoch 1 of 2")
    assert last_error(store, "abc") == DIED


def test_a_log_and_what_is_said_of_it_hold_no_secret(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret/key+1")
    learn_address("http://alice:s3cretpw@host")
    attempt(store, ValueError("http://alice:s3cretpw@host: 500 s3cret%2Fkey%2B1"), "epoch 1 of 2", "said 's3cretpw'")
    text = (tmp_path / "logs" / "abc.log").read_text()
    assert "said '***'" in text
    assert "s3cret" not in text
    assert last_error(store, "abc") == "ValueError: http://***@host: 500 ***"


def test_a_chain_of_exceptions_ends_with_the_last(store: Store) -> None:
    error = RuntimeError("outer")
    error.__cause__ = OSError("inner")
    attempt(store, error)
    assert last_error(store, "abc") == "RuntimeError: outer"


def test_on_an_object_store_a_log_is_sent_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with s3_server() as server:
        store = Store.open(f"s3://{BUCKET}/results", create=True)
        attempt(store, None, "epoch 1 of 2")
        attempt(store, ValueError("the first"), "epoch 2 of 2")
        text = server.objects()["results/logs/abc.log"].decode()
        assert text.count("epoch 1 of 2") == text.count("epoch 2 of 2") == 1
        assert last_error(store, "abc") == "ValueError: the first"
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_sent_does_not_hide_what_the_trial_died_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    with s3_server() as server:
        store = Store.open(f"s3://{BUCKET}/results", create=True)
        server.stop()
        with trial_log(store, "abc", rank=0):  # nor does it fail one that did not
            pass
        with pytest.raises(KeyError, match="what it died of"):
            die(store, "epoch 1 of 2")
        server.start()


def test_a_log_without_room_does_not_hide_what_the_trial_died_of(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        store = Store.open(str(disk.folder), create=True)
        attempt(store, None, "epoch 1 of 2")
        disk.fill()
        with trial_log(store, "abc", rank=0):
            sys.stdout.write("x" * 10_000)
        with pytest.raises(KeyError, match="what it died of"):
            die(store, "x" * 10_000)
        assert "epoch 1 of 2" in (disk.folder / "logs" / "abc.log").read_text()
