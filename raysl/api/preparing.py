"""Prepares a search: resolves, decodes and sends its data, and opens its results folder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from raysl.api.cautions import cautions
from raysl.api.launching import Launch
from raysl.api.observer import Preparation
from raysl.api.search_request import SearchRequest
from raysl.api.start_weights import resolve_experiment, ship_weights
from raysl.data.settings import TrialData
from raysl.data.storage.decoded_cache import prepare
from raysl.data.storage.shipped import carried_sources
from raysl.launch.cluster.connected import has_other_nodes
from raysl.launch.cluster.shipping import fetch, send
from raysl.results.records.stages import read_stages
from raysl.results.storage.store import Store
from raysl.search.experiment import Experiment
from raysl.search.trials import Datas
from raysl.tracking.uri import UNTRACKED, default_uri, environment_uri, validate_uri

Resolved = Sequence[tuple[Experiment, Datas]]


@dataclass(frozen=True)
class PreparedSearch:
    """A search that is ready to train; tracking: URI of its tracking store, or `none`."""

    request: SearchRequest
    resolved: Resolved
    store: Store
    tracking: str


def resolve_request(request: SearchRequest, launch: Launch, told: Preparation, *, download: bool = True) -> Resolved:
    """Return each experiment with the data of its stages; tell the observer of choices that may be unexpected.

    download: if False, a known set that is not on this machine is described by its published facts.
    Raises UserError if data or the tracking store are invalid.
    """
    if request.note:
        told.noted(request.note)
    if (tracking := _given_tracking(launch)) is not None:
        validate_uri(tracking, UNTRACKED)
    for carried in carried_sources().values():
        fetch(carried.source, carried.digest, Store.open(launch.results or request.results, create=False))
    resolved = [resolve_experiment(one, told, download=download) for one in request.experiments]
    for text in cautions(resolved, launch):
        told.noted(text)
    return resolved


def prepare_search(request: SearchRequest, launch: Launch, told: Preparation) -> PreparedSearch:
    """Return a prepared search: resolve its data, open its results folder, decode its images, send them to other nodes.

    Raises UserError as `resolve_request` does, and ResultsError if the folder cannot be used.
    """
    resolved = resolve_request(request, launch, told)
    store = Store.open(launch.results or request.results, create=True)
    _note_what_changed(store, resolved, told)
    for experiment, datas in resolved:
        ship_weights(experiment, datas, store)
    for data in distinct(resolved):
        prepare(data, progress=told.preparing)
        if launch.backend == "ray" and (launch.address is not None or has_other_nodes()):
            send(data.source, data.digest, store, told.preparing)
    return PreparedSearch(request, resolved, store, _given_tracking(launch) or default_uri(store))


def distinct(resolved: Iterable[tuple[Experiment, Datas]]) -> list[TrialData]:
    """Return the data of all stages, each once."""
    return list({data.model_dump_json(): data for _, datas in resolved for data in datas.values()}.values())


def _given_tracking(launch: Launch) -> str | None:
    return launch.tracking or environment_uri()


def _note_what_changed(store: Store, resolved: Resolved, told: Preparation) -> None:
    before = {(stage.data.get("source"), stage.data.get("digest")) for stage in read_stages(store)}
    now = {(data.source, data.digest) for data in distinct(resolved)}
    for source in sorted({source for source, _ in now - before} & {source for source, _ in before}):
        told.noted(f"{source}: not the images or labels that {store} was trained on; trials are trained anew")
