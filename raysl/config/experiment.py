"""Reads an experiment from YAML, and checks it whole before anything starts."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raysl import methods
from raysl.config.compose import Override, compose
from raysl.config.document import ConfigError, Document, Path_, dotted
from raysl.config.explain import validated
from raysl.config.space import read_space, refuse_other_grids, substitute
from raysl.errors import choices
from raysl.search.experiment import Config, Experiment, ExperimentSettings, Resources, Stage, StageSettings


def load(
    file: Path, profile: str | None = None, overrides: Sequence[str | Override] = (), variant: str = ""
) -> Experiment:
    """Read an experiment from YAML, with a profile and overrides, as text `key=value` or as they are.

    variant: what tells it from others of its name in one command.
    Raises ConfigError with the file, line, key, value and choices of everything that is wrong.
    """
    document = compose(file, profile, overrides)
    if "tables" in document.values:
        raise ConfigError(f"{document.place(('tables',))}: a table file, and not an experiment; tune and plan take it")
    refuse_other_grids(document)
    top = validated(ExperimentSettings, document.values, (), document)
    seeds = tuple(range(top.seeds)) if isinstance(top.seeds, int) else tuple(top.seeds)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{document.place(('seeds',))}: seeds: a seed is named twice: {list(seeds)}")
    for name in {"name", "grid"} & set(top.stages):
        raise ConfigError(f"{document.place(('stages', name))}: stages.{name}: a stage cannot be called {name!r}")
    stages = tuple(_read_stage(name, values, document) for name, values in top.stages.items())
    _check_order(stages, document)
    _check_workers(stages, top.resources, document)
    return Experiment(
        name=top.name,
        profile=profile or "",
        variant=variant,
        data=top.data,
        model=top.model,
        seeds=seeds,
        streams=top.streams,
        resources=top.resources,
        probes=top.probes,
        stages=stages,
        places={dotted(path): place for path, place in document.places.items()},
    )


def _read_stage(name: str, values: Mapping[str, Any], document: Document) -> Stage:
    path = ("stages", name)
    space, first = read_space(values, path, document)
    configs = []
    for point in itertools.product(*space.values()):
        params = dict(zip(space, point, strict=True))
        filled = substitute(first, params)
        settings = validated(StageSettings, filled, path, document)
        method = _read_method(filled["method"], (*path, "method"), document, methods.names())
        configs.append(Config(params, settings.model_copy(update={"method": method})))
    stage = Stage(name, space, tuple(configs))
    _check_rule(stage, document)
    return stage


def _read_method(values: Mapping[str, Any], path: Path_, document: Document, known: Sequence[str]) -> dict[str, Any]:
    """Return the settings of one of the known methods, with every default filled in."""
    name = values.get("name") if isinstance(values, Mapping) else values
    if name not in known:
        trouble = "a 'name' must be given" if name is None else f"{name!r} is no method that can stand here"
        raise ConfigError(f"{document.place(path)}: {dotted(path)}: {trouble}; {choices(str(name), known)}")
    read: dict[str, Any] = validated(methods.settings_model(str(name)), values, path, document).model_dump()
    for nested in methods.describe(str(name)).nested:
        read[nested] = _read_method(read[nested], (*path, nested), document, methods.pretexts())
    return read


def _check_rule(stage: Stage, document: Document) -> None:
    """Refuse to compare training losses over a hyperparameter that changes what the loss means."""
    if stage.select != "train_loss":
        return
    shaping = {f"method.{key}" for key in methods.loss_shaping_keys(stage.configs[0].settings.method)}
    for key in sorted(shaping & set(stage.space)):
        path = ("stages", stage.name)
        raise ConfigError(
            f"{document.place((*path, 'select'))}: {dotted((*path, 'select'))}: train_loss cannot choose over {key!r}: "
            "it changes what the training loss means, so the losses of its values "
            f"{list(stage.space[key])} are not comparable; use select: probe_accuracy"
        )


def _check_order(stages: Sequence[Stage], document: Document) -> None:
    earlier: list[str] = []
    for stage in stages:
        start = stage.start_from
        if start is not None and start not in earlier:
            path = ("stages", stage.name, "start_from")
            later = (
                "is not an earlier stage" if any(s.name == start for s in stages) else "is no stage of this experiment"
            )
            raise ConfigError(f"{document.place(path)}: {dotted(path)}: {start!r} {later}; {choices(start, earlier)}")
        if start is None and stage.configs[0].settings.freeze == "backbone":
            path = ("stages", stage.name, "freeze")
            raise ConfigError(
                f"{document.place(path)}: {dotted(path)}: 'backbone' freezes a backbone that nothing has trained; "
                f"give start_from; {choices('', earlier)}"
            )
        earlier.append(stage.name)


def _check_workers(stages: Sequence[Stage], resources: Resources, document: Document) -> None:
    for stage in stages:
        smallest = min(config.settings.batch_size for config in stage.configs)
        if resources.workers > smallest:
            place = document.place(("resources", "workers"))
            raise ConfigError(
                f"{place}: resources.workers: {resources.workers} workers cannot share batches of "
                f" {smallest} (stages.{stage.name}.batch_size); at most {smallest}"
            )
