"""`raysl methods`, `raysl datasets`, `raysl backbones`."""

import typing
from dataclasses import asdict
from typing import Any

from rich.table import Table

from raysl import methods as catalogue
from raysl.config.packaged import packaged_files
from raysl.config.type_text import type_text
from raysl.console.fitted_table import Column, print_table
from raysl.console.screen import screen, write_json
from raysl.data.registry import sets
from raysl.errors import UserError, choices
from raysl.models.settings import ModelSettings


def methods(name: str | None, form: str) -> None:
    """List the methods and their hyperparameters, or explain one; form: `table` or `json`."""
    if name is not None and name not in catalogue.names():
        raise UserError(f"{name}: no method; {choices(name, catalogue.names())}")
    if form == "json":
        write_json(screen(), [_facts(one) for one in ([name] if name else catalogue.names())])
    elif name is not None:
        _explain(name)
    else:
        _list_methods()


def _facts(name: str) -> dict[str, Any]:
    facts = catalogue.describe(name)
    keys = {
        key: {"type": type_text(kind), "required": default is ..., "default": None if default is ... else default}
        for key, (kind, default) in facts.hyperparameters.items()
    }
    named = {"method": name, "summary": facts.summary, "streams": facts.streams, "shapes_loss": facts.shapes_loss}
    return named | {"diagnostics": facts.diagnostics, "hyperparameters": keys}


def _explain(name: str) -> None:
    facts, console = catalogue.describe(name), screen()
    for line in [f"{name}: {facts.summary}", "", *facts.explanation.splitlines(), ""]:
        console.print(line, soft_wrap=True)
    columns = [Column("hyperparameter", left=True, key=True), Column("type", left=True), Column("default", left=True)]
    rows = [
        [key, type_text(kind), "required" if default is ... else str(default)]
        for key, (kind, default) in facts.hyperparameters.items()
    ]
    print_table(console, "", columns, rows)
    console.print(f"images: {', '.join(facts.streams) or 'none, it trains nothing'}")
    if facts.shapes_loss:
        console.print(f"train_loss cannot choose over: {', '.join(facts.shapes_loss)}")
    used = [known for known, file in packaged_files().items() if f"name: {name}," in file.read_text("utf-8")]
    console.print(f"experiments: {', '.join(used) or 'none'}", soft_wrap=True)


def _list_methods() -> None:
    table = Table("method", "hyperparameters", "what it is")
    for name in catalogue.names():
        facts = catalogue.describe(name)
        keys = [key if default is ... else f"{key}={default}" for key, (_, default) in facts.hyperparameters.items()]
        table.add_row(name, ", ".join(keys) or "-", facts.summary)
    screen().print(table)


def datasets(form: str) -> None:
    """List the known sets and the other forms that a source may have; form: `table` or `json`."""
    if form == "json":
        write_json(screen(), [asdict(known) for known in sets.KNOWN.values()])
        return
    names = ("source", "targets", "classes", "train", "unlabelled", "test", "pixels", "channels")
    rows = []
    for name, known in sets.KNOWN.items():
        size = str(known.image_size or "varies")
        counts = [str(n) if n else "-" for n in (known.num_train, known.num_unlabelled, known.num_test)]
        targets = "masks" if known.masks else "labels"
        rows.append([name, targets, str(known.num_classes), *counts, size, str(known.channels)])
    console = screen()
    print_table(console, "", [Column(name, left=True, key=name == "source") for name in names], rows)
    console.print("also: parquet:PATH, a file or a folder of shards")
    console.print("and folder:PATH (train/CLASS/*.png, test/CLASS/*.png, optional unlabelled/*.png)")
    console.print("or, with masks, folder:PATH (train/images/*.png, train/masks/*.png, the same of test/)")
    console.print(f"looked for as $RAYSL_DATA/NAME.parquet, else in {sets.data_home()}", soft_wrap=True, markup=False)


def backbones(form: str) -> None:
    """List the backbones; form: `table` or `json`."""
    names = typing.get_args(ModelSettings.model_fields["backbone"].annotation)
    console = screen()
    if form == "json":
        write_json(console, names)
        return
    for name in names:
        console.print(name)
