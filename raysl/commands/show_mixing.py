"""`raysl show --mixing`: what selected models of TriMix make of mixed training images."""

from pathlib import Path

from rich.console import Console

from raysl.api.models import spec_of
from raysl.commands.pictures import drawn, inspected, numbered
from raysl.console.screen import screen
from raysl.errors import ResultsError
from raysl.results.rows import TrialRow, read_rows
from raysl.results.stages import current_ids, read_selections, read_stages
from raysl.results.store import Store
from raysl.training.paths import model_path

METHOD = "trimix"


def show_mixing(target: str, output: Path) -> None:
    """Draw what the selected model of each current stage of TriMix makes of mixed images, of its first seed."""
    console = screen()
    store = Store.open(target, create=False)
    for (name, row), path in zip(_mixing_trials(store), numbered(output), strict=False):
        _draw_mixing(name, row, store, path, console)


def _mixing_trials(store: Store) -> list[tuple[str, TrialRow]]:
    """Return the first selected trial of each current stage of TriMix, with the stage's name; none twice.

    Raises ResultsError where there is none.
    """
    stages, selections = read_stages(store), read_selections(store)
    current = current_ids(stages)
    names: dict[str, str] = {}
    for stage in stages:
        selection = selections.get(stage.stage_id) if stage.stage_id in current else None
        if selection and selection.trial_ids:
            names.setdefault(selection.trial_ids[0], f"{stage.experiment}/{stage.stage}")
    found = [(names[trial_id], row) for trial_id, row in read_rows(store, names).items()]
    if mixing := [(name, row) for name, row in found if row.method == METHOD]:
        return mixing
    others = ", ".join(f"{name} ({row.method})" for name, row in found)
    raise ResultsError(f"{store}: no stage of {METHOD} is selected here, but {others or 'nothing'}")


def _draw_mixing(name: str, row: TrialRow, store: Store, path: Path, console: Console) -> None:
    from raysl.console import mixing as picture  # matplotlib and torch take their time
    from raysl.training.mixing import mixed

    spec = spec_of(row, store)
    inspected(spec.data, "trained on", console)
    try:
        found = mixed(spec, store, picture.NUM_IMAGES)
    except FileNotFoundError:
        place = store.address(model_path(row.trial_id))
        raise ResultsError(f"{place}: not there; the search's command trains it anew") from None
    title = f"{name}, trial {row.trial_id} of seed {row.seed}: what is mixed of {len(found.images)} training images"
    console.print(title, markup=False, soft_wrap=True)
    drawn(lambda: picture.draw(title, found, path), path, console)
