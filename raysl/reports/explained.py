"""What explains the objective of a stage's configs: all of them by fANOVA, the best by PED-ANOVA."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysl.reports.searched import MEASURES, Key, measured, searched_keys, unmeasured_reason
from raysl.reports.stages import Searched

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

    Distribution = Callable[[Key, Sequence[str]], BaseDistribution]  # of a key's values, given the configs' ids

LEAST_CONFIGS = 4  # fewer say nothing of two hyperparameters
BEST = 0.1  # fraction of the configs that counts as the best, as Optuna has it
LEAST_BEST = 5  # configs that a density is estimated from, as Optuna's documentation advises
LEAST_OF_BEST = 2 * LEAST_BEST  # configs, so that at most half of them count as the best
ROUNDING = 1e-12  # of densities' differences
SEED = 0  # of the forest


@dataclass(frozen=True, eq=False)
class Importance:
    """What explains a stage's objective.

    column: of the objective.  num_configs: those that it was fitted to.
    shares: of the variance, by key, highest first; their sum is at most about 1.
    num_best: the configs that count as the best.
    best_shares: of what gets a config among these, by key; their sum is 1, or 0 if they have each value as often as all
        configs; empty where `best_obstacle` says why.
    """

    stage: Searched
    column: str
    num_configs: int
    shares: Mapping[Key, float]
    num_best: int
    best_shares: Mapping[Key, float]
    best_obstacle: str

    @property
    def rest(self) -> float:
        """The share that no hyperparameter explains alone."""
        return max(0.0, 1.0 - sum(self.shares.values()))


def obstacle(stage: Searched, column: str) -> str | None:
    """Return why importance cannot be told, or need not; None where it can."""
    keys, values = searched_keys(stage), [config[f"{column}_mean"] for config in measured(stage, column)]
    if not keys:
        return "no hyperparameter was searched"
    if len(keys) == 1:
        return f"{keys[0].name} alone was searched, and so explains all; slices draw how"
    if len(values) < LEAST_CONFIGS:
        lacking = unmeasured_reason(stage, column)
        few = f"{len(values)} eligible configs with {column}, and {LEAST_CONFIGS} are needed"
        return f"{few} ({lacking})" if lacking else few
    return f"{column} is the same for all configs" if len(set(values)) == 1 else None


def importance(stage: Searched, column: str) -> Importance:
    """Return how much each key explains of the means of a column."""
    from optuna.importance import FanovaImportanceEvaluator  # it takes its time

    assert obstacle(stage, column) is None, "it can be told"
    values = [float(config[f"{column}_mean"]) for config in measured(stage, column)]
    keys = {key.column: key for key in searched_keys(stage)}
    study = _study(stage, column, keys, _distribution)
    shares = FanovaImportanceEvaluator(seed=SEED).evaluate(study, list(keys))
    num_best = _num_best(values, MEASURES[column].highest)
    why = _best_obstacle(len(values), num_best)
    return Importance(
        stage,
        column,
        len(values),
        {keys[name]: float(share) for name, share in shares.items()},
        num_best,
        {} if why else _best_shares(stage, column, keys, num_best),
        why,
    )


def _num_best(values: Sequence[float], highest: bool) -> int:
    """Return how many configs count as the best: those that equal the last of them count too."""
    ordered = sorted(values, reverse=highest)
    last = ordered[min(len(ordered), max(LEAST_BEST, math.ceil(BEST * len(ordered)))) - 1]
    return sum(value >= last if highest else value <= last for value in values)


def _best_obstacle(num_configs: int, num_best: int) -> str:
    """Return why the best configs say nothing; empty where they do."""
    if num_configs < LEAST_OF_BEST:
        return f"{num_configs} eligible configs, and PED-ANOVA needs {LEAST_OF_BEST}"
    if num_best > num_configs / 2:
        return f"PED-ANOVA cannot tell the best: {num_best} of {num_configs} configs are as good as one another"
    return ""


def _best_shares(stage: Searched, column: str, keys: Mapping[str, Key], num_best: int) -> dict[Key, float]:
    from optuna.importance import PedAnovaImportanceEvaluator

    study = _study(stage, column, keys, _counted)
    quantile = (num_best - 0.5) / len(study.trials)  # Optuna rounds up
    found = PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(study, list(keys))
    total = sum(found.values())
    return {keys[name]: float(value / total) if total > ROUNDING else 0.0 for name, value in found.items()}


def _study(stage: Searched, column: str, keys: Mapping[str, Key], distribution: "Distribution") -> "Study":
    """Return the eligible configs as Optuna's trials."""
    from optuna import create_study, logging
    from optuna.trial import create_trial

    configs = measured(stage, column)
    ids = [config["config_id"] for config in configs]
    distributions = {name: distribution(key, ids) for name, key in keys.items()}
    logging.set_verbosity(logging.WARNING)
    study = create_study(direction="maximize" if MEASURES[column].highest else "minimize")
    for config in configs:
        params = {name: _place(key, config["config_id"]) for name, key in keys.items()}
        study.add_trial(create_trial(params=params, distributions=distributions, value=config[f"{column}_mean"]))
    return study


def _place(key: Key, config_id: str) -> float | str:
    """Return a value on the key's own scale: fANOVA measures the space by it, and Optuna's reads no `log`."""
    value = key.values[config_id]
    return math.log10(value) if key.log and isinstance(value, float) else value


def _distribution(key: Key, config_ids: Sequence[str]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    places = {_place(key, config_id) for config_id in config_ids}
    if key.is_number:
        numbers = [float(place) for place in places]
        return FloatDistribution(min(numbers), max(numbers))
    return CategoricalDistribution(sorted(places))


def _counted(key: Key, config_ids: Sequence[str]) -> "BaseDistribution":
    """Return the distribution of values, each by itself where most were tried again, as in a grid.

    A density over a few numbers would be smooth among all configs and peaked among the best, whatever the objective.
    """
    from optuna.distributions import CategoricalDistribution

    places = {_place(key, config_id) for config_id in config_ids}
    if 2 * len(places) <= len(config_ids):
        return CategoricalDistribution(sorted(places))
    return _distribution(key, config_ids)
