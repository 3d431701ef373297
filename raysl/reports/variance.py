"""How much of the spread over typed seeds each random stream explains, and which to repeat for a surer mean."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from shlex import quote

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from raysl.errors import UserError
from raysl.reports import figures
from raysl.reports.searched import MEASURES, own_trials, rule_of
from raysl.reports.stages import Row, Searched
from raysl.results.criteria import CRITERION_NAMES
from raysl.results.records.fold_rows import ONLY_FOLDS
from raysl.results.records.rows import spec_of
from raysl.results.records.seed_design import STREAMS, Cell, RandomStream, SeedDesign, cells
from raysl.statistics.variance import Component, components, variance_of_mean

MOST_NAMED = 5  # missing cells
ROW_HEIGHT = 0.22  # inches
NOTE = "Shares of the variance over the cells of the selected config's seeds; lines: 95 % generalised intervals"


@dataclass(frozen=True, eq=False)
class Repetition:
    """One more level of a factor.

    level: the number of levels with it.  num_trials: that it takes, those of folds too.
    error: the standard error of the mean with it.
    """

    factor: RandomStream
    level: int
    num_trials: int
    error: float

    def gain(self, error: float) -> float:
        """Return by how much each of its trials lowers the variance of the mean; error: without it."""
        return (error**2 - self.error**2) / self.num_trials


@dataclass(frozen=True, eq=False)
class Analysis:
    """The components of variance of a config's values over the cells of its seeds.

    factors: those of several levels.  levels: their numbers.
    values: as the measure is shown, an axis for each factor.
    num_trials_of_cell: 1, and in a cross-fitted stage those of the folds.
    seconds: mean training time of a trial; None where it was not recorded.
    """

    stage: Searched
    config: Row
    column: str
    factors: tuple[RandomStream, ...]
    levels: tuple[int, ...]
    values: NDArray[np.float64]
    found: tuple[Component, ...]
    num_trials_of_cell: int
    seconds: float | None

    @property
    def design(self) -> SeedDesign:
        """The design of the stage's seeds."""
        assert self.stage.design is not None, "others have an obstacle"
        return self.stage.design

    @property
    def sources(self) -> list[str]:
        """The factor or the interaction of each component."""
        is_nested = self.design.kind == "nested"
        return [
            self.factors[one.effect[-1]] if is_nested else " x ".join(self.factors[place] for place in one.effect)
            for one in self.found
        ]

    @property
    def names(self) -> list[str]:
        """What the components are called; the last one is the residual, with the streams that are in it."""
        *others, last = self.sources
        return [*others, f"residual ({', '.join([last, *self.unnamed])})"]

    @property
    def unnamed(self) -> list[RandomStream]:
        """The streams that follow the trial's seed, and so are part of the residual."""
        given = set(self.design.factors)
        for trial in own_trials(self.stage, self.config):
            given |= set(spec_of(trial["spec"]).get("streams") or {})
        return [name for name in STREAMS if name not in given and not (name == "labels" and "split" in given)]

    @property
    def error(self) -> float:
        """The standard error of the mean, as an estimate for any levels of the factors."""
        return math.sqrt(variance_of_mean(self.found, self.levels))

    @property
    def repetitions(self) -> list[Repetition]:
        """One more level of each factor, first what lowers the variance of the mean most for each trial."""
        every = [self._repetition(place) for place in range(len(self.levels))]
        return sorted(every, key=lambda one: -one.gain(self.error))

    def _repetition(self, place: int) -> Repetition:
        levels = tuple(size + (one == place) for one, size in enumerate(self.levels))
        error = math.sqrt(variance_of_mean(self.found, levels))
        num_trials = self.num_trials_of_cell * (math.prod(levels) - math.prod(self.levels))
        return Repetition(self.factors[place], levels[place], num_trials, error)

    def options(self, one: Repetition) -> list[str]:
        """Return the options of `raysl tune` that train a repetition, of the stage's configs this one alone."""
        return _options(self.stage, self.config, {one.factor: one.level})


def obstacle(stage: Searched) -> str:
    """Return why a stage's selected config has nothing to analyse; empty where it has."""
    if not stage.selected or rule_of(stage) is None:
        return "nothing is selected"
    config = next(config for config in stage.configs if config["selected"])
    try:
        analysis(stage, config, None)
    except UserError as error:
        return str(error).removeprefix(f"{stage.name}: ")
    return ""


