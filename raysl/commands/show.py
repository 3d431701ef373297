"""`raysl show`."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from rich.console import Console

from raysl.commands.pictures import refuse
from raysl.commands.show_attack import show_attack
from raysl.commands.show_diagnostic import methods_with, show_diagnostic
from raysl.commands.show_images import show_images
from raysl.console import report
from raysl.console.screen import screen
from raysl.errors import ResultsError, UserError, choices
from raysl.results.records.rows import read_rows
from raysl.results.storage.store import Store
from raysl.results.tables.build import Tables
from raysl.search.code import other_code
from raysl.search.summary import summarise_store

ATTACK, IMAGES = "attack", "images"
TABLE = report.FORMATS[0]


def show(
    target: str,
    form: str,
    attack: bool,
    images: bool,
    diagnostic: str | None,
    output: Path | None,
    profile: str | None,
    overrides: Sequence[str],
    intervals: str | None = None,
) -> None:
    """Show a results folder, also during a search; or draw images, an attack, or a diagnostic of selected models."""
    if attack or images or diagnostic is not None:
        refuse({"--format": form if form != TABLE else None, "--intervals": intervals}, "what is shown is a picture")
        _draw(target, attack, images, diagnostic, output, profile, overrides)
        return
    refuse({"--output": output}, "only with --attack, --images, --diagnostic or --mixing")
    refuse({"--profile": profile, "--set": overrides}, "only with --attack or --images")
    if form not in report.FORMATS:
        raise UserError(f"--format {form}: {choices(form, report.FORMATS)}")
    if form in ("csv", "json"):
        refuse({"--intervals": intervals}, "only of a table or Markdown; the values of trials.arrow have all")
    store = Store.open(target, create=False)
    tables = summarise_store(store, curves=False)
    if tables.configs.num_rows == 0:
        raise ResultsError(f"{store}: no search has been here{_searched_below(store)}")
    console = screen()
    report.show(tables, str(store), form, console, intervals=intervals)
    if form in ("table", "markdown"):
        _say_other_code(store, tables, console)


def _draw(
    target: str,
    attack: bool,
    images: bool,
    diagnostic: str | None,
    output: Path | None,
    profile: str | None,
    overrides: Sequence[str],
) -> None:
    asked = "--mixing" if diagnostic == "mixing" else "--diagnostic"
    refuse({asked: attack and diagnostic is not None}, "not with --attack")
    refuse({"--images": images and (attack or diagnostic is not None)}, "a picture of its own")
    able = [] if diagnostic is None else methods_with(diagnostic)
    path = output or Path(f"{diagnostic or (IMAGES if images else ATTACK)}.png")
    if path.suffix != ".png":
        raise UserError(f"--output {path}: a picture's name ends in .png")
    if images:
        show_images(Path(target), path, profile, overrides)
    elif attack:
        show_attack(target, path, profile, overrides)
    elif diagnostic is not None:
        given = {"--profile": profile, "--set": overrides}
        refuse(given, f"of an experiment's YAML; {asked} takes a results folder")
        show_diagnostic(target, diagnostic, able, path)


def _searched_below(store: Store) -> str:
    """Return which folders below one on this machine are results folders, or how one is made."""
    here = store.local_path("")
    found = [] if here is None else sorted(path.parent for path in here.glob("*/stages"))
    if not found:
        return f"; `raysl tune FILE --results {quote(str(store))}` starts one"
    return f", but in {', '.join(map(str, found))}"


def _say_other_code(store: Store, tables: Tables, console: Console) -> None:
    trials = tables.current().trials.select(["trial_id", "folds"]).to_pylist()
    trained = read_rows(store, [name for trial in trials for name in (trial["trial_id"], *(trial["folds"] or ()))])
    if (found := other_code(store, trained.values())).trial_ids:
        console.print(f"{found}; `raysl tune FILE --retrain code` trains them again", markup=False, soft_wrap=True)
