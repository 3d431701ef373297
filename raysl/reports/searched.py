"""What a stage searched: its keys with their values, on the scale that fits them, and what its configs came to."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from raysl.reports.command import say
from raysl.reports.stages import Row, Searched, params_text
from raysl.results.criteria import CRITERIA, VOTE
from raysl.results.cross_fit import CROSS_FITTED
from raysl.results.metrics import METRICS
from raysl.results.short_names import short_names
from raysl.search.rules import RULES, Rule
from raysl.statistics.paired import is_same

LEAST_RATIO = 4  # between the greatest and the least value on a logarithmic scale
LEAST_OF_TWO = 10  # where two values alone are no sign of a scale


class Measure(NamedTuple):
    """What configs are compared by.

    factor: from the tables' numbers to those that are shown.  highest: whether a greater value is better.
    """

    words: str
    factor: float = 1.0
    highest: bool = False


# By the tables' columns.
MEASURES: Mapping[str, Measure] = {
    "final_loss": Measure("final training loss"),
    **{metric.probe: Measure(f"probe {metric.words} (%)", 100, highest=True) for metric in METRICS},
    **{metric.test: Measure(f"test {metric.words} (%)", 100, highest=True) for metric in METRICS},
    CROSS_FITTED: Measure("cross-fitted accuracy (%)", 100, highest=True),
    "seconds": Measure("training time (s)"),
    **{one.name: Measure(one.words, highest=one.highest) for one in CRITERIA},
    VOTE: Measure("mean rank"),
}
OF_TRIALS = tuple(name for name in MEASURES if name != VOTE)  # a vote ranks configs, and gives no trial a value


@dataclass(frozen=True, eq=False)
class Key:
    """A searched hyperparameter of a stage.

    name: its last part, or all of it where that tells too little.
    values: by config, in the order of the search; all numbers, or all words.
    log: whether a logarithmic scale fits the numbers better.
    """

    name: str
    column: str
    values: Mapping[str, float | str]
    is_number: bool
    log: bool


def searched_keys(stage: Searched) -> list[Key]:
    """Return the keys that a stage searched more than one value of."""
    columns = [column for column in stage.configs[0] if column.startswith("params.")]
    found = {column: {config["config_id"]: config[column] for config in stage.configs} for column in columns}
    varied = {column: values for column, values in found.items() if len(set(values.values()) - {None}) > 1}
    names = short_names([column.removeprefix("params.") for column in varied])
    return [_key(names[column.removeprefix("params.")], column, values) for column, values in varied.items()]


def fits_log(values: Sequence[float]) -> bool:
    """Return whether the median of the values lies nearer the middle of their range on a logarithmic scale.

    The observed values alone say on what scale a key was searched: of a uniform draw from (0, 1), the least and the
    greatest are far apart too.
    """
    distinct = sorted(set(values))
    least = LEAST_RATIO if len(distinct) > 2 else LEAST_OF_TWO
    if distinct[0] <= 0 or distinct[-1] < least * distinct[0]:
        return False
    return len(distinct) == 2 or _lopsided([math.log(value) for value in distinct]) < _lopsided(distinct)


def measure_of(stage: Searched, given: str | None) -> str:
    """Return the column that a stage's configs are compared by: the one given, or that of its selection rule."""
    if given is not None:
        return given
    assert stage.selection is not None, "only selected stages come here"
    return RULES[stage.selection["rule"]].column


def rule_of(stage: Searched) -> Rule | None:
    """Return the rule that selects a stage's config; None where nothing is selected yet."""
    return None if stage.selection is None else RULES[stage.selection["rule"]]


def ranking(stage: Searched) -> list[Row]:
    """Return the eligible configs, best first by the stage's rule; those of equal values in the order of the search."""
    rule = rule_of(stage)
    if rule is None:
        return []
    sign = -1 if rule.highest else 1
    return sorted(measured(stage, rule.column), key=lambda config: sign * config[f"{rule.column}_mean"])


def best(stage: Searched) -> list[Row]:
    """Return the configs of the best value by the stage's rule; several, if they differ by rounding only."""
    rule, ranked = rule_of(stage), ranking(stage)
    if rule is None or not ranked:
        return []
    column = f"{rule.column}_mean"
    return [config for config in ranked if is_same(config[column], ranked[0][column])]


def tied(stage: Searched) -> list[Row]:
    """Return the other configs whose value by the stage's rule is the best one's, but for rounding."""
    return [config for config in best(stage) if not config["selected"]]


def is_grid(stage: Searched) -> bool:
    """Return whether the configs are all combinations of the searched values."""
    combinations = math.prod(len(set(key.values.values())) for key in searched_keys(stage))
    return len(stage.configs) == combinations


def own_trials(stage: Searched, config: Row) -> list[Row]:
    """Return the trials of a config, by seed."""
    own = (trial for trial in stage.trials if trial["config_id"] == config["config_id"])
    return sorted(own, key=lambda trial: trial["seed"])


def measured(stage: Searched, column: str) -> list[Row]:
    """Return the eligible configs that have a mean of a column, in the order of the search."""
    return [config for config in stage.configs if config["eligible"] and config[f"{column}_mean"] is not None]


def unmeasured_reason(stage: Searched, column: str) -> str:
    """Return how many eligible configs lack a column, and why; empty where all have it."""
    num_eligible = sum(config["eligible"] for config in stage.configs)
    num_lacking = num_eligible - len(measured(stage, column))
    if not num_lacking:
        return ""
    if column in {metric.test for metric in METRICS}:
        return f"{num_lacking} of {num_eligible} eligible configs are not scored; {how_to_score(stage)}"
    return f"{num_lacking} of {num_eligible} eligible configs have no {column}"


def how_to_score(stage: Searched) -> str:
    """Return how configs are scored that are not selected."""
    if any(trial["folds"] for trial in stage.trials):
        return (
            f"`raysl tune --score all --set {stage.setting('select')}=train_loss` trains them with all labels and "
            "scores them; then the search's command again shows it"
        )
    return "`raysl tune --score all` scores them"


def say_ineligible(stages: Sequence[Searched]) -> None:
    """List the configs that no rule may choose, with what befell their seeds."""
    for stage in stages:
        for config in stage.configs:
            if not config["eligible"]:
                say(f"not eligible: {stage.name}, {params_text(config) or config['config_id']}: {config['reason']}")


def _key(name: str, column: str, values: Mapping[str, float | str | None]) -> Key:
    given = list(values.values())
    if all(isinstance(value, float) for value in given):
        numbers = {config: float(value) for config, value in values.items() if value is not None}
        return Key(name, column, numbers, is_number=True, log=fits_log(list(numbers.values())))
    words = {config: "-" if value is None else str(value) for config, value in values.items()}
    return Key(name, column, words, is_number=False, log=False)


def _lopsided(rising: Sequence[float]) -> float:
    """Return how far the median is from the middle of the range, as a part of it."""
    low, high = rising[0], rising[-1]
    return abs((statistics.median(rising) - low) / (high - low) - 0.5)
