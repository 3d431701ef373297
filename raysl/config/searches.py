"""Checks of how a stage is searched."""

import math
from collections.abc import Callable

from raysl.config.document import ConfigError, Document, Path_, dotted
from raysl.search.cross_fit import CrossFit
from raysl.search.experiment import Stage
from raysl.search.samplers import SamplerError
from raysl.search.sampling import rehearse
from raysl.search.settings import MOST_CONFIGS
from raysl.search.space import Grid, Space
from raysl.search.spacing import may_grow
from raysl.search.stage_settings import StageSettings
from raysl.search.vote import Vote


def check_search(settings: StageSettings, space: Space, path: Path_, document: Document) -> None:
    """Refuse a search that its space or its own settings do not allow."""
    search = settings.search

    def where(key: str) -> str:
        return at((*path, "search", key), document)

    _check_cross_fit(settings, where)
    if search.race is not None:
        _check_race(settings, where("race"))
    if search.extend:
        _check_extend(settings, space, where("extend"))
    if search.algorithm == "grid":
        for key, dimension in space.items():
            if not isinstance(dimension, Grid):
                raise ConfigError(
                    f"{at((*path, *key.split('.')), document)}: {dimension}: no grid, and algorithm grid "
                    f"takes nothing else; {dotted((*path, 'search'))}: {{algorithm: random, num_configs: 20}} or optuna"
                )
        if search.num_configs is not None:
            raise ConfigError(f"{where('num_configs')}: a grid has as many configs as it has points; algorithm: random")
        _check_size(space, path, document)
        return
    if not space:
        raise ConfigError(
            f"{where('algorithm')}: {search.algorithm} has nothing to draw, for no key of the stage is a range or "
            f"a grid; {dotted((*path, 'search'))}=null makes it one config"
        )
    if search.num_configs is None:
        raise ConfigError(f"{where('num_configs')}: must be given for algorithm {search.algorithm}: how many configs")
    if search.algorithm == "optuna":
        if isinstance(settings.select, Vote) and not search.objectives:
            raise ConfigError(
                f"{where('objectives')}: must be given: a vote ranks configs against one another, and gives none "
                f"a value to propose the next by; [{settings.select.vote[0]}] would do"
            )
        try:
            rehearse(search, space, search.objectives or [str(settings.select)])
        except SamplerError as error:
            raise ConfigError(f"{at((*path, 'search', *error.path), document)}: {error.problem}") from None


def _check_cross_fit(settings: StageSettings, where: Callable[[str], str]) -> None:
    """Refuse a search that needs the trials with all labels of every config."""
    rule, search = settings.select, settings.search
    if not isinstance(rule, CrossFit):
        return
    deciding = {
        "algorithm": (search.algorithm == "optuna", "optuna proposes configs from", "grid or random"),
        "race": (search.race is not None, "a race drops configs by", "leave race out"),
        "extend": (search.extend, "a grid grows by", "leave extend out"),
        "objectives": (bool(search.objectives), "a search weighs", "leave objectives out"),
    }
    for key, (is_asked, text, choice) in deciding.items():
        if is_asked:
            raise ConfigError(
                f"{where(key)}: {text} trials with all labels, and select: {{cross_fit: {rule.cross_fit}}} trains "
                f"these of the selected config alone; {choice}, or another rule"
            )


def _check_race(settings: StageSettings, where: str) -> None:
    """Refuse a race by what no single seed has a value of, and one whose search weighs another value."""
    search = settings.search
    if isinstance(settings.select, Vote):
        raise ConfigError(
            f"{where}: a vote ranks configs against one another, and gives no seed a value to race by; "
            f"select: {settings.select.vote[0]} would do, or leave race out"
        )
    if any(objective != settings.select for objective in search.objectives):
        raise ConfigError(
            f"{where}: drops configs by {settings.select} (select) alone, and objectives has others; "
            "leave race or objectives out"
        )


def _check_extend(settings: StageSettings, space: Space, where: str) -> None:
    """Refuse to extend what is no grid, or one of which no key can go on."""
    search = settings.search
    if search.algorithm != "grid":
        raise ConfigError(f"{where}: {search.algorithm} has no grid; algorithm grid, or leave extend out")
    if search.race is not None:
        raise ConfigError(f"{where}: a race is of configs that are known before it; leave extend or race out")
    if not any(may_grow(key, dimension) for key, dimension in space.items()):
        raise ConfigError(
            f"{where}: no key of the method or the optimizer has a grid of evenly spaced numbers, such as "
            "[0.001, 0.01, 0.1] or [2, 4, 6]; leave extend out"
        )


def check_race_seeds(stage: Stage, num_seeds: int, document: Document) -> None:
    """Refuse a race whose first round takes all seeds."""
    if stage.race is not None and stage.race.first >= num_seeds:
        where = ("stages", stage.name, "search", "race", "first")
        raise ConfigError(
            f"{at(where, document)}: {stage.race.first} of {num_seeds} seeds are given to every config, so no race is "
            f"left; fewer, or more seeds, or {dotted(where[:-1])}=null"
        )


def _check_size(space: Space, path: Path_, document: Document) -> None:
    """Refuse grids whose product is more configs than a search can hold."""
    sizes = {key: len(dimension.ends) for key, dimension in space.items()}
    if (num_configs := math.prod(sizes.values())) > MOST_CONFIGS:
        product = " x ".join(f"{size} ({key})" for key, size in sizes.items())
        raise ConfigError(
            f"{at(path, document)}: {product} are {num_configs:,} configs; at most {MOST_CONFIGS:,}; "
            f"{dotted((*path, 'search'))}: {{algorithm: random, num_configs: 20}} tries some of them"
        )


def at(where: Path_, document: Document) -> str:
    """Return the place and the dotted name of a key."""
    return f"{document.place(where)}: {dotted(where)}"
