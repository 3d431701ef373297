"""Guarded standard output and error."""

import io
import logging
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from raysl.errors import SearchError, UserError
from raysl.outgoing import guarded, learn
from raysl.outgoing.streams import Guarded, beneath


@pytest.fixture
def printed() -> io.StringIO:
    learn("s3cretpw", "alice")
    return io.StringIO()


def test_all_that_is_printed_is_guarded_and_then_as_before(printed: io.StringIO) -> None:
    with redirect_stdout(printed), redirect_stderr(printed):
        before = sys.stdout
        with guarded():
            print("out s3cretpw \x1b[31m")  # noqa: T201
            sys.stderr.writelines(["err s3cretpw", "\x1b]0;title\x07\n"])
            assert logging.lastResort is not None
            logging.lastResort.handle(logging.makeLogRecord({"msg": "logged s3cretpw", "levelno": logging.ERROR}))
            with guarded():
                assert isinstance(beneath(sys.stdout), io.StringIO)
            assert not sys.stdout.isatty()
        assert sys.stdout is before
    text = printed.getvalue()
    assert text.count("***") == 3
    assert "s3cretpw" not in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_stream_that_cannot_write_a_character_writes_its_name() -> None:
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding="ascii", write_through=True)
    Guarded(stream).write("0.1 ± 0.2 \ud800\n")
    assert content.getvalue() == b"0.1 \\xb1 0.2 \\ud800\n"


@pytest.mark.parametrize("kind", [UserError, SearchError])
def test_errors_hold_no_secret(kind: type[Exception]) -> None:
    learn("s3cretpw", "alice")
    error = kind("http://alice:s3cretpw@host \x1b[2J")
    assert f"{error} {error!r} {error.args}".count("s3cretpw") == 0
    assert "\x1b" not in str(error)
