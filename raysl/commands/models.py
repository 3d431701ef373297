"""`raysl models`."""

from dataclasses import asdict

from raysl.api.model_list import ListedModel, list_models
from raysl.console.fitted_table import Column, print_table
from raysl.console.screen import screen, write_json
from raysl.errors import ResultsError
from raysl.results.short_names import short_names
from raysl.results.storage.store import Store

COLUMNS = (
    Column("stage", left=True),
    Column("config", left=True),
    Column("seed"),
    Column("epoch"),
    Column("method", left=True, spare=True),
    Column("backbone", left=True, spare=True),
    Column("MB", spare=True),
    Column("selected", left=True),
    Column("file", left=True, key=True),
)


def models(results: str, form: str) -> None:
    """List the models that a results folder keeps; form: `table` or `json`."""
    store = Store.open(results, create=False)
    found = list_models(store)
    console = screen()
    if form == "json":
        write_json(console, [asdict(model) for model in found])
        return
    if not found:
        raise ResultsError(f"{store}: no models are here; a search keeps those of selected configs")
    print_table(console, "", COLUMNS, [_cells(model) for model in found])
    hint = f"in {store}/models; `raysl.load_model` loads one, `raysl export` writes one for other programs"
    console.print(hint, soft_wrap=True)


def _cells(model: ListedModel) -> list[str]:
    stage = f"{model.stage}{'' if model.is_current else ' (earlier)'}" if model.stage else "-"
    names = zip(short_names(list(model.params)), model.params.values(), strict=True)
    values = " ".join(f"{name}={_short(value)}" for name, value in names)
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
