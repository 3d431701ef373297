"""Checks, before anything is trained, that an experiment and its data fit together."""

import math

from raysl import methods
from raysl.data.settings import TrialData
from raysl.errors import UserError, dotted
from raysl.models.settings import DENSE, SMALLEST_IMAGE
from raysl.results.metrics import ACCURACY, MEAN_IOU
from raysl.search.experiment import Config, Experiment, Stage
from raysl.search.trials import Datas

FOLD_LABELS = 2  # images of each class that the probe's cross-validation needs


def check(experiment: Experiment, datas: Datas) -> None:
    """Raise UserError, with the place, if a model or a stage cannot be trained or selected with these data."""
    for stage in experiment.stages:
        data = datas[stage.name]
        _check_image_size(experiment, data)
        _check_channels(experiment, stage, datas)
        _check_targets(experiment, stage, data)
        _check_rule(experiment, stage, data)
        _check_cross_fit(experiment, stage, datas)
        for config in stage.extremes if stage.trains else ():
            _check_batches(experiment, stage, config, data)


def cautions(experiment: Experiment, datas: Datas) -> list[str]:
    """Return cautions about settings that can be trained but whose results mean little, each with its place."""
    return [text for stage in experiment.stages if (text := _probed_on_trained(experiment, stage, datas))]


def _probed_on_trained(experiment: Experiment, stage: Stage, datas: Datas) -> str:
    """Return a caution if a stage's configs are compared on labels that they were trained on, else an empty string."""
    trained = _trained_on(experiment, stage, datas)
    if not stage.compared_metrics or not trained or not stage.space:
        return ""
    rule = stage.compared_metrics[0]
    key = _key_of(stage, rule)
    return (
        f"{experiment.place(key)}: {key}: {rule} is measured on the labelled training images, on which "
        f"{' and '.join(trained)} trained: it comes near 100 % for every config, and where they tie "
        "nothing is chosen; where the searched keys leave the loss what it is, train_loss compares them; "
        "{cross_fit: 4} compares any, and trains each config 4 times more"
    )


def _trained_on(experiment: Experiment, stage: Stage, datas: Datas) -> list[str]:
    """Return the stages, this one included, that have trained the stage's features on its labelled images."""
    sees = [one for one in experiment.chain(stage) if one.trains and "labelled" in experiment.streams_of(one)]
    return [one.name for one in sees if datas[one.name].digest == datas[stage.name].digest]


def _check_cross_fit(experiment: Experiment, stage: Stage, datas: Datas) -> None:
    """Refuse folds of which a class has no image, and start weights that have seen the labels of a fold."""
    data, folds = datas[stage.name], stage.folds
    if folds is None:
        return
    key = dotted(("stages", stage.name, "select"))
    where = f"{experiment.place(key)}: {key}"
    if earlier := [name for name in _trained_on(experiment, stage, datas) if name != stage.name]:
        raise UserError(
            f"{where}: {stage.select} leaves labels out of {stage.name}, which starts from a model that {earlier[-1]} "
            "has trained on all of them; a rule without labels, such as rankme, or train_loss"
        )
    if data.labels < folds:
        raise UserError(
            f"{where}: {stage.select}: {data.labels} labelled training images are fewer than one for each fold; at "
            f"most {data.labels} folds"
        )
    each = data.labels // data.num_classes
    if data.draw == "balanced" and each < folds:
        fewer = f"at most {each} folds, or " if each > 1 else ""
        raise UserError(
            f"{where}: {stage.select}: {data.labels} labels give a class {each} labelled training images, fewer than "
            f"one for each fold; {fewer}at least {folds * data.num_classes} labels"
        )


def _key_of(stage: Stage, rule: str) -> str:
    """Return the key that names a rule which a stage compares."""
    return dotted(("stages", stage.name, *(("select",) if stage.select == rule else ("search", "objectives"))))


def _check_channels(experiment: Experiment, stage: Stage, datas: Datas) -> None:
    start = stage.start_from
    if start is None or datas[start].channels == datas[stage.name].channels:
        return
    key = dotted(("stages", stage.name, "data"))
    raise UserError(
        f"{experiment.place(key)}: {key}: images with {datas[stage.name].channels} channel(s), and the encoder of "
        f"{start} takes {datas[start].channels}; data.channels: {datas[start].channels} would do"
    )


