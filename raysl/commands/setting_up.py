"""What several commands begin with: the data of an experiment's stages."""

from collections.abc import Iterable

from rich.console import Console

from raysl.console.progress import progress
from raysl.data.arrays import prepare
from raysl.data.expected import expected_facts, is_missing, missing_text
from raysl.data.inspect import inspect, resolve
from raysl.data.settings import DataSettings, TrialData
from raysl.errors import DataError, dotted
from raysl.launch.carry import send
from raysl.results.store import Store
from raysl.search.checks import check
from raysl.search.experiment import Experiment, Stage
from raysl.search.trials import Datas


def resolve_data(experiment: Experiment, console: Console, *, download: bool = True) -> Datas:
    """Return the data of each stage, downloaded if need be, with counts and digest.

    download: otherwise a known set that is not on this machine is taken as its authors describe it, without a digest.
    Raises UserError with the place in the YAML, also where a stage cannot be trained on them.
    """
    _say_default_labels(experiment, console)
    datas: dict[str, TrialData] = {}
    known: dict[str, TrialData] = {}
    for stage in experiment.stages:
        same = stage.data.model_dump_json()
        if same not in known:
            known[same] = _resolved(experiment, stage, console, download)
        datas[stage.name] = known[same]
    check(experiment, datas)
    return datas


def say_missing(datas: Iterable[TrialData], console: Console) -> None:
    """Print what a search would do to have the sets that are not on this machine, each once."""
    for source in dict.fromkeys(data.source for data in datas if data.is_missing):
        console.print(missing_text(source), style="yellow", markup=False, soft_wrap=True)


def _say_default_labels(experiment: Experiment, console: Console) -> None:
    """Name the stages whose number of labels nobody has given: it decides every number of theirs."""
    silent = [stage.name for stage in experiment.stages if "labels" not in stage.data.model_fields_set]
    if silent:
        default = DataSettings.model_fields["labels"].default
        console.print(
            f"{experiment.name}: data.labels: not given, so {default:g} of the unlabelled images have labels "
            f"(stages {', '.join(silent)}); --set data.labels=40, say, gives 40",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def _resolved(experiment: Experiment, stage: Stage, console: Console, download: bool) -> TrialData:
    try:
        if not download and is_missing(stage.data.source):
            return resolve(stage.data, expected_facts(stage.data))
        with progress(console) as report:
            return resolve(stage.data, inspect(stage.data, progress=report))
    except DataError as error:
        key, _, _ = str(error).partition(":")
        key = key if key.startswith("data.") else "data.source"
        own = key.removeprefix("data.") in stage.settings.data
        path = f"{dotted(('stages', stage.name))}.{key}" if own else key
        raise DataError(f"{experiment.place(path)}: {error}") from None


def prepare_data(data: TrialData, console: Console) -> None:
    """Decode a trial's images once, for all trials on this node."""
    with progress(console) as report:
        prepare(data, progress=report)


def send_data(data: TrialData, store: Store, console: Console) -> None:
    """Put a trial's set into a results folder, for the nodes that lack it."""
    with progress(console) as report:
        send(data.source, data.digest, store, report)


def images_text(data: TrialData) -> str:
    """Return how many images there are, of which set, and whether they are attacked."""
    attack = f", attacked by {data.attack.name}" if data.attack else ""
    return f"{data.labels} labelled and {data.unlabelled} unlabelled images of {data.source}{attack}"
