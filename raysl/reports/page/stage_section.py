"""The part of a page that is about one stage."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from shlex import quote

from matplotlib.figure import Figure

from raysl.errors import UserError
from raysl.reports import figures, slices, times
from raysl.reports.catalogue import FIGURES, FigureType
from raysl.reports.page.classes import classes
from raysl.reports.page.html import Html, Part, code, facts, folded, joined, table, tag
from raysl.reports.page.leaderboard import beside_pointer, leaderboard, reason
from raysl.reports.page.numbers import duration
from raysl.reports.page.svg import inline
from raysl.reports.searched import measure_of, searched_keys
from raysl.reports.stages import Searched, attack
from raysl.results.records.fold_rows import ONLY_FOLDS
from raysl.results.records.rows import spec_of
from raysl.results.storage.file_systems import without_keys

SIZE = figures.Layout(width=3.7, font_size=8.5, has_notes=False)  # of a figure that a narrow screen shows whole
SEARCH = ("history", "parallel", "contour", "importance", "pareto")
UNTRAINED = ("finished", ONLY_FOLDS, "pending")


def stage_section(
    stage: Searched, title: str, place: int, *, has_figures: bool = True, same: tuple[str, str] | None = None
) -> Html:
    """Return the section of a stage.

    place: among the page's stages, from 0.  same: id and title of one that has the same trials, and the figures.
    """
    heading = tag("h2", title, id=stage.stage_id)
    if same is not None:
        where = tag("a", same[1], href=f"#{same[0]}")
        text = tag("p", "The same trials as ", where, ", where their numbers and figures are.")
        return tag("section", heading, facts(_facts(stage)), text, reason(stage))
    shown = _Figures(stage, f"s{place}", has_figures)
    main = [*shown.of("curves"), *shown.slices(), *(one for name in SEARCH for one in shown.of(name))]
    return tag(
        "section",
        heading,
        facts(_facts(stage)),
        reason(stage),
        leaderboard(stage),
        _rows(stage, "configs", "final_loss_mean, _std and so on; small: 95 % t interval of the mean over the seeds"),
        tag("div", *main, class_="figures"),
        *_seeds(shown),
        _costs(stage, shown),
        *_failures(stage),
        *_classes(stage, shown),
        _settings(stage),
    )


class _Figures:
    """The figures of a stage that have something to show: none where the page has no room for them.

    prefix: of their ids.
    """

    def __init__(self, stage: Searched, prefix: str, has_figures: bool) -> None:
        self._stage, self._prefix, self._num, self._has = stage, prefix, 0, has_figures
        self._beside = beside_pointer(stage)

    def of(self, name: str) -> Iterator[Html]:
        """Yield a figure by its name, if it has something to show."""
        kind = FIGURES[name]
        if not self._has or kind.obstacle(self._stage):
            return
        try:
            yield self._figure(kind, kind.words, lambda: kind.draw([""], [self._stage]))
        except UserError:  # features that are missing, for example
            return

    def slices(self) -> Iterator[Html]:
        """Yield a figure for each searched key."""
        kind = FIGURES["slices"]
        if not self._has or kind.obstacle(self._stage):
            return
        column = measure_of(self._stage, None)
        for key in searched_keys(self._stage):
            draw = partial(slices.draw, [("", self._stage, key, column)], "")
            yield self._figure(kind, f"the objective over {key.name}", draw)

    def _figure(self, kind: FigureType, words: str, draw: Callable[[], Figure]) -> Html:
        self._num += 1
        with figures.laid_out(SIZE):
            drawn = inline(draw(), words, f"{self._prefix}f{self._num}-", self._beside)
        return tag(
            "figure",
            tag("figcaption", tag("b", words[0].upper() + words[1:])),
            drawn,
            tag("figcaption", f"{kind.note.rstrip('.')}."),
        )


def _facts(stage: Searched) -> dict[str, Part]:
    spec = next((spec_of(trial["spec"]) for trial in stage.trials if trial["spec"]), {})
    attacked = f", attacked: {attack(stage)}" if attack(stage) else ""
    return {
        "method": stage.method,
        "backbone": str(stage.model.get("backbone", "")),
        "labelled training images": f"{stage.data.get('labels')} of {stage.data.get('source')}{attacked}",
        "epochs": str(spec.get("epochs", "")),
        "batch size": str(spec.get("batch_size", "")),
        "configs, trials": f"{len(stage.configs)}, {len(stage.trials)}",
        "seeds": ", ".join(map(str, sorted({trial["seed"] for trial in stage.trials}))),
        "stage_id": code(stage.stage_id),
    }


def _rows(stage: Searched, name: str, columns: str) -> Html:
    where = joined([code(f"{name}.arrow"), ", stage_id ", code(stage.stage_id), f": {columns}"])
    folder = quote(without_keys(stage.uri))
    command = code(f"raysl report {folder} --figure NAME --stages {stage.stage_id}")
    return tag("p", tag("small", "Rows: ", where, ". Figures: ", command))


def _seeds(shown: _Figures) -> Iterator[Html]:
    found = list(shown.of("seeds"))
    if found:
        audit = list(shown.of("audit"))
        yield folded("Seeds: the best configs against the selected", tag("div", *found, *audit, class_="figures"))
    if spread := list(shown.of("variance")):
        yield folded("Seeds: what each random stream explains of the spread", tag("div", *spread, class_="figures"))


def _costs(stage: Searched, shown: _Figures) -> Html:
    one = times.cost(stage)
    mean = one.seconds / one.num_trials if one.num_trials else 0.0
    given: dict[str, Part] = {
        "trials that ended": str(one.num_trials),
        "training time, all trials": duration(one.seconds),
        "times workers": duration(one.worker_seconds),
        "mean of a trial": duration(mean),
        "from first start to last end": duration(one.elapsed),
        "devices": ", ".join(one.devices),
    }
    note = _rows(stage, "trials", "seconds, workers, device, started_at, finished_at")
    return folded(
        f"Time and cost: {duration(one.seconds)}", facts(given), tag("div", *shown.of("times"), class_="figures"), note
    )


def _failures(stage: Searched) -> Iterator[Html]:
    """Yield what befell the trials that did not finish, by status and reason."""
    found: Counter[tuple[str, str]] = Counter()
    ids: dict[tuple[str, str], list[str]] = {}
    for trial in stage.trials:
        if trial["status"] not in UNTRAINED:
            key = (trial["status"], trial["reason"])
            found[key] += 1
            ids.setdefault(key, []).append(trial["trial_id"])
    if not found:
        return
    rows: list[list[Part]] = [
        [
            status,
            str(num),
            why,
            joined([code(", ".join(ids[status, why][:3])), "" if num < 4 else ", ..."]),
        ]
        for (status, why), num in found.most_common()
    ]
    note = tag("p", tag("small", "Logs of failed trials: ", code("logs/TRIAL.log"), " of the results folder."))
    content = table(["status", "trials", "reason", "rows of trials.arrow"], rows, words={2})
    yield folded(f"Failures: {found.total()} of {len(stage.trials)} trials did not finish", content, note, is_open=True)


def _classes(stage: Searched, shown: _Figures) -> Iterator[Html]:
    if (found := classes(stage)) is not None:
        drawn = tag("div", *shown.of("loss_curves"), *shown.of("tsne"), *shown.of("masks"), class_="figures")
        what = "masks" if stage.data.get("masks") else "confusion matrix, features"
        yield folded(f"The selected config: classes, {what}", found, drawn)


def _settings(stage: Searched) -> Html:
    spec = next((spec_of(trial["spec"]) for trial in stage.selected if trial["spec"]), {})
    text = json.dumps(spec or {"data": stage.data, "model": stage.model}, indent=1)
    return folded("Everything that decides the numbers of the selected config's first seed", tag("pre", code(text)))
