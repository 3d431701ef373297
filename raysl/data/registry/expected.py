"""A known set that is not on this machine: its published numbers, which are enough to list trials and to plan."""

import numpy as np

from raysl.data.registry.downloads import origin_of
from raysl.data.registry.mask_sets import MASK_SETS, origin_of_masks
from raysl.data.registry.sets import KNOWN, find
from raysl.data.settings import NO_DIGEST, DataSettings, TrialData
from raysl.data.storage.decoded_cache import MaskArrays, TrainArrays
from raysl.data.storage.paths import data_home
from raysl.data.storage.scan import DataFacts


def is_missing(source: str) -> bool:
    """Return whether a source is a known set that a search would have to download, or to make from a published file."""
    return source in KNOWN and source != "digits" and find(source) is None


def expected_facts(settings: DataSettings) -> DataFacts:
    """Return the facts about a missing set: no digest of its content, and numbered classes of equal size."""
    known = KNOWN[settings.source]
    num_train, num_test = known.num_train, known.num_test
    if settings.train_fraction is not None:
        total = num_train + num_test
        num_train = int(settings.train_fraction * total + 1e-9)
        num_test = total - num_train
    each, extra = divmod(num_train, known.num_classes)
    return DataFacts(
        path=data_home() / f"{known.name}.parquet",
        digest=f"{NO_DIGEST}{known.name}",
        class_names=tuple(map(str, range(known.num_classes))),
        class_counts=() if known.masks else tuple(each + (number < extra) for number in range(known.num_classes)),
        num_train=num_train,
        num_unlabelled=known.num_unlabelled or num_train,
        num_test=num_test,
        image_size=known.image_size,
        channels=known.channels,
        masks=known.masks,
    )


def missing_text(source: str) -> str:
    """Return the message about a missing set, with what a search does to get it."""
    origin = origin_of_masks(source) if source in MASK_SETS else origin_of(source)
    return f"{source}: not on this machine, so that its trials have no ids yet; a search {origin}"


def stand_in(data: TrialData) -> TrainArrays:
    """Return arrays of a missing set's shapes; all images are views of one image of noise, which takes no memory."""
    assert data.image_size is not None, "`resolve` gave it"
    assert data.channels is not None, "`resolve` gave it"
    shape = (data.image_size, data.image_size, data.channels)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    num_train = data.num_classes * -(-data.labels // data.num_classes)
    statistics = np.full(data.channels, 0.5, np.float32)
    no_masks = np.broadcast_to(np.uint8(0), (num_train, *shape[:2]))
    masks = MaskArrays(no_masks, np.ones((num_train, data.num_classes), np.bool_)) if data.masks else None
    return TrainArrays(
        images=np.broadcast_to(image, (num_train, *shape)),
        labels=np.arange(num_train) % data.num_classes,
        unlabelled=np.broadcast_to(image, (data.unlabelled, *shape)),
        mean=statistics,
        std=statistics,
        masks=masks,
    )
