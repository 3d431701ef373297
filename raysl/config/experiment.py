"""Reads an experiment from YAML, and checks all of it before anything starts."""

import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raysl import methods
from raysl.config.compose import Override, compose, origin_of
from raysl.config.document import ConfigError, Document, Path_, dotted
from raysl.config.explain import validated
from raysl.config.searches import check_race_seeds, check_search
from raysl.config.space import KINDS, read_space, refuse_other_grids, substitute
from raysl.config.stages import check_rules, check_stages, settings_kind
from raysl.data.settings import DataSettings
from raysl.errors import choices, quoted
from raysl.results.records.seed_design import LARGEST_SEED, RandomStream, SeedDesign, cells, dependence_text, paired
from raysl.search.experiment import MOST_TRIALS, Config, Experiment, ExperimentSettings, Resources, Stage
from raysl.search.sampling import draw
from raysl.search.settings import MOST_SEEDS
from raysl.search.space import Dimension, IntRange, Space
from raysl.search.vote import Vote

MOST_EXTREMES = 256  # ends of a space's ranges that are checked before anything starts


def load(
    source: Path | Mapping[str, Any],
    profile: str | None = None,
    overrides: Sequence[str | Override] = (),
    variant: Sequence[tuple[Path_, str]] = (),
) -> Experiment:
    """Return the experiment of a YAML file or a dict, with a profile and overrides applied.

    overrides: each a text `key=value` or an `Override`.
    variant: the overrides that distinguish it from other experiments of its name in one command, as (path, text).
    Raises ConfigError with the place, key, value and choices of every mistake.
    """
    document = compose(source, profile, overrides)
    _refuse_tables(document)
    refuse_other_grids(document)
    top = validated(ExperimentSettings, document.values, (), document)
    seeds, design = _read_seeds(top, document)
    stages = _read_stages(top, document)
    _check_workers(stages, top.resources, document)
    _check_tests(stages, seeds, design, document)
    experiment = Experiment(
        name=top.name,
        profile=unicodedata.normalize("NFC", profile or ""),
        variant=tuple(variant),
        data=top.data,
        model=top.model,
        seeds=seeds,
        streams=top.streams,
        resources=top.resources,
        probes=top.probes,
        stages=stages,
        places={dotted(path): place for path, place in document.places.items()},
        design=design,
        origin=origin_of(source, document, profile, overrides),
    )
    _check_trials(experiment, document)
    for stage in stages:
        check_race_seeds(stage, len(experiment.seeds), document)
    return experiment


def _refuse_tables(document: Document) -> None:
    if "tables" in document.values:
        raise ConfigError(
            f"{document.place(('tables',))}: a table file, and not an experiment; tune and plan take the file"
        )


def _read_seeds(top: ExperimentSettings, document: Document) -> tuple[tuple[int, ...], SeedDesign | None]:
    """Return the seeds, and the design whose cells they number; a number of seeds is the seeds from 0 on."""
    if isinstance(top.seeds, dict):
        return _read_design(top.seeds, top, document)
    if "design" in top.model_fields_set:
        raise ConfigError(
            f"{document.place(('design',))}: design: of seeds that are levels of streams, as in "
            "seeds: {labels: 4, init: 3}; leave design out"
        )
    seeds = tuple(range(top.seeds)) if isinstance(top.seeds, int) else tuple(top.seeds)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{document.place(('seeds',))}: seeds: a seed is named twice: {quoted(list(seeds))}")
    return seeds, None


def _read_design(
    levels: Mapping[RandomStream, int], top: ExperimentSettings, document: Document
) -> tuple[tuple[int, ...], SeedDesign]:
    for name in levels:
        if name in top.streams:
            place = document.place(("streams", name))
            raise ConfigError(f"{place}: streams.{name}: a seed of a stream that seeds varies; leave one of both out")
    where, num = f"{document.place(('seeds',))}: seeds", math.prod(levels.values())
    if num > MOST_SEEDS:
        raise ConfigError(f"{where}: {num:,} cells of {quoted(dict(levels))}; at most {MOST_SEEDS:,}")
    seeds = tuple(sorted(map(paired, cells(tuple(levels.values())))))
    if seeds[-1] > LARGEST_SEED:
        most = int((LARGEST_SEED + 1) ** (1 / len(levels)))
        too_many = f"too many levels of one of {len(levels)} streams; up to {most:,} fit"
        raise ConfigError(f"{where}: {quoted(dict(levels))}: {too_many}")
    return seeds, SeedDesign(tuple(levels), top.design)


def _read_stages(top: ExperimentSettings, document: Document) -> tuple[Stage, ...]:
    for name in {"name", *KINDS} & set(top.stages):
        raise ConfigError(f"{document.place(('stages', name))}: stages.{name}: a stage cannot be called {name!r}")
    stages = tuple(_read_stage(name, values, top.data, document) for name, values in top.stages.items())
    check_stages(stages, document, has_weights=top.model.weights is not None)
    return stages


