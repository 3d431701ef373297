"""Resolves the data of an experiment's stages, with which several commands begin."""

from collections.abc import Iterable

from raysl.api.observer import Preparation
from raysl.data.registry.expected import expected_facts, is_missing, missing_text
from raysl.data.settings import DataSettings, TrialData
from raysl.data.storage.scan import inspect, resolve
from raysl.errors import DataError, dotted
from raysl.results.attack_text import attacked_text
from raysl.search.experiment import Experiment, Stage
from raysl.search.preflight import check
from raysl.search.trials import Datas


def resolve_data(experiment: Experiment, told: Preparation, *, download: bool = True) -> Datas:
    """Return the data of each stage, downloaded if needed, with counts and digest.

    download: if False, a known set that is not on this machine is described by its published facts, without a digest.
    Raises UserError with the place in the YAML, also if a stage cannot be trained on its data.
    """
    _note_default_labels(experiment, told)
    datas: dict[str, TrialData] = {}
    known: dict[str, TrialData] = {}
    for stage in experiment.stages:
        same = stage.data.model_dump_json()
        if same not in known:
            known[same] = _resolved(experiment, stage, told, download)
        datas[stage.name] = known[same]
    check(experiment, datas)
    return datas


def missing_texts(datas: Iterable[TrialData]) -> list[str]:
    """Return how a search would get the sets that are not on this machine, one text for each."""
    return [missing_text(source) for source in dict.fromkeys(data.source for data in datas if data.is_missing)]


def _note_default_labels(experiment: Experiment, told: Preparation) -> None:
    """Tell the observer which stages use a default number of labels: it decides every result of these stages."""
    silent = [stage.name for stage in experiment.stages if "labels" not in stage.data.model_fields_set]
    if silent:
        default = DataSettings.model_fields["labels"].default
        told.noted(
            f"{experiment.name}: data.labels: not given, so {default:g} of the unlabelled images have labels "
            f"(stages {', '.join(silent)}); --set data.labels=40, say, gives 40"
        )


def _resolved(experiment: Experiment, stage: Stage, told: Preparation, download: bool) -> TrialData:
    try:
        if not download and is_missing(stage.data.source):
            return resolve(stage.data, expected_facts(stage.data))
        return resolve(stage.data, inspect(stage.data, progress=told.preparing))
    except DataError as error:
        key, _, _ = str(error).partition(":")
        key = key if key.startswith("data.") else "data.source"
        own = key.removeprefix("data.") in stage.settings.data
        path = f"{dotted(('stages', stage.name))}.{key}" if own else key
        raise DataError(f"{experiment.place(path)}: {error}") from None


def images_text(data: TrialData) -> str:
    """Return a text with the number of images, their set, and whether they are attacked."""
    attacked = attacked_text(data.model_dump())
    return f"{data.labels} labelled and {data.unlabelled} unlabelled images of {data.source}{attacked}"
