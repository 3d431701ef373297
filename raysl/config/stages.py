"""Checks of the stages of an experiment, each by itself and against the others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysl import methods
from raysl.config.document import ConfigError, Document, Path_, dotted
from raysl.config.searches import at
from raysl.errors import choices, quoted
from raysl.results.criteria import CRITERION_NAMES
from raysl.results.metrics import METRICS
from raysl.search.experiment import Stage
from raysl.search.stage_settings import FrozenStage, StageSettings, TrainedStage

# The keys of a stage that only training takes.
TRAINING = (
    "epochs", "batch_size", "unlabelled_ratio", "steps_per_epoch", "optimizer", "schedule", "precision", "freeze",
    "milestones", "criteria", "search", "stop",
)  # fmt: skip

CROSS_FITTED_PROBES = ("linear_svm", "knn", "classifier")


def settings_kind(values: Mapping[str, Any], path: Path_, document: Document) -> type[StageSettings]:
    """Return the settings model of a stage, by its method.

    Raises ConfigError if a stage that trains nothing has keys of training.
    """
    method = values.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    if name not in methods.names() or methods.describe(str(name)).trains:
        return TrainedStage
    given = {key: values[key] for key in TRAINING if values.get(key) is not None}
    lines = [
        f"{at((*path, key), document)}: {quoted(value)}: {name} trains nothing; leave it out"
        for key, value in given.items()
    ]
    if values.get("select") == "train_loss":
        lines.append(
            f"{at((*path, 'select'), document)}: 'train_loss': {name} trains nothing, so there is none; "
            f"use {METRICS[0].probe}, the default"
        )
    if lines:
        raise ConfigError("\n".join(lines))
    return FrozenStage


def check_rules(stage: Stage, document: Document) -> None:
    """Refuse settings of a stage that its method, its data or its search space does not allow."""
    path = ("stages", stage.name)
    for key, name in _compared_losses(stage):
        _check_comparable(stage, (*path, *key), name, document)
    _check_pixel_stays(stage, document)
    _check_ratio(stage, document)
    _check_segmentation(stage, document)
    _check_cross_fit(stage, document)
    if stage.settings.probe == "classifier" and stage.trains:
        if "labelled" not in methods.describe(stage.settings.method["name"]).streams:
            where = (*path, "probe")
            raise ConfigError(
                f"{at(where, document)}: {stage.settings.method['name']} has no classifier; "
                "linear_svm, knn or clustering, or a later stage of method supervised"
            )
        for rule in stage.compared_metrics:
            where = (*path, "select")
            raise ConfigError(
                f"{at(where, document)}: {rule} is cross-validated, and this stage's "
                "classifier has been trained on all labelled training images; train_loss, probe: linear_svm or knn, or "
                "{cross_fit: 4}, which trains each config again without a fold of these"
            )


def _check_cross_fit(stage: Stage, document: Document) -> None:
    """Refuse to leave labels out of a training that sees none, and a probe that predicts no class of an image."""
    if stage.folds is None:
        return
    name, path = stage.settings.method["name"], ("stages", stage.name)
    where = at((*path, "select"), document)
    if "labelled" not in methods.describe(name).streams:
        raise ConfigError(
            f"{where}: {name} sees no labels, so none can be left out of its training; {METRICS[0].probe} is "
            "cross-validated on the labelled training images as it is"
        )
    if stage.settings.probe not in CROSS_FITTED_PROBES:
        raise ConfigError(
            f"{at((*path, 'probe'), document)}: {stage.settings.probe!r}: predicts no class of an image that was left "
            f"out of the training (select); choices: {', '.join(CROSS_FITTED_PROBES)}"
        )


def _check_segmentation(stage: Stage, document: Document) -> None:
    """Refuse a probe that does not measure what a method of masks learns, and this probe for other methods."""
    name = stage.settings.method["name"]
    is_asked, segments = stage.settings.probe == "segmentation", name in methods.segmenters()
    if is_asked == segments:
        return
    where = at(("stages", stage.name, "probe"), document)
    if segments:
        raise ConfigError(f"{where}: {stage.settings.probe!r}: {name} learns masks, which only 'segmentation' measures")
    known = ", ".join(methods.segmenters())
    raise ConfigError(f"{where}: 'segmentation': {name} learns no masks; methods that do: {known}")


def _check_pixel_stays(stage: Stage, document: Document) -> None:
    """Refuse views that may move or crop the pixel that the attack writes into labelled images."""
    if stage.data.attack is None:
        return
    name = stage.settings.method["name"]
    if not methods.shows_labelled_as_they_are(name):
        where = ("stages", stage.name, "method", "name")
        raise ConfigError(
            f"{at(where, document)}: {name!r} augments labelled images, and so moves the pixel that data.attack "
            "writes into them; leave the attack out, or take supervised or semi"
        )
    for config in stage.extremes:
        if (views := config.settings.method.get("views", "none")) != "none":
            where = ("stages", stage.name, "method", "views")
            raise ConfigError(
                f"{at(where, document)}: {views!r} may cut off the pixel that data.attack writes into labelled "
                "images; none, or leave the attack out"
            )


def _compared_losses(stage: Stage) -> Iterator[tuple[Path_, str]]:
    """Yield the keys of a stage by which training losses are compared, each with its value."""
    if stage.select == "train_loss":
        yield ("select",), "train_loss"
    if "train_loss" in stage.settings.search.objectives:
        yield ("search", "objectives"), "train_loss"
    if stage.settings.stop is not None:
        yield ("stop",), stage.settings.stop.scheduler


def _check_comparable(stage: Stage, where: Path_, name: str, document: Document) -> None:
    """Refuse to compare training losses over a hyperparameter that changes what the loss means."""
    shaping = {f"method.{key}" for key in methods.loss_shaping_keys(stage.settings.method)}
    rules = f"{METRICS[0].probe}, or a criterion without labels, such as {CRITERION_NAMES[0]}"
    other = {"select": f"use select: {rules}", "objectives": f"use {rules}"}.get(
        where[-1], "leave it out, and every trial is trained to its end"
    )
    for key in sorted(shaping & set(stage.space)):
        raise ConfigError(
            f"{at(where, document)}: {name} cannot choose over {key!r}: it changes what the "
            f"training loss means, so the losses of its values ({stage.space[key]}) are not comparable; {other}"
        )


def _check_ratio(stage: Stage, document: Document) -> None:
    ratio, name = stage.settings.unlabelled_ratio, stage.settings.method["name"]
    if ratio != 1 and len(streams := methods.describe(name).streams) < 2:
        where = ("stages", stage.name, "unlabelled_ratio")
        raise ConfigError(f"{at(where, document)}: {ratio}: {name} takes {streams[0]} images alone; leave it out")


def check_stages(stages: Sequence[Stage], document: Document, *, has_weights: bool = False) -> None:
    """Refuse a stage whose milestones cannot be reached, or whose start is missing, has no model or lacks the epoch.

    has_weights: whether backbones start from given weights, so that a stage from scratch may freeze its own.
    """
    earlier: dict[str, Stage] = {}
    for stage in stages:
        _check_milestones(stage, document)
        if stage.start_from is None:
            _check_from_scratch(stage, earlier, document, has_weights)
            _check_classifier(stage, None, document)
        elif stage.start_from not in earlier:
            where = ("stages", stage.name, "start_from")
            later = (
                "is not an earlier stage"
                if any(other.name == stage.start_from for other in stages)
                else "is no stage of this experiment"
            )
            raise ConfigError(
                f"{at(where, document)}: {stage.start_from!r} {later}; {choices(stage.start_from, earlier)}"
            )
        else:
            _check_has_model(stage, earlier[stage.start_from], document)
            _check_start_epoch(stage, earlier[stage.start_from], document)
            _check_classifier(stage, earlier[stage.start_from], document)
        earlier[stage.name] = stage


def _check_has_model(stage: Stage, start: Stage, document: Document) -> None:
    if not start.trains:
        raise ConfigError(
            f"{at(('stages', stage.name, 'start_from'), document)}: {start.name} trains nothing and has no model of "
            f"its own; start_from: {start.start_from}, which it starts from itself"
        )


def _check_from_scratch(stage: Stage, earlier: dict[str, Stage], document: Document, has_weights: bool) -> None:
    if not stage.trains and not has_weights:
        name = stage.settings.method["name"]
        raise ConfigError(
            f"{at(('stages', stage.name, 'start_from'), document)}: must be given: {name} trains nothing, and probes "
            f"what an earlier stage has learnt (or model.weights); {choices('', earlier)}"
        )
    for key, trouble in (
        ("freeze", "'backbone' freezes a backbone that nothing has trained"),
        ("start_epoch", "there is no stage whose epoch it could be"),
    ):
        where = ("stages", stage.name, key)
        if getattr(stage.settings, key) not in (None, "none") and not (key == "freeze" and has_weights):
            raise ConfigError(f"{at(where, document)}: {trouble}; give start_from; {choices('', earlier)}")


def _check_classifier(stage: Stage, start: Stage | None, document: Document) -> None:
    """Refuse to measure the classifier of a start that has none, or one of other classes."""
    if stage.trains or stage.settings.probe != "classifier":
        return
    where = at(("stages", stage.name, "probe"), document)
    if start is None or (method := start.settings.method["name"]) not in methods.classifiers():
        whose = "model.weights" if start is None else f"{start.name} ({method})"
        raise ConfigError(
            f"{where}: 'classifier': {whose} has no classifier; linear_svm, knn or clustering, or start_from a stage "
            f"of one of {', '.join(methods.classifiers())}"
        )
    if stage.data.source != start.data.source:
        raise ConfigError(
            f"{where}: 'classifier': that of {start.name} was trained on {start.data.source}, and this stage has "
            f"{stage.data.source}, with classes of its own; linear_svm, knn or clustering"
        )


def _check_milestones(stage: Stage, document: Document) -> None:
    where = ("stages", stage.name, "milestones")
    fewest = min(config.settings.epochs for config in stage.extremes)
    for epoch in stage.settings.milestones:
        if epoch > fewest:
            raise ConfigError(f"{at(where, document)}: {epoch} is after the end of {fewest} epochs; at most {fewest}")


def _check_start_epoch(stage: Stage, earlier: Stage, document: Document) -> None:
    ends = {config.settings.epochs for config in earlier.extremes}
    # If epochs are searched, one config's last epoch is in the middle of another's training.
    milestones = earlier.settings.milestones
    kept = {*milestones, *ends} if len(ends) == 1 else {epoch for epoch in milestones if epoch < min(ends)}
    for config in stage.extremes:
        epoch = config.settings.start_epoch
        if epoch is not None and epoch not in kept:
            where = ("stages", stage.name, "start_epoch")
            after = f"{', '.join(map(str, sorted(kept)))} epochs" if kept else "the last epoch only"
            raise ConfigError(
                f"{at(where, document)}: {epoch} is no milestone of {earlier.name}, whose model is "
                f"kept after {after}; {dotted(('stages', earlier.name, 'milestones'))} can name it"
            )
