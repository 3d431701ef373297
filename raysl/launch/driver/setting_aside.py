"""Trials that are to be trained again by other code: their numbers are kept aside, and nothing else of them."""

from collections.abc import Iterable

from raysl.results.records.features import features_path
from raysl.results.records.rows import read_row
from raysl.results.storage.store import Store
from raysl.search.trials import Trial
from raysl.training.early_stopping import EarlyStoppingCohort
from raysl.training.paths import checkpoint_path

ASIDE = "replaced"  # the folder that rows and scores are kept in


def set_aside(store: Store, trials: Iterable[Trial]) -> None:
    """Keep the rows and scores of trials under `replaced/`, and drop all that they have made, the row last.

    After a kill in between, the same call does what is left.
    """
    models = store.list("models", ".pt")
    for trial in trials:
        name = trial.spec.id
        row = read_row(store, name)
        if row is None:
            continue
        for folder in ("rows", "scores"):
            if store.exists(path := f"{folder}/{name}.parquet"):
                store.write(f"{ASIDE}/{folder}/{name}.{row.code or 'unknown'}.parquet", store.read(path))
        store.delete(f"scores/{name}.parquet")  # before its model: it must never stand beside another's
        store.delete(features_path(name))
        for model in models:
            if model.removesuffix(".pt").partition("@")[0] == name:
                store.delete(f"models/{model}")
        store.delete(checkpoint_path(name))
        if trial.stop is not None:
            EarlyStoppingCohort(store, trial.cohort, trial.stop).withdraw(name)
        store.delete(f"rows/{name}.parquet")
