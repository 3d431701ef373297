"""Selected values at an end of their grid, beyond which a better one may lie."""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from raysl import methods
from raysl.search.experiment import MOST_TRIALS
from raysl.search.settings import MOST_CONFIGS
from raysl.search.spacing import End

ENDS: Sequence[tuple[End, Callable[..., float]]] = (("smallest", min), ("largest", max))


class GridEnd(NamedTuple):
    """A value at an end of its grid.  key: its dotted key.  num_values: of the grid."""

    key: str
    value: float
    end: End
    num_values: int


def grid_ends(configs: Sequence[Mapping[str, Any]], config_id: str, method: str | None) -> list[GridEnd]:
    """Return which numbers of a config are the smallest or the largest of a stage's grid, and could go on.

    A value that is its hyperparameter's own limit cannot.  There is none for a stage whose configs are no whole grid.
    configs: the stage's, with a column `params.<dotted key>` for each searched key.  method: the stage's.
    """
    chosen = next((config for config in configs if config["config_id"] == config_id), None)
    if chosen is None:  # a superseded selection, or none
        return []
    keys = [key for key in configs[0] if key.startswith("params.") and configs[0][key] is not None]
    tried = {key: {config[key] for config in configs} for key in keys}
    if len(configs) != math.prod(len(values) for values in tried.values()):
        return []
    return [
        GridEnd(name, chosen[key], end, len(tried[key]))
        for key in keys
        if len(tried[key]) > 1 and all(map(_is_number, tried[key]))
        for name in [key.removeprefix("params.")]
        for end, outermost in ENDS
        if chosen[key] == outermost(tried[key]) and chosen[key] not in _limits(method, name)
    ]


def too_many(num_configs: int, num_trials: int) -> str:
    """Return by what a grid is larger than a stage may be, as text; empty if it is not."""
    counts = (num_configs, "configs", MOST_CONFIGS), (num_trials, "trials", MOST_TRIALS)
    return next(
        (f"{number:,} {name}, and at most {most:,} are allowed" for number, name, most in counts if number > most), ""
    )


def growth_text(ends: Sequence[GridEnd], num_configs: int, num_trials: int) -> str:
    """Return why a grid has no room for one more value at each of these ends, and what to do; empty if it has.

    num_configs, num_trials: of the grid as it is.
    """
    growth = math.prod(Fraction(end.num_values + 1, end.num_values) for end in ends)
    more = too_many(math.ceil(num_configs * growth), math.ceil(num_trials * growth))
    if not ends or not more:
        return ""
    also = "it" if len(ends) == 1 else "them"
    return f"the grid has no room for {also} ({more}): fewer values of other keys, or `search: {{algorithm: random}}`"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _limits(method: str | None, key: str) -> set[float]:
    """Return the limits that a method sets to one of its hyperparameters, and may itself have."""
    if method not in methods.names() or not key.startswith("method."):
        return set()
    field = methods.settings_model(str(method)).model_fields.get(key.removeprefix("method."))
    marks = field.metadata if field is not None else []
    return {limit for mark in marks for name in ("ge", "le") if (limit := getattr(mark, name, None)) is not None}
