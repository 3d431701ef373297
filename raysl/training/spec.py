"""The spec of a trial: everything that decides its numbers, and its id."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge
from pydantic import Field

from raysl import methods
from raysl.data.settings import TrialData
from raysl.models.settings import ModelSettings
from raysl.probes.settings import ProbesSettings
from raysl.results.records.seed_design import RandomStream
from raysl.settings import Settings
from raysl.training.settings import OptimizerSettings, ScheduleSettings

IDENTITY_VERSION = 2  # increase when the same settings give other numbers

# By method, the defaults of hyperparameters that were added later: at these values they are left out of a trial's id.
_CROPS = {"interpolation": "bicubic"}
LATER: Mapping[str, Mapping[str, Any]] = {
    "supervised": {"views": "none"},
    "semi": {"views": "none"},
    "trimix": {"hidden": None, **_CROPS},
    "byol": {"l2_start": 0.0, "asymmetric": False, **_CROPS},
    "moco": {"l2_start": 0.0, "norm_groups": 1},
    "vat": {"ramp": 0.0},
    **dict.fromkeys(("barlow_twins", "denoising_autoencoder", "sidae", "simclr", "simsiam", "vicreg"), _CROPS),
}

UNSEEN = ("labels", "draw", "attack")  # the data settings that have no effect on a method without labelled images


def identity_of(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's settings as they enter a trial's id: those in LATER only if they differ from there."""
    later = LATER.get(method["name"], {})
    return {
        key: identity_of(value) if isinstance(value, Mapping) else value
        for key, value in method.items()
        if key not in later or value != later[key]
    }


class Fold(Settings):
    """A fold of the labelled images of a trial's seed, whose labels the trial is trained without.

    number: from 0.  of: the number of folds.
    """

    number: Annotated[int, Ge(0)]
    of: Annotated[int, Ge(2)]


class TrialSpec(Settings):
    """One training run: a config of a stage and a seed.

    method: the method's name and all of its hyperparameters, including defaults.
    optimizer, epochs, batch_size: None, 0 and 0 if nothing is trained, and only the start weights are probed.
    start: id of the trial whose encoder this one starts from; None starts from scratch.
    start_epoch: the number of epochs of that trial to start after; None is its last epoch.
    steps_per_epoch: None is a pass over the images.
    unlabelled_ratio: unlabelled images of a batch for each labelled one; None is 1.
    probe: how features are measured; `classifier` and `segmentation` measure what the method itself has learnt; None is
        the linear SVM.
    freeze: `backbone` trains only the layers after the pooling.
    streams: seeds of named streams that do not follow `seed`; `labels` follows `split`, unless it is named.
    probes: the settings of its probe; those of the linear SVM are always included.
    fold: the labelled images that training leaves out; None if it has all of them.
    """

    data: TrialData
    model: ModelSettings
    method: dict[str, Any]
    optimizer: OptimizerSettings | None
    schedule: ScheduleSettings
    epochs: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Ge(0)]
    steps_per_epoch: Annotated[int, Ge(1)] | None = None
    unlabelled_ratio: Annotated[int, Ge(2)] | None = None
    precision: Literal["fp32", "tf32", "bf16"]
    start: str | None
    start_epoch: Annotated[int, Ge(0)] | None = None
    probe: Literal["classifier", "segmentation", "knn", "clustering"] | None = None
    freeze: Literal["none", "backbone"]
    seed: Annotated[int, Ge(0)]
    streams: dict[RandomStream, Annotated[int, Ge(0)]] = Field(default_factory=dict)
    probes: ProbesSettings
    fold: Fold | None = None

    @cached_property
    def id(self) -> str:
        """16 hex digits of the hash of everything that decides this trial's numbers."""
        return _digest([IDENTITY_VERSION, self._facts()])

    def weights_id(self, start: str | None) -> str:
        """Return 16 hex digits of the hash of everything that decides this trial's weights, without its probe.

        If the method sees no labelled images, neither D_l nor its attack is part of the hash.
        start: the weights id of the trial whose encoder this one starts from.
        """
        facts = self._facts()
        for key in ("probe", "probes", "start"):
            facts.pop(key, None)
        facts["data"].get("attack", {}).pop("probe", None)
        if "labelled" not in methods.describe(self.method["name"]).streams:
            facts["streams"].pop("labels", None)
            for key in UNSEEN:
                facts["data"].pop(key, None)
        return _digest(["weights", IDENTITY_VERSION, start, facts])

    def _facts(self) -> dict[str, Any]:
        facts = self.model_dump(mode="json", exclude_none=True)
        del facts["data"]["source"]  # the location of the images does not matter: the digest identifies their content
        facts["method"] = identity_of(facts["method"])
        if self.data.attack is not None and self.data.attack.probe == "attacked":  # all were, before there was a choice
            del facts["data"]["attack"]["probe"]
        if self.model.weights is not None:
            facts["model"]["weights"] = self.model.weights.facts
        return facts

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, and so with another id."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("id", None)
        return copy

    @property
    def trains(self) -> bool:
        """Whether the trial trains, and so has a model of its own."""
        return self.epochs > 0

    def stream_seed(self, stream: RandomStream) -> int:
        """Return the seed of a named stream."""
        following = self.stream_seed("split") if stream == "labels" else self.seed
        return self.streams.get(stream, following)


def _digest(facts: Any) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
