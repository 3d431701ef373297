"""Which code trains a trial."""

from raysl.results.records.code import Code
from raysl.results.records.rows import read_row
from raysl.results.storage.store import Store
from raysl.sources import deciding, method_names
from raysl.training.spec import TrialSpec


def code_of(spec: TrialSpec, store: Store) -> Code:
    """Return the code with which this process would train a trial.

    store: holds the row of the trial that it starts from.
    """
    start = read_row(store, spec.start) if spec.start is not None else None
    return Code(dict(deciding(method_names(spec.method))), start.code if start is not None else None)
