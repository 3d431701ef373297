"""Precision, recall and F1 of each class, for the selected configs (Cavallari & Ponti 2021, Tables VII to X).

    uv run python -m analysis.class_report RESULTS_DIR... [--stages|--cells A,B] [--seed S] [--format FORMAT]

The classes are those that the probe of the test score takes the test images for. Values are means over the seeds;
`mean ± std` is over the classes, `accuracy` over the seeds. Standard deviations are sample ones (n - 1).
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support

from raysl.errors import UserError
from raysl.reports import tables
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.stages import Row, Searched, titles, without_common
from raysl.reports.tables import Table
from raysl.results.records.features import Features
from raysl.results.records.paper_tables import ClassReport, read_paper_tables
from raysl.results.storage.store import Store

PROBES = {
    "linear_svm": "Linear SVM",
    "classifier": "Trained classifier",
    "segmentation": "Trained segmentation",
    "knn": "Nearest neighbours",
    "clustering": "Matched clusters",
}
COLUMNS = ("precision", "recall", "f1-score")


@dataclass(frozen=True, eq=False)
class Report:
    """How well a config tells the classes apart.

    values: of the classes (rows) and `COLUMNS`, means over the seeds.  accuracies: by seed.
    published: what a paper has of the same cell, if it has anything.
    unpredicted: classes that a seed takes no image for.  otherwise_scored: trials whose written score is another.
    """

    class_names: tuple[str, ...]
    values: NDArray[np.float64]
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    unpredicted: tuple[str, ...]
    otherwise_scored: tuple[str, ...]
    published: ClassReport | None = None

    def cells(self, name: str) -> list[str]:
        """Return the values of a class as text, published ones in brackets."""
        ours = [f"{value:.2f}" for value in self.values[self.class_names.index(name)]]
        printed = self.published.classes.get(name) if self.published else None
        return [f"{own} ({value:.2f})" for own, value in zip(ours, printed, strict=True)] if printed else ours


def report(trials: Sequence[Row], features: Sequence[Features], published: ClassReport | None = None) -> Report:
    """Return the report of a config from its trials, one a seed, and their test features.

    The precision of a class that no image is taken for counts as 0.
    """
    names = features[0].class_names
    accuracies = tuple(float(np.mean(seed.predicted == seed.labels)) for seed in features)
    scored = zip(trials, accuracies, strict=True)
    return Report(
        class_names=names,
        values=np.mean([_values(seed) for seed in features], axis=0),
        seeds=tuple(trial["seed"] for trial in trials),
        accuracies=accuracies,
        unpredicted=tuple(n for place, n in enumerate(names) if any(place not in seed.predicted for seed in features)),
        # Features that were lost and taken again on another device may differ in the last digits.
        otherwise_scored=tuple(trial["trial_id"] for trial, value in scored if value != trial["test_accuracy"]),
        published=published,
    )


def _values(features: Features) -> NDArray[Any]:
    places = range(len(features.class_names))
    found = precision_recall_fscore_support(features.labels, features.predicted, labels=places, zero_division=0)
    return np.stack(found[:3], axis=1)


def table(title: str, named: Sequence[tuple[str, Report]]) -> Table:
    """Return reports side by side; one alone has no name above it.

    Raises UserError where they are of other classes.
    """
    reports = [report for _, report in named]
    names = reports[0].class_names
    if any(report.class_names != names for report in reports):
        raise UserError(f"--stages: {' and '.join(name for name, _ in named)} are of other classes; give one alone")
    rows = [(name, *(cell for report in reports for cell in report.cells(name))) for name in names]
    spreads = (f"{np.mean(v):.2f} ± {np.std(v, ddof=1):.2f}" for report in reports for v in report.values.T)
    accuracies = (cell for report in reports for cell in ("", _accuracy(report), ""))
    return Table(
        title=title,
        header=("class", *(COLUMNS * len(reports))),
        rows=(*rows, ("mean ± std", *spreads), ("accuracy", *accuracies)),
        groups=tuple((name, len(COLUMNS)) for name, _ in named) if len(named) > 1 else (),
        num_summary=2,
        notes=_notes(reports),
    )


def _accuracy(one: Report) -> str:
    return _spread(one.accuracies) + (f" ({one.published.accuracy:.3f})" if one.published else "")


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}"


def _notes(reports: Sequence[Report]) -> tuple[str, ...]:
    seeds = " and ".join(sorted({", ".join(map(str, report.seeds)) for report in reports}))
    alone = all(len(report.seeds) == 1 for report in reports)
    of, also = (f"Seed {seeds}", "") if alone else (f"Means over seeds {seeds}", ", of the accuracy over the seeds")
    notes = [f"{of}; standard deviations (n - 1) over the classes{also}."]
    if printed := dict.fromkeys(report.published.title for report in reports if report.published):
        notes.append(f"In brackets: published, {', '.join(printed)}.")
    if never := sorted({name for report in reports for name in report.unpredicted}):
        notes.append(f"Precision counts as 0 where a seed takes no image for the class: {', '.join(never)}.")
    if others := sorted({trial_id for report in reports for trial_id in report.otherwise_scored}):
        notes.append(f"The written test accuracy is another for: {', '.join(others)}.")
    return tuple(notes)


def _report(stage: Searched, seed: int | None) -> Report:
    trials = stage.seed(seed)
    return report(trials, [stage.features(trial) for trial in trials], published(stage))


def published(stage: Searched) -> ClassReport | None:
    """Return what a paper publishes of the classes of the cell that a stage gives."""
    searched = read_paper_tables(Store.open(stage.uri, create=False))
    found = (one for paper in searched for one in paper.class_reports if paper.stages.get(one.cell) == stage.stage_id)
    return next(found, None)


def _title(stages: Sequence[Searched]) -> str:
    specs = [json.loads(trial["spec"] or "{}") for stage in stages for trial in stage.selected]
    probes = sorted({PROBES[spec.get("probe") or "linear_svm"] for spec in specs}, reverse=True)
    return f"{' or '.join(probes)} on test images"


def _side_by_side(stages: Sequence[Searched], reports: Sequence[Report]) -> list[Table]:
    common, names = without_common(titles(stages))
    return [table(", ".join(filter(None, [_title(stages), common])), list(zip(names, reports, strict=True)))]


def _one_by_one(stages: Sequence[Searched], reports: Sequence[Report]) -> list[Table]:
    named = zip(stages, titles(stages), reports, strict=True)
    return [table(f"{_title([stage])}: {name}", [(name, one)]) for stage, name, one in named]


def main(arguments: Arguments) -> None:
    """Print and write the report."""
    options = parser("class_report", __doc__ or "")
    add_choice(options, "stages side by side")
    options.add_argument("--seed", type=int, metavar="S", help="of one trial; the mean over all seeds if not given")
    options.add_argument("--format", choices=list(tables.FORMATS), default="text")
    given = options.parse_args(arguments)
    stages = chosen(given)
    reports = [_report(stage, given.seed) for stage in stages]
    found = _side_by_side(stages, reports) if given.stages or given.cells else _one_by_one(stages, reports)
    content = "\n\n".join(tables.FORMATS[given.format][0](one) for one in found)
    say(content)
    say_written([tables.save(content, out_folder(given.results, given.out), "class_report", given.format)])