def _read_stage(name: str, values: Mapping[str, Any], data: DataSettings, document: Document) -> Stage:
    path = ("stages", name)
    kind = settings_kind(values, path, document)
    space = read_space(values, path, document)
    first = substitute(values, {key: dimension.ends[0] for key, dimension in space.items()})

    def configure(params: Mapping[str, Any]) -> Config:
        settings = validated(kind, substitute(first, params), path, document)
        method = _read_method(settings.method, (*path, "method"), document, methods.names())
        return Config(params, settings.model_copy(update={"method": method}))

    settings = configure({key: dimension.ends[0] for key, dimension in space.items()}).settings
    check_search(settings, space, path, document)
    own_data = _stage_data({**data.model_dump(exclude_unset=True), **settings.data}, path, document)
    search = settings.search
    if search.algorithm == "grid":
        ends = itertools.product(*(dimension.ends for dimension in space.values()))
        configs = extremes = tuple(configure(dict(zip(space, point, strict=True))) for point in ends)
    else:
        extremes = tuple(configure(dict(zip(space, point, strict=True))) for point in _checked(space))
        configs = tuple(configure(params) for params in draw(search, space)) if search.algorithm == "random" else ()
    stage = Stage(name, space, configs, extremes, configure, own_data)
    check_rules(stage, document)
    return stage


def _checked(space: Space) -> list[tuple[Any, ...]]:
    """Return the points of a space whose settings are checked; if they are valid, so are all other points.

    Settings check a value by itself or against one other. The points are therefore the combinations of the ranges' ends
    and, because a value between two ends may be wrong by itself, each value of each key.
    """
    dimensions = list(space.values())
    ends = itertools.islice(itertools.product(*(dimension.ends for dimension in dimensions)), MOST_EXTREMES)
    first = [dimension.ends[0] for dimension in dimensions]
    alone = (
        (*first[:place], value, *first[place + 1 :])
        for place, dimension in enumerate(dimensions)
        for value in _each(dimension)
    )
    return list(dict.fromkeys((*ends, *alone)))


def _each(dimension: Dimension) -> Sequence[Any]:
    if isinstance(dimension, IntRange):
        return *range(dimension.low, min(dimension.high, dimension.low + MOST_EXTREMES)), dimension.high
    return dimension.ends


def _stage_data(given: Mapping[str, Any], path: Path_, document: Document) -> DataSettings:
    return validated(DataSettings, given, (*path, "data"), document)


def _read_method(values: Mapping[str, Any], path: Path_, document: Document, known: Sequence[str]) -> dict[str, Any]:
    """Return the settings of one of the known methods, with every default filled in."""
    name = values.get("name") if isinstance(values, Mapping) else values
    if name not in known:
        trouble = "a 'name' must be given" if name is None else f"{quoted(name)} is no method that is allowed here"
        raise ConfigError(f"{document.place(path)}: {dotted(path)}: {trouble}; {choices(str(name), known)}")
    read: dict[str, Any] = validated(methods.settings_model(str(name)), values, path, document).model_dump()
    for nested in methods.describe(str(name)).nested:
        read[nested] = _read_method(read[nested], (*path, nested), document, methods.pretexts())
    return read


def _check_workers(stages: Sequence[Stage], resources: Resources, document: Document) -> None:
    for stage in (stage for stage in stages if stage.trains):
        smallest = min(config.settings.batch_size for config in stage.extremes)
        if resources.workers > smallest:
            place = document.place(("resources", "workers"))
            raise ConfigError(
                f"{place}: resources.workers: {resources.workers} workers cannot share batches of "
                f" {smallest} ({dotted(('stages', stage.name, 'batch_size'))}); at most {smallest}"
            )


def _check_tests(stages: Sequence[Stage], seeds: Sequence[int], design: SeedDesign | None, document: Document) -> None:
    """Refuse tests over seeds where no test holds."""
    if design is None:
        _check_ties(stages, seeds, document)
        return
    for stage in stages:
        tests = {"ties": stage.settings.ties == "cheapest", "search.race": stage.race is not None}
        for key in (key for key, is_asked in tests.items() if is_asked):
            path = ("stages", stage.name, *key.split("."))
            raise ConfigError(
                f"{document.place(path)}: {dotted(path)}: tests differences over independent seeds, but "
                f"{dependence_text(str(design))}; leave it out, or give seeds as a number"
            )


def _check_ties(stages: Sequence[Stage], seeds: Sequence[int], document: Document) -> None:
    for stage in (stage for stage in stages if stage.settings.ties == "cheapest"):
        path = ("stages", stage.name, "ties")
        where = f"{document.place(path)}: {dotted(path)}: 'cheapest'"
        if len(seeds) < 2:
            raise ConfigError(
                f"{where}: with one seed no two configs can be told apart, so it would be the cheapest of all; "
                "first, or two seeds and more"
            )
        if isinstance(stage.settings.select, Vote):
            raise ConfigError(
                f"{where}: a vote ranks configs against one another, and gives no seed a value to test ties by; "
                f"first, or select: {stage.settings.select.vote[0]}"
            )


def _check_trials(experiment: Experiment, document: Document) -> None:
    if (num_trials := experiment.num_trials) > MOST_TRIALS:
        what = "trials" if any(stage.folds for stage in experiment.stages) else "configs"
        seeds = f"{len(experiment.seeds):,} seeds of {num_trials // len(experiment.seeds):,} {what}"
        raise ConfigError(
            f"{document.place(('seeds',))}: seeds: {seeds} are {num_trials:,} trials; at most {MOST_TRIALS:,}"
        )
