"""Standard output and error that mask secrets and let nothing through that steers a terminal."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from raysl.outgoing.harmless import harmless
from raysl.outgoing.secrets import mask


def presentable(text: str) -> str:
    """Return a text as it may be shown: its secrets masked, and harmless to a terminal."""
    return harmless(mask(text))


class Guarded:
    """A text stream that makes all that is written to it presentable.

    `isatty` returns False, because terminal codes are not let through; the stream beneath may be a terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        """stream: the one that texts are written to."""
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        self.stream.write(_encodable(presentable(text), self.stream))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """Return False."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def beneath(stream: TextIO) -> TextIO:
    """Return the stream that a guarded one writes to; any other as it is."""
    return stream.stream if isinstance(stream, Guarded) else stream


@contextmanager
def guarded() -> Iterator[None]:
    """Guard standard output and error in this block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, Guarded(beneath(stream))) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _encodable(text: str, stream: TextIO) -> str:
    r"""Return a text with an escape such as `\u2013` for each character that a stream's encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
