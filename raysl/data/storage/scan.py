"""The facts about a set, and the data of a trial on it."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from raysl.data.progress import Progress
from raysl.data.registry.sets import locate
from raysl.data.sampling.subsets import assign_splits
from raysl.data.settings import DECODING, DataSettings, Labels, TrialData
from raysl.data.storage.images import Header, ImageError, headers
from raysl.data.storage.masks import masked_headers
from raysl.data.storage.parquet import TEST, TRAIN, UNLABELLED, ContentDigest, image_place, read_batches, read_labels
from raysl.data.storage.parquet import Labels as Index
from raysl.data.storage.paths import cache_home, discard, exclusive, replacing
from raysl.data.storage.shipped import carried_sources
from raysl.errors import DataError

SCAN_VERSION = 3  # increase when the same file gets another digest or other headers
SMALLEST = 4  # pixels


@dataclass(frozen=True)
class DataFacts:
    """The facts about a set under given settings.

    digest: of the whole content, 32 hex digits (`storage.parquet.ContentDigest`).
    class_counts: images of each class in the train pool, after `train_fraction`.
    num_unlabelled: size of D_u's pool: the `unlabelled` split, or the train pool if the set has no such split.
    image_size: pixels of an edge; None if images differ in size or are not square.
    channels: 3 if any image has colours, else 1.
    altered: whether any image is turned upright or flattened on white when it is decoded.
    masks: whether images have masks; class_counts is then empty.
    """

    path: Path
    digest: str
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    num_train: int
    num_unlabelled: int
    num_test: int
    image_size: int | None
    channels: int
    altered: bool = False
    masks: bool = False


@dataclass(frozen=True)
class Scan:
    """The facts that take a pass over all images."""

    digest: str
    image_size: int | None
    channels: int
    altered: bool


def inspect(settings: DataSettings, *, download: bool = True, progress: Progress | None = None) -> DataFacts:
    """Return the facts about a set; a file's images are all read the first time, later only its labels.

    Raises DataError if the set cannot be obtained, is damaged, or an image's header cannot be read.
    """
    path = locate(settings.source, download=download, progress=progress)
    index = read_labels(path)
    _check_names(index.class_names, settings.source)
    num_classes = len(index.class_names)
    splits = assign_splits(index.labels, index.splits, num_classes, settings.train_fraction)
    masks = index.mask_values is not None
    counts = [] if masks else np.bincount(index.labels[splits == TRAIN], minlength=num_classes).tolist()
    num_train = int((splits == TRAIN).sum())
    scan = _scanned(path, index, progress)
    return DataFacts(
        path=path,
        digest=scan.digest,
        class_names=index.class_names,
        class_counts=tuple(counts),
        num_train=num_train,
        num_unlabelled=int((splits == UNLABELLED).sum()) or num_train,
        num_test=int((splits == TEST).sum()),
        image_size=scan.image_size,
        channels=scan.channels,
        altered=scan.altered,
        masks=masks,
    )


def _check_names(names: Sequence[str], source: str) -> None:
    """Refuse class names that differ only in their Unicode form: one class may have become two on another system."""
    known: dict[str, str] = {}
    for name in names:
        before = known.setdefault(normalize("NFC", name), name)
        if before != name:
            raise DataError(
                f"data.source: {source}: class {name!r} is there twice, in two forms of Unicode: {before!a}, {name!a}"
            )


def resolve(settings: DataSettings, facts: DataFacts) -> TrialData:
    """Return the data of a trial, with counts instead of fractions, and absolute paths.

    A fraction that is a whole number k of per cent gives k * (N_u // 100) labels, as the papers count them (N_u:
    unlabelled images in use); any other f gives floor(f N_u). `all` gives the size of the train pool.
    Raises DataError if the set is too small for the settings, or `image_size` must be given.
    """
    unlabelled = settings.unlabelled or facts.num_unlabelled
    if unlabelled > facts.num_unlabelled:
        raise DataError(f"data.unlabelled: {unlabelled} is more than the {facts.num_unlabelled} of {settings.source}")
    if facts.num_test == 0:
        raise DataError(f"data.source: {settings.source} has no test images; data.train_fraction can set some aside")
    labels = _label_count(settings.labels, facts, unlabelled)
    _check_labels(settings, facts, labels, unlabelled)
    resolved = {
        "source": _in_any_folder(settings.source),
        "image_size": settings.image_size or _native_size(settings, facts),
        "channels": settings.channels or facts.channels,
        "labels": labels,
        "draw": "uniform" if settings.labels == "all" else settings.draw,
        "unlabelled": unlabelled,
        "decoding": DECODING if facts.altered else None,
        "masks": facts.masks or None,
    }
    given = settings.model_dump(include=set(DataSettings.model_fields))
    data = TrialData(**given | resolved, digest=facts.digest, num_classes=len(facts.class_names))
    _check_attack(data)
    return data


def has_content(path: Path, digest: str) -> bool:
    """Return whether a set's file exists and its content has that digest; all its images are read the first time."""
    try:
        return _scanned(path, read_labels(path), None).digest == digest
    except DataError:  # missing or damaged
        return False


def forget_scan(path: Path) -> None:
    """Make the next `inspect` read all images of a file again."""
    discard(_scan_file(path))


def _in_any_folder(source: str) -> str:
    if carried := carried_sources().get(source):
        return carried.source
    kind, colon, place = source.partition(":")
    return f"{kind}:{Path(os.path.expanduser(place)).absolute()}" if colon else kind


