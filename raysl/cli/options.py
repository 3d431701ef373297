"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

FORMS = ("table", "json")
INTERVALS = ("t", "bootstrap")


def _found(given: Path) -> Path:
    from raysl.config.packaged import experiment_file

    return experiment_file(given)


def _names() -> list[str]:
    from raysl.config.packaged import packaged_files

    return list(packaged_files())


def _checked_form(form: str) -> str:
    from raysl.errors import UserError, choices

    if form not in FORMS:
        raise UserError(f"--format {form}: {choices(form, FORMS)}")
    return form


def _checked_intervals(kind: str | None) -> str | None:
    from raysl.errors import UserError, choices

    if kind is not None and kind not in INTERVALS:
        raise UserError(f"--intervals {kind}: {choices(kind, INTERVALS)}")
    return kind


File = Annotated[
    Path,
    typer.Argument(
        help="An experiment's YAML, or the name of a packaged one: `raysl experiments`.", show_default=False,
        callback=_found, autocompletion=_names,
    ),
]  # fmt: skip
Wanted = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="The YAML of an experiment or of a paper's tables, or a packaged one's name.",
        show_default=False, callback=_found, autocompletion=_names,
    ),
]  # fmt: skip
PackagedName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of a packaged experiment.", show_default=False, autocompletion=_names),
]
Form = Annotated[str, typer.Option("--format", help="table or json.", callback=_checked_form)]
Intervals = Annotated[
    str | None,
    typer.Option("--intervals", help="95 % intervals of means: 't' or 'bootstrap'.", callback=_checked_intervals),
]
Cells = Annotated[
    list[str] | None, typer.Option(help="Table files only: search the cells that match TABLE/ROW/COLUMN; repeatable.")
]
Profile = Annotated[str | None, typer.Option("--profile", help="A named set of overrides in the YAML.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, over file and profile; may be repeated.")
]
Results = Annotated[str | None, typer.Option(help="Results folder or URI; results/NAME[-PROFILE] if not given.")]
Tracking = Annotated[
    str | None,
    typer.Option(help="MLflow tracking URI, or none; MLFLOW_TRACKING_URI, else SQLite in the results folder."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: auto on one of its nodes, http://HEAD:8265 (tune only) from outside; "
        "a local one starts if not given."
    ),
]
Cluster = Annotated[
    Path | None, typer.Option("--cluster", help="File of the cluster at --address: node types, limits, prices.")
]
Backend = Annotated[str, typer.Option(help="'ray', or 'inline': one trial at a time in this process, without Ray.")]
MaxConcurrent = Annotated[int | None, typer.Option(min=1, help="Trials that run at once; as many as fit if not given.")]
Score = Annotated[
    str, typer.Option(help="Trials to score on the test set: 'selected', or 'all' to audit the selection.")
]
Retrain = Annotated[str, typer.Option(help="'code': retrain trials that other code trained; 'nothing': keep them.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check the YAML and the data, list the trials, start and download nothing.")
]
