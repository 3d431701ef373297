"""The best configs of a stage against the selected one: differences paired by seed, with 95 % t intervals."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raysl.reports import figures
from raysl.reports.searched import MEASURES, own_trials, ranking, rule_of
from raysl.reports.stages import Row, Searched, short_text
from raysl.results.criteria import VOTE
from raysl.results.records.seed_design import dependence_text
from raysl.statistics.intervals import t_interval

MOST_CONFIGS = 6
NOTE = "Differences from the selected config, paired by seed: dots: means, lines: 95 % t intervals, ticks: seeds"
CAUTION = "The selected is the best of several, so its lead is flattered (winner's curse)."
LABEL_WIDTH = 26  # characters
ROW_HEIGHT = 0.3  # inches


@dataclass(frozen=True, eq=False)
class Pair:
    """A config against the selected one: differences of the rule's column by seed, as it is shown."""

    config: Row
    differences: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the differences."""
        return statistics.fmean(self.differences)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % t interval of the mean."""
        return t_interval(self.differences)


def obstacle(stage: Searched) -> str:
    """Return why nothing can be compared; empty where it can."""
    rule = rule_of(stage)
    if rule is None or not stage.selected:
        return "nothing is selected"
    if rule.column == VOTE:
        return "a vote ranks configs, which have no rank for each seed"
    if not any(config["selected"] for config in ranking(stage)):
        return "the selected config has lost a trial; the search's command trains it again"
    if len(ranking(stage)) < 2:
        return "one eligible config, and nothing to compare it with"
    if stage.design is not None:
        return dependence_text(str(stage.design))
    return "" if len(stage.selected) > 1 else "one seed, and differences over seeds need two"


def pairs(stage: Searched) -> list[Pair]:
    """Return the best configs against the selected one, best first."""
    rule, ranked = rule_of(stage), ranking(stage)
    assert rule is not None, "others have an obstacle"
    selected = next(config for config in ranked if config["selected"])
    others = [config for config in ranked if config is not selected][:MOST_CONFIGS]
    first = _by_seed(stage, selected, rule.column)
    found = []
    for config in others:
        own = _by_seed(stage, config, rule.column)
        shared = [seed for seed in first if seed in own]
        if len(shared) > 1:
            found.append(Pair(config, tuple(own[seed] - first[seed] for seed in shared)))
    return found


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw a panel for each stage, with a line for each config."""
    most = max(len(pairs(stage)) for stage in stages)
    return figures.panel_each(names, stages, note, partial(_draw_panel, most=most), 0.5 + ROW_HEIGHT * most)


def _draw_panel(panel: Axes, stage: Searched, most: int) -> None:
    rule, found = rule_of(stage), pairs(stage)
    assert rule is not None, "others have an obstacle"
    panel.axvline(0, color=figures.GREY, linewidth=0.6)
    for place, one in enumerate(found):
        panel.plot(one.interval, [place, place], color=figures.PALETTE[0], linewidth=1.0)
        panel.plot(one.differences, [place] * len(one.differences), "|", color=figures.GREY, markersize=6)
        [dot] = panel.plot(one.mean, place, "o", color=figures.PALETTE[0], markersize=4)
        figures.of_config(dot, one.config["config_id"])
    labels = [short_text(one.config) or one.config["config_id"] for one in found]
    panel.set_yticks(range(len(found)), [figures.wrapped(label, LABEL_WIDTH) for label in labels])
    panel.set_ylim(most - 0.5, -0.5)
    words = MEASURES[rule.column].words.replace("(%)", "(points)")
    panel.set_xlabel(f"difference in {words}")


def _by_seed(stage: Searched, config: Row, column: str) -> dict[int, float]:
    found = {trial["seed"]: trial[column] for trial in own_trials(stage, config)}
    return {seed: MEASURES[column].factor * value for seed, value in found.items() if value is not None}
