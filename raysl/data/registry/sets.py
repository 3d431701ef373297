"""Locate a set's Parquet file; a missing one is downloaded, made or converted."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raysl.data.progress import Progress
from raysl.data.registry.downloads import download_set
from raysl.data.registry.folders import convert_folder
from raysl.data.registry.folders_masks import convert_masked, has_masks
from raysl.data.registry.mask_sets import MASK_SETS, make_mask_set
from raysl.data.registry.shards import convert_parquet
from raysl.data.sampling.subsets import train_split
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import SPLITS, Row, write
from raysl.data.storage.paths import cache_home, data_home, data_homes, exclusive, given_home
from raysl.data.storage.shipped import carried_path, carried_sources
from raysl.errors import DataError, choices

__all__ = ["KNOWN", "KnownSet", "cache_home", "data_home", "find", "locate"]

DIGITS_TRAIN = 1297
IMAGENET_TERMS = "none stated; ImageNet's terms: non-commercial research and education"
VOC_SBD = "PASCAL VOC 2012 (Everingham 2015) with SBD (Hariharan 2011)"
MEDMNIST = "MedMNIST v2 (Yang 2023)"  # its licences as the medmnist package 3.0.2 states them (medmnist/info.py)


@dataclass(frozen=True)
class KnownSet:
    """A set that raysl can get by its name.

    num_unlabelled: None if D_u is the training images themselves.
    image_size: pixels of an edge; None if images differ in size.
    masks: whether images have masks, and not classes.
    """

    name: str
    num_classes: int
    num_train: int
    num_unlabelled: int | None
    num_test: int
    image_size: int | None
    channels: int
    source: str
    licence: str
    masks: bool = False


KNOWN = {
    known.name: known
    for known in (
        KnownSet("digits", 10, DIGITS_TRAIN, None, 500, 8, 1, "scikit-learn (Alpaydin 1998)", "CC BY 4.0"),
        KnownSet("fashion_mnist", 10, 60_000, None, 10_000, 28, 1, "Zalando (Xiao 2017)", "MIT"),
        KnownSet("mnist", 10, 60_000, None, 10_000, 28, 1, "LeCun, Cortes, Burges 1998", "CC BY-SA 3.0"),
        KnownSet("cifar10", 10, 50_000, None, 10_000, 32, 3, "Krizhevsky 2009", "none stated; cite the report"),
        KnownSet("cifar100", 100, 50_000, None, 10_000, 32, 3, "Krizhevsky 2009", "none stated; cite the report"),
        KnownSet("svhn", 10, 73_257, None, 26_032, 32, 3, "Netzer 2011", "non-commercial use"),
        KnownSet("svhn_extra", 10, 73_257, 604_388, 26_032, 32, 3, "Netzer 2011, with `extra`", "non-commercial use"),
        KnownSet("stl10", 10, 5_000, 100_000, 8_000, 96, 3, "Coates 2011, from ImageNet", "none stated; for research"),
        KnownSet("malaria", 2, 13_779, None, 13_779, None, 3, "NIH/NLM (Rajaraman 2018)", "none stated; public"),
        KnownSet("tiny_imagenet", 200, 100_000, None, 10_000, 64, 3, "CS231n (Le & Yang 2015)", IMAGENET_TERMS),
        KnownSet("pathmnist", 9, 89_996, None, 7_180, 28, 3, MEDMNIST, "CC BY 4.0"),
        KnownSet("dermamnist", 7, 7_007, None, 2_005, 28, 3, MEDMNIST, "CC BY-NC 4.0"),
        KnownSet("octmnist", 4, 97_477, None, 1_000, 28, 1, MEDMNIST, "CC BY 4.0"),
        KnownSet("bloodmnist", 8, 11_959, None, 3_421, 28, 3, MEDMNIST, "CC BY 4.0"),
        KnownSet("camvid_seg", 11, 468, None, 233, None, 3, "CamVid (Brostow 2008)", "CC BY-NC 4.0", masks=True),
        KnownSet("voc2012_seg", 21, 10_582, None, 1_449, None, 3, VOC_SBD, "Flickr's terms; for research", masks=True),
        KnownSet(
            "cityscapes_seg", 19, 2_975, None, 500, None, 3, "CityScapes (Cordts 2016)", "non-commercial", masks=True
        ),
        KnownSet("isic2017_seg", 2, 2_000, None, 600, None, 3, "ISIC 2017, part 1 (Codella 2018)", "CC0", masks=True),
    )
}


def locate(source: str, *, download: bool = True, progress: Progress | None = None) -> Path:
    """Return the Parquet file of a source: `digits`, a known set, `parquet:PATH` or `folder:PATH`.

    `parquet:PATH` is a file or a folder of shards; other forms than raysl's own are converted into the cache.
    A known set is looked for in $RAYSL_DATA and in the cache. If neither has it, it is made from the file that its
    authors publish, which is looked for in the same folders and downloaded if they lack it.
    For a source that lies on another machine, the file is the shipped one.
    Raises DataError for a source that is unknown, missing, or cannot be downloaded.
    """
    if carried := carried_sources().get(source):
        return carried_path(carried.digest)
    kind, colon, place = source.partition(":")
    if colon and kind == "parquet":
        return convert_parquet(_existing(source, Path(place)), progress)
    if colon and kind == "folder":
        folder = _existing(source, Path(place))
        return (convert_masked if has_masks(folder) else convert_folder)(folder, progress)
    if source not in KNOWN:
        raise DataError(f"data.source: {source!r} is no known set; {choices(source, KNOWN)}, parquet:PATH, folder:PATH")
    found = find(source)
    if found is None and source != "digits" and not download:
        raise DataError(
            f"data.source: {source}.parquet is not under {given_home() or '$RAYSL_DATA (not set)'} "
            f"nor {cache_home() / 'data'}, and downloading is switched off"
        )
    return found or _obtain(KNOWN[source], progress)


def locate_content(source: str, digest: str, *, download: bool = True, progress: Progress | None = None) -> Path:
    """Return the Parquet file of a set's content: the shipped one if it is here, else that of its source."""
    carried = carried_path(digest)
    return carried if carried.is_file() else locate(source, download=download, progress=progress)


