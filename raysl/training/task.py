"""What is measured of trained weights: the interface between trials and the kinds of targets that images have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from raysl.methods._method import Method
from raysl.results.records.features import Features
from raysl.results.records.segmented import Segmented
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Ending


@dataclass(frozen=True, eq=False)
class SealedScore:
    """What was measured on the sealed test set.

    metrics: by the names of `raysl.results.metrics`.  num_test: number of test images.  probe: JSON of what predicted.
    kept: what reports draw, of selected trials.
    """

    metrics: Mapping[str, float]
    num_test: int
    probe: str
    kept: Features | Segmented


class Task(Protocol):
    """The measurements of one kind of target.  Metrics are those of `raysl.results.metrics`, by name."""

    def probe(self, method: Method, feed: Feed) -> tuple[Ending | None, Mapping[str, float]]:
        """Return the divergence of trained weights, if there is one, and their metrics on D_l, which rules may read."""

    def test(self, method: Method, feed: Feed) -> SealedScore:
        """Return the metrics on the sealed test set, which no rule reads."""
