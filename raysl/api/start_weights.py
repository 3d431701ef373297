"""Resolves an experiment's start weights, and copies them into its results folder, where every worker reads them."""

from collections.abc import Iterable
from dataclasses import replace

from raysl.api.dataset_setup import resolve_data
from raysl.api.observer import Preparation
from raysl.errors import UserError
from raysl.models.settings import StartWeights
from raysl.results.storage.store import Store
from raysl.search.experiment import Experiment
from raysl.search.trials import Datas

KEY = "model.weights"


def resolve_experiment(experiment: Experiment, told: Preparation, *, download: bool = True) -> tuple[Experiment, Datas]:
    """Return an experiment with resolved start weights, and the data of its stages.

    Raises UserError as `resolve_data` and `resolve_weights` do.
    """
    datas = resolve_data(experiment, told, download=download)
    return resolve_weights(experiment, datas, download=download), datas


def resolve_weights(experiment: Experiment, datas: Datas, *, download: bool = True) -> Experiment:
    """Return an experiment whose start weights have their digest and their normalisation; itself if it has none.

    download: if False, weights that would have to be downloaded stay as they are, without a digest.
    Raises UserError, with the place, if they are missing, damaged or do not fit the backbone; every misfit is named.
    """
    weights = experiment.model.weights
    if weights is None:
        return experiment
    from raysl.training.start_weights import download_address, read_source  # takes seconds to import

    if not download and download_address(experiment.model, weights) is not None:
        return experiment
    try:
        found = read_source(experiment.model, weights, _channels(datas), download=download)
    except UserError as error:
        raise UserError(f"{experiment.place(KEY)}: {KEY}: {error}") from None
    if weights.digest not in (None, found.digest):
        raise UserError(f"{experiment.place(KEY)}: {KEY}: {weights.source} has the digest {found.digest}")
    resolved = StartWeights(source=weights.source, mean=list(found.mean), std=list(found.std), digest=found.digest)
    return replace(experiment, model=experiment.model.model_copy(update={"weights": resolved}))


def missing_weights(experiments: Iterable[Experiment]) -> list[str]:
    """Return what a search would download first, of resolved experiments whose start weights are not on this machine.

    One text for each backbone.
    """
    texts = []
    for model in (experiment.model for experiment in experiments):
        if model.weights is not None and model.weights.is_missing:
            from raysl.training.start_weights import download_address  # takes seconds to import

            texts.append(
                f"{model.weights.source} weights of {model.backbone}: not on this machine, so that their trials have "
                f"no ids yet; a search downloads {download_address(model, model.weights)}"
            )
    return list(dict.fromkeys(texts))


def ship_weights(experiment: Experiment, datas: Datas, store: Store) -> None:
    """Copy resolved start weights into a results folder, unless they are there undamaged."""
    weights = experiment.model.weights
    if weights is None:
        return
    from raysl.training.start_weights import is_shipped, read_source, ship

    if not is_shipped(weights, store):
        ship(read_source(experiment.model, weights, _channels(datas)), store)


def _channels(datas: Datas) -> int:
    channels = {data.channels for data in datas.values()}
    if len(channels) != 1 or None in channels:
        raise UserError(f"the stages' images have {channels} channels; start weights are for one number of them")
    return next(one for one in channels if one is not None)
