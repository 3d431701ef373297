"""What a page says of the classes: precision, recall and F1 of each, and the confusion matrix."""

from collections.abc import Sequence

import numpy as np

from raysl.errors import ResultsError
from raysl.reports import class_report, confusion, masks
from raysl.reports.page.html import Html, joined, table, tag, wide
from raysl.reports.stages import Searched
from raysl.results.records.features import Features

MOST_CLASSES = 20  # of a matrix that is a table


def classes(stage: Searched) -> Html | None:
    """Return the tables of a stage's classes; None where no test features or masks are kept."""
    if stage.data.get("masks"):
        return None if masks.obstacle(stage) else _ious(stage)
    try:
        features = confusion.features(stage)
    except ResultsError:
        return None
    if not features:
        return None
    found = class_report.report(stage.selected, features, class_report.published(stage))
    rows = [[name, *found.cells(name)] for name in found.class_names]
    seeds = ", ".join(map(str, found.seeds))
    note = f"Means over the seeds {seeds} of the selected config." + (
        f" In brackets: {found.published.title}." if found.published else ""
    )
    ids = ", ".join(trial["trial_id"] for trial in stage.selected)
    parts = [table(["class", *class_report.COLUMNS], rows), tag("p", note), _matrix(features)]
    return joined([*parts, tag("p", f"Rows: features/TRIAL.arrow of the trials {ids}; columns label, predicted.")])


def _ious(stage: Searched) -> Html:
    """Return the table of the classes' IoU, in per cent."""
    found = masks.segmentations(stage)
    values = masks.ious(found)
    seeds = [trial["seed"] for trial in stage.selected]
    named = [*zip(found[0].class_names, values.T, strict=True), ("mean", np.nanmean(values, axis=1))]
    rows = [[name, *map(_percent, [column.mean(), *column])] for name, column in named]
    ids = ", ".join(trial["trial_id"] for trial in stage.selected)
    heads = ["class", "IoU %, mean over the seeds", *(f"seed {seed}" for seed in seeds)]
    note = f"Over all pixels of the test set that have a class. Rows: features/TRIAL.arrow of the trials {ids}."
    return joined([table(heads, rows), tag("p", note)])


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1f}"


def _matrix(features: Sequence[Features]) -> Html:
    names, values = features[0].class_names, confusion.matrix(features)
    if len(names) > MOST_CLASSES:
        return tag("p", f"{len(names)} classes: `raysl report --figure confusion` draws their confusion matrix.")
    head = tag("tr", tag("th", "class \\ taken for"), *(tag("th", name, scope="col") for name in names))
    body = [
        tag("tr", tag("th", name, scope="row"), *(tag("td", f"{value:.0f}", style=f"--v:{value:.0f}") for value in row))
        for name, row in zip(names, values, strict=True)
    ]
    matrix = tag("table", tag("thead", head), tag("tbody", *body), class_="heat")
    return joined([tag("h3", "Confusion matrix"), tag("p", f"{confusion.NOTE}."), wide(matrix)])
