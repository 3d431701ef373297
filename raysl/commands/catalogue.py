"""`raysl methods`, `raysl datasets`, `raysl backbones`."""

import typing

from rich.table import Table

from raysl import methods as catalogue
from raysl.console.fitted_table import Column, print_table
from raysl.console.screen import screen
from raysl.data.registry import sets
from raysl.models.settings import ModelSettings


def methods() -> None:
    """List the methods and their hyperparameters."""
    table = Table("method", "hyperparameters", "what it is")
    for name in catalogue.names():
        facts = catalogue.describe(name)
        keys = [key if default is ... else f"{key}={default}" for key, (_, default) in facts.hyperparameters.items()]
        table.add_row(name, ", ".join(keys) or "-", facts.summary)
    screen().print(table)


def datasets() -> None:
    """List the known sets and the other forms that a source may have."""
    names = ("source", "classes", "train", "unlabelled", "test", "pixels", "channels")
    rows = []
    for name, known in sets.KNOWN.items():
        size = str(known.image_size or "varies")
        counts = [str(n) if n else "-" for n in (known.num_train, known.num_unlabelled, known.num_test)]
        rows.append([name, str(known.num_classes), *counts, size, str(known.channels)])
    console = screen()
    print_table(console, "", [Column(name, left=True, key=name == "source") for name in names], rows)
    console.print("also: parquet:PATH, a file or a folder of shards")
    console.print("and folder:PATH (train/CLASS/*.png, test/CLASS/*.png, optional unlabelled/*.png)")
    console.print(f"looked for as $RAYSL_DATA/NAME.parquet, else in {sets.data_home()}", soft_wrap=True, markup=False)


def backbones() -> None:
    """List the backbones."""
    names = typing.get_args(ModelSettings.model_fields["backbone"].annotation)
    console = screen()
    for name in names:
        console.print(name)
