"""`raysl show`, `table`, `seeds`, `variance`, `compare`, `report` and `ui`: what a results folder holds."""

from pathlib import Path
from typing import Annotated

import typer

from raysl.cli.options import Form, Intervals, Overrides, Profile
from raysl.errors import UserError


def show(
    target: Annotated[
        str,
        typer.Argument(
            help="A results folder or URI; with --attack an experiment's YAML too, with --images that alone.",
            show_default=False,
        ),
    ],
    form: Annotated[str, typer.Option("--format", help="table, markdown, csv or json.")] = "table",
    attack: Annotated[
        bool, typer.Option("--attack", help="Draw the attack on the labelled images, and list each class's pixel.")
    ] = False,
    images: Annotated[
        bool, typer.Option("--images", help="Draw labelled images of an experiment, with their masks or classes.")
    ] = False,
    diagnostic: Annotated[
        str | None,
        typer.Option(help="Draw a figure of the selected models, such as mixing."),
    ] = None,
    mixing: Annotated[bool, typer.Option("--mixing", help="The same as --diagnostic mixing.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="PNG to write; attack.png, images.png or mixing.png if not given.", show_default=False),
    ] = None,
    profile: Profile = None,
    overrides: Overrides = None,
    intervals: Intervals = None,
) -> None:
    """Show a results folder: leaderboard, selection with its reason, failed and ineligible configs.

    With --images: a picture of labelled images with their masks, or the names of their classes.
    With --attack: a picture of labelled images beside their attacked copies, also for an experiment's YAML.
    With --diagnostic: a picture for each stage whose method has it, such as mixing matrices with their images.
    """
    from raysl.commands import show as command

    if mixing and diagnostic not in (None, "mixing"):
        raise UserError(f"--diagnostic {diagnostic}: not with --mixing, which is another")
    asked = "mixing" if mixing else diagnostic
    command.show(target, form, attack, images, asked, output, profile, overrides or [], intervals)


def table(
    results: Annotated[str, typer.Argument(help="A results folder or URI.", show_default=False)],
    form: Annotated[str, typer.Option("--format", help="text, markdown, latex or arrow.")] = "text",
    output: Annotated[Path | None, typer.Option(help="A file to write to.")] = None,
    intervals: Intervals = None,
) -> None:
    """Show a paper's tables: ours beside the published numbers, the best in bold, missing cells named."""
    from raysl.commands import table as command

    command.table(results, form, output, intervals)


def seeds(
    results: Annotated[str, typer.Argument(help="A results folder or URI.", show_default=False)],
    form: Form = "table",
) -> None:
    """Say how many seeds would tell the two best configs of each stage apart, what they cost, and the command."""
    from raysl.commands import seeds as command

    command.seeds(results, form)


def variance(
    given: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="A results folder or URI, DIR:STAGE, or DIR:STAGE:CONFIG for another than the selected config.",
            show_default=False,
        ),
    ],
    metric: Annotated[
        str | None, typer.Option(help="A column of the table of trials; the test score if not given.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, markdown, csv or json.")] = "table",
) -> None:
    """Say how much of the spread over typed seeds each random stream explains, and which to repeat for a surer mean.

    Of an experiment with seeds such as {labels: 4, init: 3}: components of variance with 95 % intervals.
    """
    from raysl.commands import variance as command

    command.variance(given, metric, form)


def compare(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]",
            help="Each a results folder or URI, DIR:STAGE, or DIR:STAGE:CONFIG for another than the selected config.",
            show_default=False,
        ),
    ],
    metric: Annotated[
        str | None, typer.Option(help="A column of the table of trials; the test score if not given.")
    ] = None,
    intervals: Intervals = None,
    form: Form = "table",
) -> None:
    """Compare selected configs, paired by seed on the same labelled images: differences, p values, what n can show.

    Of several data sets or stages, those that all have in common are compared, and summarised together.
    """
    from raysl.commands import compare as command

    command.compare_all(given, metric, intervals or "t", form)


def report(
    results: Annotated[str, typer.Argument(metavar="DIR", help="A results folder or URI.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="File to write; report.html, or NAME.png of a figure, if not given.")
    ] = None,
    figure: Annotated[
        str | None, typer.Option(metavar="NAME", help="One figure alone, as .png, .svg or .pdf; --list has the names.")
    ] = None,
    has_list: Annotated[bool, typer.Option("--list", help="List the figures, and which cannot be made here.")] = False,
    width: Annotated[
        str, typer.Option(help="Of a figure: 'column' (3.5 inches) or 'page' (7.16) of a paper.")
    ] = "column",
    font_size: Annotated[float, typer.Option(help="Of a figure, in points.")] = 7.0,
    stages: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these: STAGE, EXPERIMENT/STAGE or a stage's id.")
    ] = None,
    cells: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these of a table file: TABLE/ROW/COLUMN, with * for any.")
    ] = None,
) -> None:
    """Write a results folder as one HTML page, which opens without network; or one of its figures, for a paper."""
    from raysl.commands import report as command

    command.report(results, output, figure, has_list, width, font_size, stages, cells)


def ui(
    results: Annotated[str, typer.Argument(help="A results folder or URI.", show_default=False)],
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1; the first free one from 5000 on.")
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page, where there is a screen.")
    ] = True,
    tracking: Annotated[
        str | None, typer.Option(help="MLflow tracking URI; that of the last sync if not given.")
    ] = None,
) -> None:
    """Compare a results folder's configs in MLflow: sync, serve on this machine alone, print the links.

    If the folder is synced to a server, its links are printed and nothing is started.
    """
    from raysl.commands import ui as command

    command.ui(results, port, browser, tracking)