def _check_targets(experiment: Experiment, stage: Stage, data: TrialData) -> None:
    """Refuse a method of classes for images with masks, the other way round, and rules of what is not measured."""
    facts = methods.describe(stage.settings.method["name"])
    learns_masks = facts.level == "pixel"
    if "labelled" in facts.streams and learns_masks != bool(data.masks):
        has, learns = ("masks", "classes") if data.masks else ("classes", "masks")
        known = methods.segmenters() if data.masks else methods.classifiers()
        key = dotted(("stages", stage.name, "method", "name"))
        raise UserError(
            f"{experiment.place(key)}: {key}: {facts.name} learns {learns}, and the images of {data.source} have "
            f"{has}; methods that learn {has}: {', '.join(known)}"
        )
    if not facts.trains and data.masks:
        key = dotted(("stages", stage.name, "method", "name"))
        raise UserError(f"{experiment.place(key)}: {key}: {facts.name} probes classes, and these images have masks")
    if learns_masks:
        _check_maps(experiment, facts.name)
    _check_measured(experiment, stage, data)


def _check_measured(experiment: Experiment, stage: Stage, data: TrialData) -> None:
    """Refuse a rule that compares what is not measured; a pretext stage on masks has no metric."""
    measured = () if data.masks else (ACCURACY.probe,)
    if stage.settings.method["name"] in methods.segmenters():
        measured = (MEAN_IOU.probe,)
    for rule in stage.compared_metrics:
        if rule not in measured:
            key = _key_of(stage, rule)
            others = ", ".join([*measured, "train_loss"])
            raise UserError(f"{experiment.place(key)}: {key}: {rule} is not measured here; choices: {others}")


def _check_maps(experiment: Experiment, method: str) -> None:
    """Refuse a model without feature maps."""
    if experiment.model.backbone not in DENSE:
        raise UserError(
            f"{experiment.place('model.backbone')}: model.backbone: {method} needs feature maps, which "
            f"{experiment.model.backbone} does not give; choices: {', '.join(DENSE)}"
        )
    if experiment.model.features is not None:
        raise UserError(
            f"{experiment.place('model.features')}: model.features: {experiment.model.features}: {method} works on "
            "feature maps, before the pooling; null leaves the layer after it out"
        )


def _check_image_size(experiment: Experiment, data: TrialData) -> None:
    backbone = experiment.model.backbone
    smallest, edge = SMALLEST_IMAGE.get(backbone, 1), data.image_size
    assert edge is not None, "the data are resolved"
    if edge < smallest:
        raise UserError(
            f"{experiment.place('model.backbone')}: model.backbone: {backbone} takes images from {smallest} x "
            f"{smallest} pixels on, and these have {edge} x {edge}; data.image_size: {smallest} would do"
        )


def _check_rule(experiment: Experiment, stage: Stage, data: TrialData) -> None:
    if (
        not stage.compared_metrics
        or data.masks
        or stage.settings.probe == "clustering"
        or data.draw != "balanced"
        or data.labels >= FOLD_LABELS * data.num_classes
    ):
        return
    key = dotted(("stages", stage.name, "select"))
    other = "select: train_loss" if stage.trains else "probe: clustering"
    raise UserError(
        f"{experiment.place(key)}: {key}: {stage.compared_metrics[0]} is cross-validated on the labelled "
        f"training images, and {data.labels} labels give "
        f"a class fewer than {FOLD_LABELS}; at least {FOLD_LABELS * data.num_classes} labels, or {other}"
    )


def _check_batches(experiment: Experiment, stage: Stage, config: Config, data: TrialData) -> None:
    """Refuse a batch of one image of a stream, which batch normalisation cannot take."""
    if config.settings.steps_per_epoch is not None:
        return  # all batches are full
    covers_unlabelled = "unlabelled" in methods.describe(config.settings.method["name"]).streams
    batch_size, ratio = config.settings.batch_size, config.settings.unlabelled_ratio
    for images in [data.unlabelled] if covers_unlabelled else _num_labelled(stage, data):
        fewest = images // math.ceil(images / (ratio * batch_size))
        if math.ceil(fewest / ratio) < 2:
            key, kind = dotted(("stages", stage.name, "batch_size")), "image" if ratio == 1 else "labelled image"
            raise UserError(
                f"{experiment.place(key)}: {key}: {images} images in batches of at most {ratio * batch_size} leave one "
                f"of a single {kind}; {batch_size + 1} would do"
            )


def _num_labelled(stage: Stage, data: TrialData) -> list[int]:
    """Return how many labelled images a stage's trials may train on: all, or those without a fold."""
    parts = {len(range(number, data.labels, stage.folds)) for number in range(stage.folds)} if stage.folds else set()
    return [data.labels, *(data.labels - part for part in sorted(parts))]
