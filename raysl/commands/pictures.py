"""The shared parts of `raysl show --attack` and `raysl show --diagnostic`."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

from rich.console import Console

from raysl.console.progress import progress
from raysl.data.settings import TrialData
from raysl.data.storage.decoded_cache import prepare
from raysl.data.storage.scan import DataFacts, inspect
from raysl.errors import DataError, UserError


def refuse(options: Mapping[str, object], reason: str) -> None:
    """Raise UserError if one of these options, by name, is given."""
    for option, given in options.items():
        if given:
            raise UserError(f"{option}: {reason}")


def numbered(output: Path) -> Iterator[Path]:
    """Yield the paths of pictures: the given one first, then with -2, -3, ... before the suffix."""
    yield output
    for number in count(2):
        yield output.with_stem(f"{output.stem}-{number}")


def inspected(data: TrialData, done: str, console: Console) -> DataFacts:
    """Return the facts of a trial's images, and decode them; raises DataError if they have changed.

    done: what was done with the original images, for the message.
    """
    with progress(console) as tell:
        facts = inspect(data, progress=tell)
        if facts.digest != data.digest:
            raise DataError(f"{facts.path}: no longer the images and labels that were {done}")
        prepare(data, progress=tell)
    return facts


def drawn(draw: Callable[[], None], path: Path, console: Console) -> None:
    """Draw a picture and print its path.

    Raises UserError if it cannot be written there.
    """
    try:
        draw()
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None
    console.print(f"picture: {path.absolute()}", markup=False, soft_wrap=True)
