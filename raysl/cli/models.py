"""`raysl models` and `raysl export`: the trained models of a results folder."""

from pathlib import Path
from typing import Annotated

import typer

from raysl.cli.options import Form

Folder = Annotated[str, typer.Argument(metavar="RESULTS", help="A results folder or URI.", show_default=False)]


def models(results: Folder, form: Form = "table") -> None:
    """List the models that a results folder keeps, milestones too."""
    from raysl.commands import models as command

    command.models(results, form)


def export(
    results: Folder,
    form: Annotated[str, typer.Option("--format", help="safetensors, torchvision, timm or onnx.")] = "safetensors",
    stage: Annotated[str | None, typer.Option(help="Stage, by name or id; the only one if not given.")] = None,
    config: Annotated[str, typer.Option(help="selected, an id, or searched values: lr=0.1,epochs=5.")] = "selected",
    seed: Annotated[int, typer.Option(min=0, help="The trial's seed.")] = 0,
    epoch: Annotated[
        int | None, typer.Option(min=0, help="Epoch of a milestone; the end of the training if not given.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write; TRIAL-FORMAT.safetensors or TRIAL.onnx if not given.", show_default=False),
    ] = None,
) -> None:
    """Write a trained model for other programs: by the names of torchvision's or timm's network, or as ONNX."""
    from raysl.commands import export as command

    command.export(results, form, stage, config, seed, epoch, output)
