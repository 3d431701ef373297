"""What the pictures of `raysl show` have in common."""

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
    """Raise UserError for the options that are given, each by its name."""
    for option, given in options.items():
        if given:
            raise UserError(f"{option}: {reason}")


def numbered(output: Path) -> Iterator[Path]:
    """Return the names of pictures: the first as it is, others with their number."""
    yield output
    for number in count(2):
        yield output.with_stem(f"{output.stem}-{number}")


def inspected(data: TrialData, done: str, console: Console) -> DataFacts:
    """Return the facts of a trial's images, which are decoded then; DataError where they have changed since.

    done: what was done with them.
    """
    with progress(console) as tell:
        facts = inspect(data, progress=tell)
        if facts.digest != data.digest:
            raise DataError(f"{facts.path}: no longer the images and labels that were {done}")
        prepare(data, progress=tell)
    return facts


def drawn(draw: Callable[[], None], path: Path, console: Console) -> None:
    """Draw a picture and say where it is.

    Raises UserError where it cannot be written there.
    """
    try:
        draw()
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None
    console.print(f"picture: {path.absolute()}", markup=False, soft_wrap=True)
