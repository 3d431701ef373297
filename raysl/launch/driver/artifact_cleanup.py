"""Removes files of finished stages that a results folder does not keep."""

from collections.abc import Callable, Collection, Iterator

from raysl.results.records.features import features_path
from raysl.results.records.rows import read_rows
from raysl.results.records.stages import read_selections
from raysl.results.storage.store import Store
from raysl.training.kept_models import model_files
from raysl.training.paths import checkpoint_path


def prune(store: Store, trials: Collection[str], is_alone: Callable[[], bool]) -> bool:
    """Drop models and features of trials that no selection has chosen, and checkpoints of trials that are done.

    is_alone: whether no other search uses the folder; called before each file, because another search may need it.
    Returns whether everything was dropped; False if another search came.
    """
    for path in _needless(store, trials):
        if not is_alone():
            return False
        store.delete(path)
    store.clear_temporaries()
    return True


def _needless(store: Store, trials: Collection[str]) -> Iterator[str]:
    begun = {name.removesuffix(".pt") for name in store.list("checkpoints", ".pt")}
    for trial_id, row in read_rows(store, begun.intersection(trials)).items():
        if row.status != "failed":
            yield checkpoint_path(trial_id)
    chosen = {trial_id for record in read_selections(store).values() for trial_id in record.trial_ids}
    dropped = set(trials) - chosen
    for trial_id in sorted(dropped & {name.removesuffix(".arrow") for name in store.list("features", ".arrow")}):
        yield features_path(trial_id)
    for model in model_files(store):
        if model.trial_id in dropped:
            yield model.path
