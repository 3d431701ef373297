"""Sets trials aside that are to be trained again with other code: only their rows and scores are kept."""

from collections.abc import Iterable

from raysl.results.records.features import features_path
from raysl.results.records.rows import read_row
from raysl.results.storage.store import Store
from raysl.search.trials import Trial
from raysl.training.early_stopping import EarlyStoppingCohort
from raysl.training.kept_models import model_files
from raysl.training.paths import checkpoint_path

ASIDE = "replaced"  # the folder of the rows and scores that are kept


def set_aside(store: Store, trials: Iterable[Trial]) -> None:
    """Copy the rows and scores of trials to `replaced/`, and delete all files of these trials, the row last.

    After a kill in between, the same call does the rest.
    """
    models = model_files(store)
    for trial in trials:
        name = trial.spec.id
        row = read_row(store, name)
        if row is None:
            continue
        for folder in ("rows", "scores"):
            if store.exists(path := f"{folder}/{name}.parquet"):
                store.write(f"{ASIDE}/{folder}/{name}.{row.code or 'unknown'}.parquet", store.read(path))
        store.delete(f"scores/{name}.parquet")  # before its model: a score must never stand beside another model
        store.delete(features_path(name))
        for model in models:
            if model.trial_id == name:
                store.delete(model.path)
        store.delete(checkpoint_path(name))
        if trial.stop is not None:
            EarlyStoppingCohort(store, trial.cohort, trial.stop).withdraw(name)
        store.delete(f"rows/{name}.parquet")