def analysis(stage: Searched, config: Row, column: str | None) -> Analysis:
    """Return the components of a config's values; column: one of `OF_TRIALS`; None is the metric of the test set.

    Raises UserError where seeds are not typed, or a cell has no value.
    """
    column = column or stage.metric.test
    design = stage.design
    if design is None:
        raise UserError(
            f"{stage.name}: all random streams follow its seeds, so that none can be told from another; give seeds as "
            "levels of streams: --set 'seeds={labels: 4, init: 3}'"
        )
    trials = {design.cell(trial["seed"]): trial for trial in own_trials(stage, config)}
    whole = tuple(max(cell[place] for cell in trials) + 1 for place in range(len(design.factors)))
    if math.prod(whole) == 1:
        raise UserError(f"{stage.name}: one level of {', '.join(design.factors)}, which says nothing of the spread")
    _check_balance(stage, config, design, trials, whole, column)
    values = np.array([MEASURES[column].factor * trials[cell][column] for cell in cells(whole)])
    varied = [place for place, size in enumerate(whole) if size > 1]
    levels = tuple(whole[place] for place in varied)
    num_trials = 1 + len(next(iter(trials.values()))["folds"] or ())
    seconds = [trial["seconds"] for trial in trials.values()]
    of_folds = [trial["fold_seconds"] or 0.0 for trial in trials.values()]
    return Analysis(
        stage=stage,
        config=config,
        column=column,
        factors=tuple(design.factors[place] for place in varied),
        levels=levels,
        values=values.reshape(levels),
        found=tuple(components(values.reshape(levels), nested=design.kind == "nested")),
        num_trials_of_cell=num_trials,
        seconds=None
        if None in seconds
        else statistics.fmean(map(sum, zip(seconds, of_folds, strict=True))) / num_trials,
    )


def _check_balance(
    stage: Searched, config: Row, design: SeedDesign, trials: dict[Cell, Row], levels: Sequence[int], column: str
) -> None:
    missing = [cell for cell in cells(tuple(levels)) if cell not in trials or trials[cell][column] is None]
    if not missing:
        return
    named = [f"({_cell_text(design, cell, trials.get(cell))})" for cell in missing[:MOST_NAMED]]
    more = [f"{len(missing) - MOST_NAMED} more"] if len(missing) > MOST_NAMED else []
    ended = {trials[cell]["status"] for cell in missing if cell in trials} - _trained_again(column)
    sizes = dict(zip(design.factors, levels, strict=True))
    measured = f" --set {quote(stage.setting('criteria') + f'=[{column}]')}" if column in CRITERION_NAMES else ""
    command = f"raysl tune FILE {' '.join(_options(stage, config, sizes))}{measured} --results {quote(stage.uri)}"
    raise UserError(
        f"{stage.name}: no {column} in {len(missing)} of {math.prod(levels)} cells, and components need all: "
        f"{', '.join([*named, *more])}; "
        + (
            f"a trial that has {' or '.join(sorted(ended))} is not trained again: another config, as DIR:STAGE:CONFIG"
            if ended
            else f"this trains what is missing: {command}"
        )
    )


def _trained_again(column: str) -> set[str]:
    """Return the statuses of trials that lack a column and get it from the next search.

    Those of which only the folds were trained get all others: the search of their config alone selects it.
    """
    is_measured = column in CRITERION_NAMES or column.startswith("test_")
    return {"pending", "failed", ONLY_FOLDS, *(["finished"] if is_measured else [])}


def _options(stage: Searched, config: Row, levels: Mapping[RandomStream, int]) -> list[str]:
    """Return the options of `raysl tune` that train so many levels of factors, of a stage's configs one alone."""
    given = {f"seeds.{factor}": size for factor, size in levels.items()} | {
        stage.setting(key): value for key, value in config.items() if key.startswith("params.") and value is not None
    }
    return [f"--set {quote(f'{key}={value}')}" for key, value in given.items()]


def _cell_text(design: SeedDesign, cell: Cell, trial: Row | None) -> str:
    where = ", ".join(f"{name} {level}" for name, level in zip(design.factors, cell, strict=True))
    return f"{where}: {'not searched' if trial is None else trial['status']}"


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw a panel for each stage, with a bar for each component."""
    found = [analysis(stage, next(config for config in stage.configs if config["selected"]), None) for stage in stages]
    most = max(len(one.found) for one in found)
    return figures.panel_each(names, found, note, partial(_draw_panel, most=most), 0.5 + ROW_HEIGHT * most)


def _draw_panel(panel: Axes, one: Analysis, most: int) -> None:
    places = range(len(one.found))
    panel.barh(places, [100 * own.share for own in one.found], height=0.6, color=figures.PALETTE[0])
    for place, own in zip(places, one.found, strict=True):
        panel.plot([100 * end for end in own.share_interval], [place, place], color=figures.INK, linewidth=0.8)
    labels = [name.partition(" (")[0] for name in one.names]
    panel.set_yticks(places, [figures.wrapped(label, figures.TITLE_WIDTH) for label in labels])
    panel.set_ylim(most - 0.5, -0.5)
    panel.set_xlim(0, 100)
    panel.set_xlabel(f"share of the variance of {MEASURES[one.column].words.removesuffix(' (%)')} (%)")
