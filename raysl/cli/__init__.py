"""The command line: parses arguments and calls commands."""

import gc
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from raysl import __version__
from raysl.cli import catalogue, models, reading, searching
from raysl.console.output import BrokenOutputError, complain, whole_output
from raysl.console.usage import Commands
from raysl.errors import SearchError, UserError, checked_path
from raysl.outgoing import ADDRESS, guarded, learn_address

app = typer.Typer(
    name="raysl",
    cls=Commands,
    help="Hyperparameter search on Ray for image learning with few labels and no validation set.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes would break a wrong argument into lines, and a secret in it would not be masked
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"raysl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None: ...


for _command in (
    searching.tune,
    searching.train,
    searching.plan,
    reading.show,
    reading.table,
    reading.seeds,
    reading.variance,
    reading.compare,
    reading.report,
    models.models,
    models.export,
    reading.ui,
    catalogue.methods,
    catalogue.datasets,
    catalogue.backbones,
    catalogue.experiments,
    catalogue.new,
    catalogue.cluster_files,
):
    app.command()(_command)


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2."""
    for argument in sys.argv[1:]:
        if address := ADDRESS.search(argument):
            learn_address(address[0])
    try:
        with whole_output(), guarded():
            _run()
    except OSError:
        with guarded():
            traceback.print_exc()
        sys.exit(1)


def _run() -> None:
    try:
        _check_working_directory()
        app()
    except UserError as error:
        complain(f"error: {error}")
        sys.exit(2)
    except SearchError as error:
        complain(f"error: {error}; finished trials are kept; the same command goes on from here")
        sys.exit(1)
    except KeyboardInterrupt:
        complain("interrupted; the same command goes on from here")
        sys.exit(130)
    except (OSError, BrokenOutputError):
        raise  # it may concern standard output
    except Exception:  # a bug of raysl: the traceback is printed here, where output is guarded
        traceback.print_exc()
        sys.exit(1)
    finally:
        if "torch" not in sys.modules:  # some of its libraries count the remaining objects, and complain
            gc.freeze()  # else the interpreter collects garbage once more at exit, which takes a second


def _check_working_directory() -> None:
    """Raise UserError if the working directory was removed, or has a path that libraries cannot take."""
    try:
        here = Path.cwd()
    except OSError as error:
        raise UserError(f"working directory: {error.strerror}; it was removed, perhaps: cd elsewhere") from None
    checked_path(here, "working directory")
