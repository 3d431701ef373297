"""What becomes of an attack: it is accepted, refused in one clear message, or a fault is found."""

import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from raysl.errors import UserError

ACCEPTED, REFUSED = "accepted", "refused"
MOST_CHARACTERS = 2000  # of a message
SECONDS, MEBIBYTES = 5.0, 500
WAITING = 12  # seconds for each of processor time


class OutOfTimeError(BaseException):
    """An attack has taken longer than it may."""


def outcome(attack: Callable[[], object]) -> str:
    """Return `accepted`, `refused`, or what is wrong with how an attack ended."""
    try:
        attack()
    except UserError as error:
        return _judged(str(error))
    except (Exception, OutOfTimeError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "raysl" in frame.filename]
        return f"fault: {type(error).__name__}: {str(error)[:200]} at {' '.join(own[-3:])}"
    return ACCEPTED


def _judged(message: str) -> str:
    if not message or len(message) > MOST_CHARACTERS:
        return f"fault: a message of {len(message)} characters: {message[:100]}"
    control = [one for one in message if not one.isprintable() and one != "\n"]
    return f"fault: a message with {control[0]!r}: {message[:100]!r}" if control else REFUSED


@contextmanager
def bounded(seconds: float = SECONDS, mebibytes: int = MEBIBYTES) -> Iterator[None]:
    """Have this process fail where it takes more processor time, or more memory than it has and so much more.

    It may wait for longer, for other processes may be busy.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + mebibytes * 2**20, hard))
    before = {number: signal.signal(number, _out_of_time) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAITING * seconds)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _out_of_time(*_: object) -> None:
    raise OutOfTimeError
