"""`raysl show`."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from rich.console import Console

from raysl.commands.pictures import refuse
from raysl.commands.show_attack import show_attack
from raysl.commands.show_mixing import show_mixing
from raysl.console import report
from raysl.console.screen import screen
from raysl.errors import ResultsError, UserError, choices
from raysl.results.rows import read_rows
from raysl.results.store import Store
from raysl.results.tables import Tables
from raysl.search.code import other_code
from raysl.search.summary import summarise_store

ATTACK_PICTURE, MIXING_PICTURE = Path("attack.png"), Path("mixing.png")
TABLE = report.FORMATS[0]


def show(
    target: str,
    form: str,
    attack: bool,
    mixing: bool,
    output: Path | None,
    profile: str | None,
    overrides: Sequence[str],
) -> None:
    """Show a results folder as it is now, while a search runs on it too; or draw what it trained on, or learnt."""
    if attack or mixing:
        refuse({"--format": form if form != TABLE else None}, "what is shown is a picture")
        refuse({"--mixing": attack and mixing}, "not with --attack")
        path = output or (ATTACK_PICTURE if attack else MIXING_PICTURE)
        if path.suffix != ".png":
            raise UserError(f"--output {path}: a picture's name ends in .png")
        if attack:
            show_attack(target, path, profile, overrides)
        else:
            refuse(
                {"--profile": profile, "--set": overrides}, "of an experiment's YAML; --mixing takes a results folder"
            )
            show_mixing(target, path)
        return
    refuse({"--output": output}, "only with --attack or --mixing")
    refuse({"--profile": profile, "--set": overrides}, "only with --attack")
    if form not in report.FORMATS:
        raise UserError(f"--format {form}: {choices(form, report.FORMATS)}")
    store = Store.open(target, create=False)
    tables = summarise_store(store, curves=False)
    if tables.configs.num_rows == 0:
        raise ResultsError(
            f"{store}: no search has been here; `raysl tune FILE --results {quote(str(store))}` starts one"
        )
    console = screen()
    report.show(tables, str(store), form, console)
    if form in ("table", "markdown"):
        _say_other_code(store, tables, console)


def _say_other_code(store: Store, tables: Tables, console: Console) -> None:
    trained = read_rows(store, tables.current().trials["trial_id"].to_pylist())
    if (found := other_code(store, trained.values())).trial_ids:
        console.print(f"{found}; `raysl tune FILE --retrain code` trains them again", markup=False, soft_wrap=True)
