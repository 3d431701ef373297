"""`raysl methods`, `datasets` and `backbones`, and what is packaged: `experiments`, `new` and `cluster-files`."""

from pathlib import Path
from typing import Annotated

import typer

from raysl.cli.options import Form, PackagedName


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Explain this method.", show_default=False)
    ] = None,
    form: Form = "table",
) -> None:
    """List the learning methods and their hyperparameters, or explain one."""
    from raysl.commands import catalogue

    catalogue.methods(name, form)


def datasets(form: Form = "table") -> None:
    """List the known data sets and where they are."""
    from raysl.commands import catalogue

    catalogue.datasets(form)


def backbones(form: Form = "table") -> None:
    """List the backbones."""
    from raysl.commands import catalogue

    catalogue.backbones(form)


def experiments(form: Form = "table") -> None:
    """List the experiments and papers' tables that come with raysl."""
    from raysl.commands import packaged

    packaged.experiments(form)


def new(
    name: PackagedName,
    output: Annotated[Path | None, typer.Option(help="A file or folder to write to; ./NAME.yaml if not given.")] = None,
) -> None:
    """Copy a packaged experiment, to edit it."""
    from raysl.commands import packaged

    packaged.new(name, output)


def cluster_files(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.", show_default=False)],
) -> None:
    """Copy the files that start clusters on AWS, GCP, Kubernetes and Slurm."""
    from raysl.commands import packaged

    packaged.cluster_files(folder)
