"""What a trial leaves in its log."""

import logging
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from raysl.launch.logs import DIED, last_error, trial_log
from raysl.results.store import Store


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


def test_everything_goes_to_the_log(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt(store, None, "epoch 1 of 2")
    attempt(store, None, "epoch 2 of 2")
    text = (tmp_path / "logs" / "abc.log").read_text()
    assert text.count("epoch 1 of 2") == text.count("epoch 2 of 2") == 1
    assert text.count("printed by a library") == 2
    assert capsys.readouterr() == ("", "")


def test_the_last_error_is_the_exception_that_ended_the_trial(store: Store) -> None:
    assert last_error(store, "abc") == DIED
    attempt(store, ValueError("the first\nof two lines"), "epoch 1 of 2")
    assert last_error(store, "abc") == "ValueError: the first"


def test_a_trial_that_went_on_and_was_killed_did_not_die_of_an_older_exception(store: Store) -> None:
    attempt(store, ValueError("old"))
    attempt(store, None, "goes on after epoch 1 of 2")
    assert last_error(store, "abc") == DIED


def test_a_chain_of_exceptions_ends_with_the_last(store: Store) -> None:
    error = RuntimeError("outer")
    error.__cause__ = OSError("inner")
    attempt(store, error)
    assert last_error(store, "abc") == "RuntimeError: outer"
