"""Tiny ImageNet (Le & Yang 2015): 200 classes of ImageNet at 64 x 64, from the archive of Stanford's CS231n.

Its validation images are the test set here, as in the literature: the labels of its own test images were never
published, and those images are left out. JPEG files are stored as they are; the gray ones become RGB when they are
decoded.
"""

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from raysl.data.progress import Progress, reported
from raysl.data.registry.archives import Archive
from raysl.data.storage.parquet import Row, write
from raysl.errors import DataError

ARCHIVE = Archive(
    ("https://cs231n.stanford.edu/tiny-imagenet-200.zip",),
    "tiny-imagenet-200.zip",
    "md5",
    # Not from Stanford: Avalanche (ContinualAI/avalanche, avalanche/benchmarks/datasets/tiny_imagenet/tiny_imagenet.py)
    # and other loaders record it for this file, which they fetch over http.
    "90528d7ca1a48142e341f4ef8d21d0de",
)
ROOT = "tiny-imagenet-200"
CLASSES = 200
TRAIN_EACH, TEST_EACH = 500, 50  # images of a class


class _Image(NamedTuple):
    name: str
    wnid: str
    split: str


def write_tiny_imagenet(archive: Path, path: Path, source: str, licence: str, progress: Progress | None = None) -> None:
    """Write the archive's labelled images to `path`; classes are in the order of their WordNet ids.

    Raises DataError if the archive's content is not the published one.
    """
    with zipfile.ZipFile(archive) as files:
        wnids = sorted(_lines(files, "wnids.txt"))
        images = [*_train_images(files), *_test_images(files)]
        _check_counts(images, wnids)
        rows = reported(_rows(files, images, wnids), "read tiny_imagenet", len(images), progress)
        source = f"{source}; the validation images are the test set"
        write(path, rows, _class_names(files, wnids), source, licence)


def _lines(files: zipfile.ZipFile, name: str) -> list[str]:
    return files.read(f"{ROOT}/{name}").decode().strip().splitlines()


def _train_images(files: zipfile.ZipFile) -> Iterator[_Image]:
    """Yield the images of train/WNID/images, in the order of their names."""
    for name in sorted(files.namelist()):
        match name.split("/"):
            case [root, "train", wnid, "images", file] if root == ROOT and file.endswith(".JPEG"):
                yield _Image(name, wnid, "train")


def _test_images(files: zipfile.ZipFile) -> Iterator[_Image]:
    """Yield the images of val/images in the order of val_annotations.txt, whose lines are file, id and a box."""
    for line in _lines(files, "val/val_annotations.txt"):
        file, wnid, *_ = line.split("\t")
        yield _Image(f"{ROOT}/val/images/{file}", wnid, "test")


def _check_counts(images: Sequence[_Image], wnids: Sequence[str]) -> None:
    counts = Counter((image.split, image.wnid) for image in images)
    expected = {(split, wnid): each for split, each in (("train", TRAIN_EACH), ("test", TEST_EACH)) for wnid in wnids}
    if len(wnids) != CLASSES or counts != expected:
        splits = Counter(image.split for image in images)
        raise DataError(
            f"{ARCHIVE.name} holds {splits['train']} training and {splits['test']} validation images of {len(wnids)} "
            f"classes; expected {TRAIN_EACH} and {TEST_EACH} of each of {CLASSES}"
        )


def _class_names(files: zipfile.ZipFile, wnids: Sequence[str]) -> list[str]:
    """Return the first word of each class; if classes share it, their WordNet ids are added."""
    words = {wnid: text for wnid, _, text in (line.partition("\t") for line in _lines(files, "words.txt"))}
    first = [words[wnid].split(",")[0].strip() for wnid in wnids]
    shared = {name for name, count in Counter(first).items() if count > 1}
    return [f"{name} ({wnid})" if name in shared else name for name, wnid in zip(first, wnids, strict=True)]


def _rows(files: zipfile.ZipFile, images: Sequence[_Image], wnids: Sequence[str]) -> Iterator[Row]:
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    for name, wnid, split in images:
        yield Row(files.read(name), labels[wnid], split)