def find(name: str) -> Path | None:
    """Return the Parquet file of a known set; None if it is not on this machine."""
    folders = [cache_home() / "data"] if name == "digits" else data_homes()
    paths = (folder / f"{name}.parquet" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def _existing(source: str, given: Path) -> Path:
    path = Path(os.path.expanduser(given)).absolute()
    if not os.path.exists(path):
        raise DataError(f"data.source: {source!r}: {path} does not exist")
    return path


def _obtain(known: KnownSet, progress: Progress | None) -> Path:
    home = cache_home() / "data" if known.name == "digits" else data_home()
    path = home / f"{known.name}.parquet"
    with exclusive(path):
        if path.is_file():  # another process was faster
            return path
        if known.name == "digits":
            names = [str(digit) for digit in range(known.num_classes)]
            try:
                write(path, _digits(), names, known.source, known.licence)
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else error
                raise DataError(f"cannot write to {home}: {reason}; set RAYSL_CACHE to a folder with room") from error
        elif known.name in MASK_SETS:
            counts = (known.num_train, known.num_test)
            make_mask_set(known.name, path, known.source, known.licence, counts, progress)
        else:
            download_set(known.name, path, known.source, known.licence, progress)
    return path


def _digits() -> Iterator[Row]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    pixels = np.rint(digits.images * 255 / 16).astype(np.uint8)
    trains = train_split(labels, len(digits.target_names), DIGITS_TRAIN)
    for image, label, train in zip(pixels, labels, trains, strict=True):
        yield Row(encode(image), int(label), SPLITS[0 if train else 1])