def _label_count(labels: Labels, facts: DataFacts, unlabelled: int) -> int:
    if labels == "all":
        return facts.num_train
    if isinstance(labels, int):
        return labels
    percent = _whole_percent(labels)
    return int(labels * unlabelled + 1e-9) if percent is None else percent * (unlabelled // 100)


def _whole_percent(fraction: float) -> int | None:
    percent = round(fraction * 100)
    return percent if abs(fraction * 100 - percent) < 1e-9 else None


def _asked(labels: Labels, count: int, unlabelled: int) -> str:
    """Return the setting `labels` as text, with the count that a fraction or `all` gives."""
    if labels == "all":
        return f"all ({count} labelled training images)"
    if isinstance(labels, int):
        return str(labels)
    percent = _whole_percent(labels)
    rule = f"floor({labels} x {unlabelled})" if percent is None else f"{percent} x floor({unlabelled} / 100)"
    return f"{labels} of {unlabelled} unlabelled images ({rule} = {count})"


def _check_labels(settings: DataSettings, facts: DataFacts, labels: int, unlabelled: int) -> None:
    asked = _asked(settings.labels, labels, unlabelled)
    if labels > facts.num_train:
        raise DataError(
            f"data.labels: {asked} is more than the {facts.num_train} labelled training images of {settings.source}"
        )
    if facts.masks:
        return
    if labels < len(facts.class_names):
        raise DataError(
            f"data.labels: {asked} is less than one for each of the {len(facts.class_names)} classes of "
            f"{settings.source}; at most {facts.num_train}"
        )
    if settings.draw == "balanced" and settings.labels != "all":
        _check_balance(asked, facts, labels)


def _check_balance(asked: str, facts: DataFacts, labels: int) -> None:
    """Refuse a count that cannot be drawn with class counts that differ by at most one."""
    each, extra = divmod(labels, len(facts.class_names))
    smallest = min(facts.class_counts)
    richer = sum(count > each for count in facts.class_counts)
    if smallest < each or richer < extra:
        most = smallest * len(facts.class_names) + sum(count > smallest for count in facts.class_counts)
        poorest = facts.class_names[facts.class_counts.index(smallest)]
        raise DataError(
            f"data.labels: {asked} cannot be drawn with data.draw balanced: class {poorest!r} has {smallest} training "
            f"images; at most {most}, or data.draw uniform"
        )


def _check_attack(data: TrialData) -> None:
    assert data.image_size is not None, "it is resolved"
    if data.attack and data.masks:
        raise DataError(f"data.attack: {data.attack.name} takes a pixel for each class, and these images have masks")
    if data.attack and data.num_classes > data.image_size**2:
        raise DataError(
            f"data.attack: {data.attack.name} takes a pixel for each of the {data.num_classes} classes, and images of "
            f"{data.image_size} x {data.image_size} have {data.image_size**2}; data.image_size must be at least "
            f"{math.isqrt(data.num_classes - 1) + 1}"
        )


def _native_size(settings: DataSettings, facts: DataFacts) -> int:
    if facts.image_size is None or facts.image_size < SMALLEST:
        raise DataError(
            f"data.image_size: not given, and the images of {settings.source} differ in size, are not square or are "
            f"smaller than {SMALLEST} pixels; give the size that all are resized to, in pixels"
        )
    return facts.image_size


def _scanned(path: Path, index: Index, progress: Progress | None) -> Scan:
    """Return the scan of a file; it is cached until the file changes."""
    kept = _scan_file(path)
    scan = _kept(kept)  # checked before the lock, which a read-only cache cannot hold
    if scan is None:
        with exclusive(kept):
            scan = _kept(kept)  # another process may have made it meanwhile
            if scan is None:
                scan = _scan(path, index, progress)
                _keep(kept, scan)
    return scan


def _keep(kept: Path, scan: Scan) -> None:
    try:
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps(asdict(scan)))
    except OSError as error:
        raise DataError(
            f"cannot write to {kept.parent}: {error.strerror}; set RAYSL_CACHE to a folder with room"
        ) from error


def _scan_file(path: Path) -> Path:
    stat = path.stat()
    # Size and time alone may be those of an earlier file: `cp -p` preserves times, and sets may be of equal size.
    facts = [SCAN_VERSION, str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]
    name = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()
    return cache_home() / "scans" / f"{name}.json"


def _kept(kept: Path) -> Scan | None:
    try:
        return Scan(**json.loads(kept.read_text()))
    except (OSError, ValueError, TypeError):  # not there yet, or damaged
        return None


def _scan(path: Path, index: Index, progress: Progress | None) -> Scan:
    digest = ContentDigest(index)
    kinds: set[Header] = set()
    done = 0
    for batch in read_batches(path):
        digest.update(batch)
        try:
            kinds |= _headers(batch, index, done)
        except ImageError as error:
            raise DataError(f"{image_place(path, error.row)} {error.wrong}") from error
        done += batch.num_rows
        if progress:
            progress(f"inspect {path.name}", done, None)
    edges = {edge for kind in kinds for edge in (kind.width, kind.height)}
    size = edges.pop() if len(edges) == 1 else None
    channels = max((kind.channels for kind in kinds), default=1)
    return Scan(digest.hexdigest(), size, channels, any(kind.altered for kind in kinds))


def _headers(batch: Any, index: Index, first_row: int) -> set[Header]:
    images = batch.column("image").to_pylist()
    if index.mask_values is None:
        return headers(images, first_row)
    return masked_headers(images, batch.column("mask").to_pylist(), index.mask_values, first_row)
