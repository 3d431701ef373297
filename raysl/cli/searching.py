"""`raysl tune`, `raysl train` and `raysl plan`."""

from collections.abc import Set
from typing import Annotated

import typer

from raysl.cli.options import (
    Address,
    Backend,
    Cells,
    Cluster,
    DryRun,
    File,
    Form,
    MaxConcurrent,
    Overrides,
    Profile,
    Results,
    Retrain,
    Score,
    Tracking,
    Wanted,
)
from raysl.errors import UserError


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
    max_hours: Annotated[
        float | None, typer.Option(min=0.0, help="End the search after so many hours on its results folder.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0.0, help="End the search before its nodes have cost so many USD.")
    ] = None,
    score: Score = "selected",
    retrain: Retrain = "nothing",
    dry_run: DryRun = False,
    form: Form = "table",
) -> None:
    """Search: train every config on every seed, select, score, and write tables.

    The same command again goes on from where it was.
    """
    from raysl.api.launching import Launch
    from raysl.commands import tune as command

    if form != "table" and not dry_run:
        raise UserError(f"--format {form}: only with --dry-run; raysl show DIR --format {form} gives the results")
    launch = Launch(
        results, backend, address, cluster, tracking, max_concurrent, max_hours, max_cost, score, retrain,
        own_process=True,
    )  # fmt: skip
    if launch.from_outside and not dry_run:
        from raysl.commands.submit import submit

        submit(file, profile, overrides or [], cells or [], launch, _given(context, {"file", "address", "cluster"}))
    else:
        command.tune(file, profile, overrides or [], cells or [], launch, dry_run, form)


def train(
    file: File,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The trial's seed.")] = 0,
    stage: Annotated[str | None, typer.Option(help="Stage to train; the only one if not given.")] = None,
    profile: Profile = None,
    overrides: Overrides = None,
    results: Annotated[
        str | None, typer.Option(help="Keep the trial in this results folder, and start from its selected models.")
    ] = None,
) -> None:
    """Train one trial in this process, without Ray: the same numbers as inside a search."""
    from raysl.commands import train as command

    command.train(file, profile, overrides or [], stage, seed, results)


def plan(
    file: Wanted,
    profile: Profile = None,
    overrides: Overrides = None,
    cells: Cells = None,
    results: Results = None,
    address: Address = None,
    cluster: Cluster = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to measure for each distinct model and batch shape.")] = 5,
    measured: Annotated[
        str | None,
        typer.Option(help="Results folder or URI whose finished trials give the times, in place of steps on this CPU."),
    ] = None,
    form: Form = "table",
) -> None:
    """Say what a search would take: trials, resources, and time from a few measured steps or from finished trials."""
    from raysl.commands import plan as command

    command.plan(file, profile, overrides or [], cells or [], results, address, cluster, steps, measured, form)


def _given(context: typer.Context, left_out: Set[str]) -> list[str]:
    """Return the given options of a command line as arguments, except those of some parameters."""
    found = []
    for parameter in context.command.params:
        value = None if parameter.name in left_out else context.params.get(str(parameter.name))
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None and one is not False:
                found.append(parameter.opts[0] if one is True else f"{parameter.opts[0]}={one}")
    return found
