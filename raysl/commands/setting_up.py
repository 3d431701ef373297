"""What several commands begin with: an experiment's data and its results folder."""

from rich.console import Console

from raysl.console.progress import progress
from raysl.data.arrays import prepare
from raysl.data.inspect import inspect, resolve
from raysl.data.settings import TrialData
from raysl.errors import DataError
from raysl.search.checks import check
from raysl.search.experiment import Experiment


def resolve_data(experiment: Experiment, console: Console) -> TrialData:
    """Return an experiment's data, downloaded if need be, with counts and digest.

    Raises UserError with the place in the YAML, also where a stage cannot be trained on them.
    """
    try:
        with progress(console) as report:
            data = resolve(experiment.data, inspect(experiment.data, progress=report))
    except DataError as error:
        key, _, _ = str(error).partition(":")
        place = experiment.place(key if key.startswith("data.") else "data.source")
        raise DataError(f"{place}: {error}") from None
    check(experiment, data)
    return data


def prepare_data(data: TrialData, console: Console) -> None:
    """Decode a trial's images once, for all trials on this node."""
    with progress(console) as report:
        prepare(data, progress=report)
