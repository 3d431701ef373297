"""The command lines of the reports: what they share, and how a mistake ends."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from raysl.console.output import complain, whole_output
from raysl.errors import UserError
from raysl.outgoing import guarded

Arguments = Sequence[str]


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser of the results folders and of `--out`."""
    found = argparse.ArgumentParser(prog=f"python -m analysis.{name}", description=description.partition("\n")[0])
    found.add_argument(
        "results", nargs="+", metavar="RESULTS_DIR", help="results folder or URI; several are one report"
    )
    found.add_argument("--out", type=Path, metavar="FOLDER", help="where files go; RESULTS_DIR/analysis if not given")
    return found


def out_folder(results: Sequence[str], out: Path | None) -> Path:
    """Return the folder that files go to, and make it.

    Raises UserError where there is no natural place for them, or none can be made.
    """
    if out is None and "://" in results[0]:
        raise UserError(f"--out is missing: files cannot be written beside {results[0]}")
    folder = out or Path(os.path.expanduser(results[0])) / "analysis"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: {error.strerror}") from error
    return folder


def say(text: str) -> None:
    """Print a line, or several."""
    sys.stdout.write(f"{text}\n")


def say_written(paths: Sequence[Path]) -> None:
    """Say where the files are; not among what is printed, which may go into a file itself."""
    for path in paths:
        sys.stderr.write(f"wrote {path}\n")


def execute(main: Callable[[Arguments], None], arguments: Arguments | None = None) -> None:
    """Run a report; a user's mistake is one message and exit code 2.

    arguments: those of the command line where None.
    """
    with whole_output(), guarded():
        try:
            main(sys.argv[1:] if arguments is None else arguments)
        except UserError as error:
            complain(f"error: {error}")
            sys.exit(2)
