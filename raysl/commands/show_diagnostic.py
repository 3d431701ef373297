"""`raysl show --diagnostic NAME`: draws a diagnostic of selected models."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from raysl import methods
from raysl.api.models import check_version, read_spec
from raysl.commands.pictures import drawn, inspected, numbered
from raysl.console.screen import screen
from raysl.errors import ResultsError, UserError, choices
from raysl.results.records.rows import TrialRow, read_rows
from raysl.results.records.stages import current_ids, read_selections, read_stages
from raysl.results.storage.store import Store
from raysl.training.paths import model_path


def methods_with(diagnostic: str) -> list[str]:
    """Return the methods that have a diagnostic; raises UserError if none has."""
    having = {name: methods.describe(name).diagnostics for name in methods.names()}
    if able := [name for name, names in having.items() if diagnostic in names]:
        return able
    known = {name for names in having.values() for name in names}
    raise UserError(f"--diagnostic {diagnostic}: no method has it; {choices(diagnostic, known)}")


def show_diagnostic(target: str, diagnostic: str, able: Sequence[str], output: Path) -> None:
    """Draw a diagnostic of each current stage of some methods, for the first seed of its selected config."""
    console = screen()
    store = Store.open(target, create=False)
    for (name, row), path in zip(_selected_trials(store, able), numbered(output), strict=False):
        _draw_diagnostic(diagnostic, name, row, store, path, console)


def _selected_trials(store: Store, able: Sequence[str]) -> list[tuple[str, TrialRow]]:
    """Return the stage's name and the first selected trial of each current stage of some methods, each trial once.

    Raises ResultsError if there is none.
    """
    stages, selections = read_stages(store), read_selections(store)
    current = current_ids(stages)
    names: dict[str, str] = {}
    for stage in stages:
        selection = selections.get(stage.stage_id) if stage.stage_id in current else None
        if selection and selection.trial_ids:
            names.setdefault(selection.trial_ids[0], f"{stage.experiment}/{stage.stage}")
    found = [(names[trial_id], row) for trial_id, row in read_rows(store, names).items()]
    if wanted := [(name, row) for name, row in found if row.method in able]:
        return wanted
    others = ", ".join(f"{name} ({row.method})" for name, row in found)
    raise ResultsError(f"{store}: no stage of {' or '.join(able)} is selected here, but {others or 'nothing'}")


def _draw_diagnostic(diagnostic: str, name: str, row: TrialRow, store: Store, path: Path, console: Console) -> None:
    from raysl.console import diagnostic as picture  # importing matplotlib and torch takes seconds
    from raysl.training.diagnostics import diagnosed

    spec = read_spec(row, store)
    inspected(spec.data, "trained on", console)
    check_version(spec, row, store)
    try:
        found = diagnosed(spec, store, diagnostic, picture.NUM_IMAGES)
    except FileNotFoundError:
        place = store.address(model_path(row.trial_id))
        raise ResultsError(f"{place}: not there; the search's command trains it anew") from None
    title = f"{name}, trial {row.trial_id} of seed {row.seed}: {found.title}"
    console.print(title, markup=False, soft_wrap=True)
    drawn(lambda: picture.draw(title, found, path), path, console)
