"""Test scores as Ray tasks."""

from collections.abc import Callable, Iterable

import ray
from ray.exceptions import RayTaskError

from raysl.errors import SearchError
from raysl.launch.carry import ensure_data
from raysl.launch.lacking import Unscored
from raysl.launch.leases import Leases
from raysl.launch.logs import trial_log
from raysl.launch.sharing import Share
from raysl.results.features import has_features
from raysl.results.rows import read_score
from raysl.results.store import Store
from raysl.search.experiment import Resources
from raysl.training.paths import log_path
from raysl.training.spec import TrialSpec

LOOK_SECONDS = 0.5  # between two looks at what is being scored


def score_trials(
    trials: Iterable[Unscored], leases: Leases, limit: int, check: Callable[[], None], pause: Callable[[], None]
) -> None:
    """Score trials, so many at once, each in one of the searches that are on the folder; each writes its own score.

    check: called often, in the driver's main thread; what it raises ends all scoring.
    pause: called between looks at what others score, where there is nothing else to do.
    """
    share = Share(trials, leases, lambda one: f"score-{one.spec.id}", lambda one: _is_scored(one, leases.store))
    running: dict[ray.ObjectRef[None], Unscored] = {}
    while not share.is_empty or running:
        check()
        while len(running) < limit and (one := share.next()) is not None:
            running[_start(one, leases.store)] = one
        if not running and not share.is_empty:
            pause()
        for ref in ray.wait(list(running), timeout=LOOK_SECONDS)[0] if running else ():
            one = running.pop(ref)
            _raise_failed(ref, one.spec.id, leases.store)
            share.ended(one)


def _is_scored(one: Unscored, store: Store) -> bool:
    trial_id = one.spec.id
    return read_score(store, trial_id) is not None and (not one.keep_features or has_features(store, trial_id))


def _start(one: Unscored, store: Store) -> "ray.ObjectRef[None]":
    spec, resources, keep_features = one
    task = ray.remote(_score).options(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=3)
    return task.remote(spec.model_dump_json(), store.uri, resources, keep_features)


def _raise_failed(ref: "ray.ObjectRef[None]", trial_id: str, store: Store) -> None:
    try:
        ray.get(ref)
    except RayTaskError as error:
        place = store.address(log_path(trial_id))
        raise SearchError(f"trial {trial_id} could not be scored: {error.cause}; log: {place}") from None


def _score(spec_json: str, uri: str, resources: Resources, keep_features: bool) -> None:
    store, spec = Store.open(uri, create=False), TrialSpec.model_validate_json(spec_json)
    with trial_log(store, spec.id, rank=0):
        from raysl.training.loop import Execution, device_for
        from raysl.training.scoring import score_trial

        ensure_data(spec.data, store, file=True)
        execution = Execution(device_for(resources.gpus), resources.cpus, resources.checkpoint_seconds)
        score_trial(spec, store, execution, keep_features=keep_features)
