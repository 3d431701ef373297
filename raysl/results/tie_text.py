"""A stage's tie set in words: the configs that cannot be told from the best by its rule."""

from collections.abc import Mapping, Sequence
from typing import Any

from raysl.statistics.paired import ERROR

MOST_NAMED = 5


def tie_text(configs: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Return a stage's tie set as text; empty where fewer than two configs are eligible.

    configs: the stage's rows of the table of configs.  names: of the configs, by id.
    """
    eligible = [config for config in configs if config["eligible"]]
    if len(eligible) < 2:
        return ""
    tied = [_whole(names[config["config_id"]]) for config in eligible if config["in_tie_set"]]
    if not tied:
        is_one = all(config["num_seeds"] == 1 for config in eligible)
        return "tie set: unknown, for one seed tells no two configs apart" if is_one else ""
    error = f"{100 * ERROR:g} %"
    how = f"paired t tests over {_seeds(eligible)}, Holm's correction"
    if len(tied) == 1:
        others = f"all {len(eligible) - 1} others" if len(eligible) > 2 else "the other one"
        return f"tie set: {tied[0]} alone; {others} can be told from it at {error} ({how})"
    more = [f"{len(tied) - MOST_NAMED} more"] if len(tied) > MOST_NAMED else []
    of = f"{len(tied)} of {len(eligible)} configs"
    return f"tie set: cannot be told from the best at {error}: {', '.join([*tied[:MOST_NAMED], *more])}; {of} ({how})"


def _whole(name: str) -> str:
    return f"({name})" if ", " in name else name


def _seeds(configs: Sequence[Mapping[str, Any]]) -> str:
    numbers = sorted({config["num_seeds"] for config in configs})
    return f"{numbers[0]} seeds" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} seeds"
