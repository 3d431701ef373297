"""Test scores as Ray tasks."""

from collections.abc import Collection, Sequence

import ray
from ray.exceptions import RayTaskError

from raysl.errors import SearchError
from raysl.launch.logs import trial_log
from raysl.results.store import Store
from raysl.search.experiment import Resources
from raysl.training.paths import log_path
from raysl.training.spec import TrialSpec


def score_trials(trials: Sequence[tuple[TrialSpec, Resources]], store: Store, selected: Collection[str]) -> None:
    """Score finished trials on the test set, as many at once as fit; each writes its own score.

    selected: the trials whose test features are kept.
    """
    refs = {}
    for spec, resources in trials:
        task = ray.remote(_score).options(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=3)
        refs[spec.id] = task.remote(spec.model_dump_json(), store.uri, resources, spec.id in selected)
    for trial_id, ref in refs.items():
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

        execution = Execution(device_for(resources.gpus), resources.cpus, resources.checkpoint_seconds)
        score_trial(spec, store, execution, keep_features=keep_features)
