"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

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
