"""`raysl models` and `raysl export`: the trained models of a results folder."""

from typing import Annotated

import typer


def models(
    results: Annotated[str, typer.Argument(help="A results folder or URI.", show_default=False)],
    form: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """List the models that a results folder keeps, milestones too."""
    from raysl.commands import models as command

    command.models(results, form)
