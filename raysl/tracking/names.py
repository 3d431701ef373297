"""Names of runs: short, with what differs first, because MLflow cuts them after some 14 characters."""

from collections import Counter
from collections.abc import Mapping

from raysl.results.short_names import short_names
from raysl.tracking.values import text

SHORT = 8  # characters of a config's name after which the seed comes first in a trial's name
Params = Mapping[str, object]


def config_names(configs: Mapping[str, Params], otherwise: str) -> dict[str, str]:
    """Return a stage's configs' names by config id, such as `lr=0.001 epochs=5`; no two configs have the same name.

    configs: the searched values of each config.  Keys with most values come first; numbers have six digits.
    otherwise: the name where nothing is searched.
    """
    values: dict[str, set[str]] = {}
    for params in configs.values():
        for key, value in params.items():
            values.setdefault(key, set()).add(text(value))
    short = short_names(list(values))
    order = sorted(values, key=lambda key: -len(values[key]))
    names = {
        name: " ".join(f"{short[key]}={_shown(params[key])}" for key in order if key in params) or otherwise
        for name, params in configs.items()
    }
    often = Counter(names.values())
    return {config: name if often[name] == 1 else f"{name} {config}" for config, name in names.items()}


def trial_name(config: str, seed: int) -> str:
    """Return a trial's name: `lr=0.001 seed=3`, with the seed first where the config's name is long."""
    return f"{config} seed={seed}" if len(config) <= SHORT else f"seed={seed} {config}"


def _shown(value: object) -> str:
    return text(float(f"{value:.6g}")) if isinstance(value, float) else text(value)
