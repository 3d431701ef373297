"""`raysl models`."""

import json
from dataclasses import asdict

from rich.table import Table

from raysl.api.model_list import ListedModel, list_models
from raysl.console.screen import screen
from raysl.errors import ResultsError, UserError, choices
from raysl.outgoing import presentable
from raysl.results.storage.store import Store

FORMATS = ("table", "json")


def models(results: str, form: str) -> None:
    """List the models that a results folder keeps."""
    if form not in FORMATS:
        raise UserError(f"--format {form}: {choices(form, FORMATS)}")
    store = Store.open(results, create=False)
    found = list_models(store)
    console = screen()
    if form == "json":
        console.file.write(presentable(json.dumps([asdict(model) for model in found], indent=2)) + "\n")
        return
    if not found:
        raise ResultsError(f"{store}: no models are here; a search keeps those of selected configs")
    table = Table("stage", "config", "seed", "epoch", "method", "backbone", "MB", "selected", "file")
    for column in table.columns:
        column.overflow = "fold"  # nothing is cut
    for model in found:
        table.add_row(*_cells(model))
    console.print(table)
    console.print(f"in {store}/models; `raysl.load_model` loads one, `raysl export` writes one for other programs")


def _cells(model: ListedModel) -> list[str]:
    stage = f"{model.stage}{'' if model.is_current else ' (earlier)'}" if model.stage else "-"
    values = " ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in model.params.items())
    epoch = "-" if model.epoch is None else f"{model.epoch}{' (milestone)' if model.is_milestone else ''}"
    return [
        stage,
        f"{model.config_id} {values}".strip() if model.config_id else "-",
        "-" if model.seed is None else str(model.seed),
        epoch,
        model.method or "-",
        model.backbone or "-",
        f"{model.size / 1e6:.3g}",
        "yes" if model.is_selected else "",
        model.path.rpartition("/")[2],
    ]


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
