"""Parquet files of other programs: HuggingFace's image structs and class labels, and folders of shards.

A file in raysl's own form is used as it is. Any other is converted to it in the cache, as folders of images are.
The split of a row is in its column `split` or, without one, in its file's name (`train-00000-of-00002.parquet`,
`test/0000.parquet`). Columns of images and labels that are not called `image` and `label` are found through
HuggingFace's metadata. Ambiguous files are refused.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from raysl.data.progress import Progress, reported
from raysl.data.registry.file_kinds import entries, is_image, named, shown
from raysl.data.registry.split_names import NO_VALIDATION, is_validation, split_of, words
from raysl.data.storage.parquet import COLUMNS, MASKED, SPLITS, Row, write
from raysl.data.storage.parquet_files import check_rows, opened, rows_at_once
from raysl.data.storage.paths import cache_home, exclusive
from raysl.data.storage.schema_metadata import class_names_of, features_of, metadata_of
from raysl.errors import DataError, choices

SHARDS_VERSION = 1  # increase when the same files give another file
DEEPEST = 8  # folders in one another; more means a link to a folder above
NUMBERED = re.compile(r"(.*?)-?(\d+)-of-(\d+)(?:-[0-9a-f]{16})?$")  # some end with a digest
NAMES = "train, test or unlabelled in the name of the file or of its folder"


class _Shard(NamedTuple):
    """A file: its columns of images and labels (None: unlabelled), and its split (None: the rows name theirs)."""

    path: Path
    image: str
    label: str | None
    split: str | None
    class_names: tuple[str, ...] | None


def convert_parquet(place: Path, progress: Progress | None = None) -> Path:
    """Return the path of a file, or of a folder of shards, in raysl's own form; other forms are converted.

    Raises DataError if shards, columns or class names are damaged, missing or ambiguous.
    """
    if place.is_file() and _is_own(place):
        return place
    paths = [place] if place.is_file() else _shard_paths(place)
    path = cache_home() / "shards" / f"{_key(place, paths)}.parquet"
    if not path.is_file():  # checked before the lock, which a read-only cache cannot hold
        with exclusive(path):
            if not path.is_file():  # no other process has made it meanwhile
                shards = [_shard(place, shard) for shard in paths]
                _check_folders(shards)
                class_names = _agreed(shards)
                rows = reported(_rows(shards, len(class_names)), f"read {place.name}", None, progress)
                write(path, rows, class_names, f"parquet {shown(place)}", "that of the images", with_files=True)
    return path


def _is_own(path: Path) -> bool:
    with opened(path) as file:
        schema = file.schema_arrow
        own = set(COLUMNS) <= set(schema.names) or ("label" not in schema.names and set(MASKED) <= set(schema.names))
        return own and not any(pa.types.is_struct(field.type) for field in schema if field.name == "image")


def _shard_paths(folder: Path) -> list[Path]:
    try:
        paths = list(_walk(folder, DEEPEST))
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not paths:
        raise DataError(f"{folder}: holds no Parquet files, but {named(entries(folder))}; images as files: folder:PATH")
    _check_whole(paths)
    return paths


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if not depth:
        raise DataError(f"{folder}: folders lie more than {DEEPEST} deep in one another, or a link leads up")
    for path in entries(folder):
        if path.is_dir():
            yield from _walk(path, depth - 1)
        elif path.suffix.lower() in (".parquet", ".pq"):
            yield path
        elif is_image(path):
            raise DataError(f"{path}: an image among Parquet files; images as files: folder:PATH")


def _check_whole(paths: Sequence[Path]) -> None:
    """Refuse a series of numbered shards with one missing or given twice, and two series of the same name."""
    series: dict[tuple[Path, str, int], list[int]] = defaultdict(list)
    for path in paths:
        if match := NUMBERED.match(path.stem):
            series[path.parent, match[1], int(match[3])].append(int(match[2]))
    for (folder, stem, count), numbers in series.items():
        if missing := sorted(set(range(min(count, len(paths) + 1))) - set(numbers)):
            raise DataError(f"{folder}: shard {missing[0]} of the {count} of {stem or 'the set'} is missing")
        if len(set(numbers)) < len(numbers):
            raise DataError(f"{folder}: a shard of {stem or 'the set'} is there twice; keep one of them")
    counts = [(folder, stem) for folder, stem, _ in series]
    twice = next((key for key in counts if counts.count(key) > 1), None)
    if twice:
        raise DataError(f"{twice[0]}: {twice[1]} is there in two series of shards; keep one of them")


def _shard(place: Path, path: Path) -> _Shard:
    with opened(path) as file:
        schema, metadata = file.schema_arrow, metadata_of(file)
    features = features_of(path, metadata)
    split = None if "split" in schema.names else _split_of(place, path)
    image = _column(path, schema, features, "image", "Image")
    if image is None:
        raise DataError(f"{path}: no column image; this file has {', '.join(schema.names)}")
    _check_image(path, image, schema.field(image).type)
    label = _column(path, schema, features, "label", "ClassLabel")
    if label is None and split != "unlabelled":
        raise DataError(f"{path}: no column label; this file has {', '.join(schema.names)}")
    if label is not None and not pa.types.is_integer(schema.field(label).type):
        raise DataError(f"{path}: column {label} holds {schema.field(label).type}; labels must be integers")
    unnamed = split == "unlabelled" and not {b"class_names", b"huggingface"} & metadata.keys()
    names = None if label is None or unnamed else class_names_of(path, metadata, label)
    return _Shard(path, image, label, split, names)


def _column(path: Path, schema: Any, features: dict[str, Any], name: str, kind: str) -> str | None:
    """Return the column of that name, or else the only one of that HuggingFace type; None if there is none."""
    found = [column for column in schema.names if column == name]
    if not found:
        kinds = {column: feature.get("_type") for column, feature in features.items() if isinstance(feature, dict)}
        found = [column for column in schema.names if kinds.get(column) == kind]
    if len(found) > 1:
        raise DataError(
            f"{path}: columns {', '.join(found)} may each be the {name}; rename the one that is to `{name}`"
        )
    return found[0] if found else None


def _check_image(path: Path, image: str, kind: Any) -> None:
    if pa.types.is_struct(kind):
        names = [kind.field(number).name for number in range(kind.num_fields)]
        if names.count("bytes") != 1:
            raise DataError(f"{path}: column {image} holds {kind}; its structs must have one field bytes")
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)):
        raise DataError(f"{path}: column {image} holds {kind}; it must hold the bytes of encoded images (binary)")


def _split_of(place: Path, path: Path) -> str:
    """Return the split in the name of a file, or else of its nearest folder that names one."""
    parts = [path.stem] if place == path else [path.stem, *reversed(path.relative_to(place).parts[:-1])]
    for part in parts:
        splits = {split for word in words(part) if (split := split_of(word))}
        validation = any(is_validation(word) for word in words(part))
        if validation and not splits:
            raise DataError(f"{path}: {NO_VALIDATION}")
        if len(splits) > 1 or validation:
            raise DataError(f"{path}: its name says more than one split; expected one of {NAMES}")
        if splits:
            return splits.pop()
    raise DataError(f"{path}: no column split, and no split in its name; expected a column split, or {NAMES}")


def _check_folders(shards: Sequence[_Shard]) -> None:
    """Refuse a split that lies in several folders: they may be several sets, or one set twice."""
    folders: dict[str | None, Path] = {}
    for shard in shards:
        other = folders.setdefault(shard.split, shard.path.parent)
        if other != shard.path.parent:
            split = shard.split or "the set"
            raise DataError(f"{other} and {shard.path.parent}: both hold {split}; give a folder that holds one of them")


def _agreed(shards: Sequence[_Shard]) -> tuple[str, ...]:
    named_shards = {shard.class_names: shard.path for shard in shards if shard.class_names}
    if not named_shards:
        raise DataError(f"{shards[0].path}: no class names, and no labels")
    if len(named_shards) > 1:
        (names, path), (other_names, other) = list(named_shards.items())[:2]
        raise DataError(f"{other}: its classes are {list(other_names)}, and those of {path} {list(names)}")
    return next(iter(named_shards))


def _rows(shards: Sequence[_Shard], num_classes: int) -> Iterator[Row]:
    for shard in shards:
        columns = [name for name in (shard.image, shard.label, None if shard.split else "split") if name]
        done = 0
        with opened(shard.path) as file:
            for batch in file.iter_batches(rows_at_once(shard.path, file.metadata, shard.image), columns=columns):
                yield from _batch_rows(shard, batch, done, num_classes)
                done += batch.num_rows
            check_rows(shard.path, file, done)


def _batch_rows(shard: _Shard, batch: Any, done: int, num_classes: int) -> Iterator[Row]:
    images = batch.column(shard.image)
    labels = batch.column(shard.label).to_pylist() if shard.label else [None] * len(images)
    splits = [shard.split] * len(images) if shard.split else batch.column("split").to_pylist()
    for row, (image, label, name) in enumerate(zip(images, labels, splits, strict=True), start=done):
        place = f"{shown(shard.path)}, row {row}"
        split = _row_split(place, name)
        yield Row(_bytes(place, image.as_py()), _label(place, label, split, num_classes), split, place)


def _row_split(place: str, name: Any) -> str:
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    split = split_of(text)
    if split is None:
        raise DataError(f"{place}: split {text!r}; {choices(text, SPLITS)}")
    return split


def _label(place: str, label: int | None, split: str, num_classes: int) -> int:
    if split == "unlabelled" and label is None:
        return -1
    if label is None:
        raise DataError(f"{place}: the label is missing (null)")
    if not (label == -1 if split == "unlabelled" else 0 <= label < num_classes):
        expected = f"choices: 0 to {num_classes - 1}, and -1 or none in split unlabelled"
        raise DataError(f"{place}: label {label} of split {split}; {expected}")
    return label


def _bytes(place: str, image: Any) -> bytes:
    if isinstance(image, dict):
        if image["bytes"] is None and image.get("path"):
            raise DataError(f"{place}: the image itself is not in the file, only its path {image['path']!r}")
        image = image["bytes"]
    if image is None:
        raise DataError(f"{place}: the image is missing (null)")
    return bytes(image)


def _key(place: Path, paths: Sequence[Path]) -> str:
    facts: list[object] = [SHARDS_VERSION, str(place)]
    for path in paths:
        stat = path.stat()
        # Copies and archives preserve sizes and times, but not the inode and the time of its change.
        facts.append([str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns])
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()
