"""The metrics of trained models: one place that names their rules, their columns and their words.

A metric is a fraction, and higher is better.  It has a rule and a column `probe_<name>`, measured on labelled training
images alone, and a column `test_<name>`, measured on the sealed test set.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from raysl.results.cross_fit import CROSS_FITTED as CROSS_FITTED

ProbeRule = Literal["probe_accuracy", "probe_mean_iou"]  # `Metric.probe` of each of METRICS


@dataclass(frozen=True)
class Metric:
    """One metric.  words: its name in a sentence.  probe_meaning: how its value on training images comes about."""

    name: str
    words: str
    probe_meaning: str

    @property
    def probe(self) -> str:
        """The column of the value on labelled training images; also the name of the rule that compares it."""
        return f"probe_{self.name}"

    @property
    def test(self) -> str:
        """The column of the value on the sealed test set."""
        return f"test_{self.name}"


ACCURACY = Metric("accuracy", "accuracy", "a probe on frozen features, cross-validated, or their clustering accuracy")
MEAN_IOU = Metric("mean_iou", "mean IoU", "the method's own segmentation of images with masks, which it was trained on")
METRICS = (ACCURACY, MEAN_IOU)
METRIC_COLUMNS = (*(name for metric in METRICS for name in (metric.probe, metric.test)), CROSS_FITTED)


def probe_rules(names: Iterable[str]) -> list[str]:
    """Return those of some rules or objectives that compare a metric on labelled training images."""
    known = {metric.probe for metric in METRICS}
    return [name for name in names if name in known]


def of_columns(values: Mapping[str, Any], kind: Literal["probe", "test"]) -> dict[str, float]:
    """Return the metrics of a record, by name, from its columns `probe_<name>` or `test_<name>`; nulls are left out."""
    found = {metric.name: values.get(f"{kind}_{metric.name}") for metric in METRICS}
    return {name: float(value) for name, value in found.items() if value is not None}


def as_columns(metrics: Mapping[str, float], kind: Literal["probe", "test"]) -> dict[str, float | None]:
    """Return the columns of a record for its metrics, as `of_columns` reads them; null where one is not measured."""
    return {f"{kind}_{metric.name}": metrics.get(metric.name) for metric in METRICS}


def of_data(data: Mapping[str, Any]) -> Metric:
    """Return the metric of a stage's images, by its data settings: mean IoU if they have masks, else accuracy."""
    return MEAN_IOU if data.get("masks") else ACCURACY


def measured(records: Iterable[Mapping[str, Any]], ending: str = "") -> list[Metric]:
    """Return the metrics that some records of a table have values of; if there are none, that of their data.

    ending: of the columns' names, such as `_mean`.
    """
    records = list(records)
    columns = {name for record in records for name, value in record.items() if value is not None}
    found = [metric for metric in METRICS if {f"{metric.probe}{ending}", f"{metric.test}{ending}"} & columns]
    return found or [of_data(next((json.loads(record["data"]) for record in records if record.get("data")), {}))]
