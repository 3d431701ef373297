"""The command line: parses arguments and calls commands."""

import gc
import sys
import traceback
from collections.abc import Set
from pathlib import Path
from typing import Annotated

import typer

from raysl import __version__
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
    add_completion=False,
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


File = Annotated[Path, typer.Argument(help="An experiment's YAML, as in search_spaces/.", show_default=False)]
Wanted = Annotated[
    Path, typer.Argument(metavar="FILE", help="An experiment's YAML, or that of a paper's tables.", show_default=False)
]
Cells = Annotated[
    list[str] | None, typer.Option(help="Of a table file: only cells TABLE/ROW/COLUMN that match; may be repeated.")
]
Profile = Annotated[str | None, typer.Option("--profile", help="A named set of overrides in the YAML.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, over file and profile; may be repeated.")
]
Results = Annotated[str | None, typer.Option(help="Results folder or URI; results/NAME[-PROFILE] if not given.")]
Tracking = Annotated[
    str | None, typer.Option(help="MLflow tracking URI; MLFLOW_TRACKING_URI, else SQLite in the results folder.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of a Ray cluster: auto on one of its nodes, http://HEAD:8265 (tune only) from outside; "
        "a local one is started if not given."
    ),
]
Cluster = Annotated[
    Path | None, typer.Option("--cluster", help="File of the cluster at --address: how far it grows, and its prices.")
]
Backend = Annotated[str, typer.Option(help="'ray', or 'inline': one trial at a time in this process, without Ray.")]
MaxConcurrent = Annotated[int | None, typer.Option(min=1, help="Trials at once; as many as fit if not given.")]
Score = Annotated[str, typer.Option(help="Whose test scores: 'selected', or 'all' to audit a selection rule.")]
Retrain = Annotated[
    str, typer.Option(help="'code': train those again that other code than this has trained; 'nothing' else.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check the YAML and the data, list the trials, start and download nothing.")
]


@app.command()
def tune(
    context: typer.Context,
    file: Wanted,
    profile: Profile = None,
    overrides: Overrides = None,
    cells: Cells = None,
    results: Results = None,
    backend: Backend = "ray",
    address: Address = None,
    tracking: Tracking = None,
    max_concurrent: MaxConcurrent = None,
    cluster: Cluster = None,
    max_hours: Annotated[float | None, typer.Option(min=0.0, help="Hours that the search takes at most.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0.0, help="USD that its nodes cost at most meanwhile.")] = None,
    score: Score = "selected",
    retrain: Retrain = "nothing",
    dry_run: DryRun = False,
) -> None:
    """Search: train every config on every seed, select, score, and write tables.

    The same command again goes on from where it was.
    """
    from raysl.api.launching import Launch
    from raysl.commands import tune as command

    launch = Launch(
        results, backend, address, cluster, tracking, max_concurrent, max_hours, max_cost, score, retrain,
        own_process=True,
    )  # fmt: skip
    if launch.from_outside and not dry_run:
        from raysl.commands.submit import submit

        submit(file, profile, overrides or [], cells or [], launch, _given(context, {"file", "address", "cluster"}))
    else:
        command.tune(file, profile, overrides or [], cells or [], launch, dry_run)


@app.command()
def train(
    file: File,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The trial's seed.")] = 0,
    stage: Annotated[str | None, typer.Option(help="Which stage; the only one if not given.")] = None,
    profile: Profile = None,
    overrides: Overrides = None,
    results: Annotated[
        str | None, typer.Option(help="Keep the trial in this results folder, and start from its selected models.")
    ] = None,
) -> None:
    """Train one trial in this process, without Ray: the same numbers as inside a search."""
    from raysl.commands import train as command

    command.train(file, profile, overrides or [], stage, seed, results)


@app.command()
def show(
    target: Annotated[
        str, typer.Argument(help="A results folder or URI; with --attack an experiment's YAML too.", show_default=False)
    ],
    form: Annotated[str, typer.Option("--format", help="table, markdown, csv or json.")] = "table",
    attack: Annotated[
        bool, typer.Option("--attack", help="Draw the attack on the labelled images, and list each class's pixel.")
    ] = False,
    diagnostic: Annotated[
        str | None,
        typer.Option(help="Draw what selected models show of themselves, by the name that methods give it."),
    ] = None,
    mixing: Annotated[bool, typer.Option("--mixing", help="The same as --diagnostic mixing.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="PNG to write; attack.png or mixing.png if not given.", show_default=False)
    ] = None,
    profile: Profile = None,
    overrides: Overrides = None,
) -> None:
    """Show a results folder: leaderboard, selection with its reason, failed and ineligible configs.

    With --attack: a picture of labelled images beside their attacked copies, also for an experiment's YAML.
    With --diagnostic: a picture for each stage whose method has it, such as mixing matrices with their images.
    """
    from raysl.commands import show as command

    if mixing and diagnostic not in (None, "mixing"):
        raise UserError(f"--diagnostic {diagnostic}: not with --mixing, which is another")
    command.show(target, form, attack, "mixing" if mixing else diagnostic, output, profile, overrides or [])


@app.command()
def plan(
    file: Wanted,
    profile: Profile = None,
    overrides: Overrides = None,
    cells: Cells = None,
    results: Results = None,
    address: Address = None,
    cluster: Cluster = None,
    steps: Annotated[int, typer.Option(min=1, help="Measured steps of each distinct shape.")] = 5,
) -> None:
    """Say what a search would take: trials, resources, and time from a few measured steps."""
    from raysl.commands import plan as command

    command.plan(file, profile, overrides or [], cells or [], results, address, cluster, steps)


@app.command()
def table(
    results: Annotated[str, typer.Argument(help="A results folder or URI.", show_default=False)],
    form: Annotated[str, typer.Option("--format", help="text, markdown, latex or arrow.")] = "text",
    output: Annotated[Path | None, typer.Option(help="A file to write to.")] = None,
) -> None:
    """Show a paper's tables: ours beside the published numbers, the best in bold, missing cells named."""
    from raysl.commands import table as command

    command.table(results, form, output)


@app.command()
def methods() -> None:
    """List the learning methods and their hyperparameters."""
    from raysl.commands import catalogue

    catalogue.methods()


@app.command()
def datasets() -> None:
    """List the known data sets and where they are."""
    from raysl.commands import catalogue

    catalogue.datasets()


@app.command()
def backbones() -> None:
    """List the backbones."""
    from raysl.commands import catalogue

    catalogue.backbones()


def _given(context: typer.Context, left_out: Set[str]) -> list[str]:
    """Return the given options of a command line as arguments, except those of some parameters."""
    found = []
    for parameter in context.command.params:
        value = None if parameter.name in left_out else context.params.get(str(parameter.name))
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None and one is not False:
                found.append(parameter.opts[0] if one is True else f"{parameter.opts[0]}={one}")
    return found


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
