"""The form that data sets are kept in: one Parquet file of encoded images.

Columns: `image` (binary: PNG, JPEG or another format of `formats`), `label` (int32, -1 for unlabelled), `split`
(string, one of `SPLITS`) and, if images were files, `file` (string). Schema metadata: `class_names` (a JSON list; a
label is an index into it), `source`, `licence`. `shards` converts other forms to this one.

A set for segmentation has `mask` (binary, see `masks`) in place of `label`; it is null for unlabelled images.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raysl.data.sampling.permutations import Indices
from raysl.data.storage.masks import MaskValues, mask_values
from raysl.data.storage.parquet_files import check_rows, opened, rows_at_once
from raysl.data.storage.paths import replacing
from raysl.data.storage.schema_metadata import class_names_of, metadata_of
from raysl.errors import DataError

SPLITS = ("train", "test", "unlabelled")
TRAIN, TEST, UNLABELLED = range(3)
READ_AS = {"image": pa.large_binary(), "label": pa.int32(), "split": pa.string()}
COLUMNS = tuple(READ_AS)
MASKED = {"image": pa.large_binary(), "mask": pa.large_binary(), "split": pa.string()}  # of a set for segmentation
GROUP_ROWS = 2048
GROUP_BYTES = 64_000_000  # of images in a row group, all of which are in memory when it is written
BATCH_ROWS = 1024  # at most, in a record batch
BATCH_BYTES = 64_000_000  # of images, at most, in a record batch of more than one row
DIGEST_BYTES = 16


class Row(NamedTuple):
    """An encoded image, its class (-1: unlabelled), its split, its original file, for messages, and its mask."""

    image: bytes
    label: int
    split: str
    file: str | None = None
    mask: bytes | None = None


@dataclass(frozen=True)
class Labels:
    """The labels and splits of a set's images, in the file's order.

    labels: int64 [N], -1 for unlabelled; 0 for images with masks.  splits: int8 [N], indices into `SPLITS`.
    mask_values: of a set for segmentation, the class of each value of its masks.
    """

    labels: Indices
    splits: NDArray[np.int8]
    class_names: tuple[str, ...]
    mask_values: MaskValues | None = None


def write(
    path: Path,
    rows: Iterable[Row],
    class_names: Sequence[str],
    source: str,
    licence: str,
    *,
    with_files: bool = False,
    with_masks: bool = False,
) -> None:
    """Write a set, row group by row group; the file appears when it is whole. One writer at a time (`exclusive`).

    Pages carry checksums, which `read_batches` verifies.
    with_files: also write the original file of each row.  with_masks: write masks in place of labels.
    """
    metadata = {"class_names": json.dumps(list(class_names)), "source": source, "licence": licence}
    target = ("mask", pa.binary()) if with_masks else ("label", pa.int32())
    fields = [("image", pa.binary()), target, ("split", pa.string())]
    schema = pa.schema([*fields, ("file", pa.string())] if with_files else fields, metadata=metadata)
    options = {
        "compression": "zstd",
        "use_dictionary": ["split"],
        "write_page_checksum": True,
        "write_statistics": [name for name in ("label", "split") if name in schema.names],
    }
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for group in _groups(rows):
            columns = dict(zip(Row._fields, zip(*group, strict=True), strict=True))
            writer.write_table(pa.table({name: columns[name] for name in schema.names}, schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        row_size = len(row.image) + len(row.mask or b"")
        if group and (len(group) == GROUP_ROWS or size + row_size > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(row)
        size += row_size
    if group:
        yield group


def read_labels(path: Path) -> Labels:
    """Return the labels, splits and class names of a set; its images are not read.

    Raises DataError if the file is missing, damaged or not of this form, or a label is out of range.
    """
    with _opened(path) as file:
        class_names = class_names_of(path, metadata_of(file))
        masked = _has_masks(file.schema_arrow)
        table = file.read(columns=["split"] if masked else ["label", "split"])
        check_rows(path, file, table.num_rows)
        splits = _split_numbers(path, table["split"])
        if masked:
            values = mask_values(path, class_names, metadata_of(file))
            return Labels(np.where(splits == UNLABELLED, -1, 0), splits, values.class_names, values)
        labels = _integers(path, table["label"])
    expected = np.where(splits == UNLABELLED, labels == -1, (labels >= 0) & (labels < len(class_names)))
    if not expected.all():
        row = int(np.argmin(expected))
        raise DataError(
            f"{path}: label {labels[row]} in row {row} of split {SPLITS[splits[row]]}; "
            f"choices: 0 to {len(class_names) - 1}, and -1 in split unlabelled"
        )
    return Labels(labels, splits, class_names)


def read_batches(path: Path) -> Iterator[Any]:
    """Yield image (large_binary), label (int32) and split (string) as record batches, in the file's order.

    Those of a set for segmentation have mask (large_binary) in place of label.
    A batch has at most `BATCH_ROWS` rows, and fewer if images are large. Call `read_labels` first: it checks labels and
    splits.
    Raises DataError if the file is missing or damaged.
    """
    with _opened(path) as file:
        yield from _joined(_read(path, file))


def _read(path: Path, file: Any) -> Iterator[Any]:
    done = 0
    kinds = MASKED if _has_masks(file.schema_arrow) else READ_AS
    large = [name for name, kind in kinds.items() if pa.types.is_large_binary(kind)]
    for batch in file.iter_batches(rows_at_once(path, file.metadata, *large), columns=list(kinds)):
        read = pa.record_batch([batch.column(name).cast(kind) for name, kind in kinds.items()], names=list(kinds))
        _check_nulls(path, read, done)
        yield read
        done += read.num_rows
    check_rows(path, file, done)


def _check_nulls(path: Path, batch: Any, done: int) -> None:
    """Refuse missing images, and missing masks of images that train or test."""
    missing = batch.column("image").is_null()
    if missing.true_count:
        raise DataError(f"{path}: the image in row {done + pc.index(missing, True).as_py()} is missing (null)")
    if "mask" in batch.schema.names:
        labelled = pc.not_equal(batch.column("split"), SPLITS[UNLABELLED])
        missing = pc.and_(batch.column("mask").is_null(), labelled)
        if missing.true_count:
            raise DataError(f"{image_place(path, done + pc.index(missing, True).as_py())} has no mask")


def _joined(batches: Iterable[Any]) -> Iterator[Any]:
    """Put small batches together, as many as fit."""
    parts: list[Any] = []
    rows = size = 0
    for batch in batches:
        if parts and (rows + batch.num_rows > BATCH_ROWS or size + batch.nbytes > BATCH_BYTES):
            yield pa.concat_batches(parts)
            parts, rows, size = [], 0, 0
        parts.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
    if parts:
        yield pa.concat_batches(parts)


def image_place(path: Path, row: int) -> str:
    """Return the place of a row's image, to begin a message with: its original file if the set has it, or the row."""
    with _opened(path) as file:
        if file.schema_arrow.names not in ([*COLUMNS, "file"], [*MASKED, "file"]):  # as `write` has them
            return f"{path}: the image in row {row}"
        return f"{file.read(columns=['file'])['file'][row].as_py()}: the image"


class ContentDigest:
    """The digest of a set's encoded images, labels and splits, in the file's order, and its class names.

    It is fed batch by batch; how the file groups or compresses its rows does not change it.
    """

    def __init__(self, index: Labels) -> None:
        """Begin the digest of a set with these labels."""
        names: list[Any] = list(index.class_names)
        columns: tuple[str, ...] = COLUMNS
        if index.mask_values is not None:
            names, columns = [names, index.mask_values.classes.tolist()], ("image", "mask lengths", "mask", "split")
        self._parts = {part: hashlib.blake2b(digest_size=32) for part in ("lengths", *columns, "names")}
        self._parts["names"].update(json.dumps(names).encode())

    def update(self, batch: Any) -> None:
        """Add the next batch of `read_batches`."""
        self._add_bytes(batch.column("image"), "lengths", "image")
        if "mask" in self._parts:
            self._add_bytes(batch.column("mask"), "mask lengths", "mask")
        else:
            self._parts["label"].update(batch.column("label").to_numpy().data)
        self._parts["split"].update(" ".join([*batch.column("split").to_pylist(), ""]).encode())

    def _add_bytes(self, column: Any, lengths: str, part: str) -> None:
        _, offsets, content = column.buffers()
        ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
        if content is not None:
            self._parts[part].update(memoryview(content)[ends[0] : ends[-1]])
        self._parts[lengths].update(np.diff(ends).data)

    def hexdigest(self) -> str:
        """Return 32 hex digits."""
        whole = b"".join(part.digest() for part in self._parts.values())
        return hashlib.blake2b(whole, digest_size=DIGEST_BYTES).hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with opened(path) as file:
        _check_columns(path, file.schema_arrow)
        yield file


def _has_masks(schema: Any) -> bool:
    return "mask" in schema.names and "label" not in schema.names


def _check_columns(path: Path, schema: Any) -> None:
    wanted = tuple(MASKED) if _has_masks(schema) else COLUMNS
    missing = [name for name in wanted if name not in schema.names]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; a set has the columns {', '.join(COLUMNS)}, or mask in place of "
            f"label; this file has {', '.join(schema.names)}"
        )
    twice = [name for name in wanted if schema.names.count(name) > 1]
    if twice:
        raise DataError(f"{path}: more than one column {', '.join(twice)}; this file has {', '.join(schema.names)}")
    if "mask" in schema.names and not _has_masks(schema):
        raise DataError(f"{path}: columns label and mask; images have classes or masks: leave one of them out")
    if _has_masks(schema) and not _is_bytes(schema.field("mask").type):
        raise DataError(
            f"{path}: column mask holds {schema.field('mask').type}; it must hold the bytes of PNGs (binary)"
        )
    image, split = schema.field("image").type, schema.field("split").type
    if not _is_bytes(image):
        raise DataError(f"{path}: column image holds {image}; it must hold the bytes of encoded images (binary)")
    if not _is_text(split.value_type if pa.types.is_dictionary(split) else split):
        raise DataError(f"{path}: column split holds {split}; it must be string: {', '.join(SPLITS)}")


def _is_bytes(kind: Any) -> bool:
    types = pa.types
    known = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return any(is_known(kind) for is_known in known)


def _is_text(kind: Any) -> bool:
    types = pa.types
    known = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return _is_bytes(kind) or any(is_known(kind) for is_known in known)


def _integers(path: Path, column: Any) -> Indices:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataError(f"{path}: column label holds {column.type}, {column.null_count} of them null; it must be int32")
    try:
        values: Indices = column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: label {pc.max(column)} is no class; labels must fit int32") from error
    return values


def _split_numbers(path: Path, column: Any) -> NDArray[np.int8]:
    names = column.cast(pa.binary())  # as bytes, so that a name that is not UTF-8 gets the same message
    numbers = pc.index_in(names, value_set=pa.array(SPLITS).cast(pa.binary()))
    if numbers.null_count:
        other = names.filter(numbers.is_null())[0].as_py()
        shown = other if other is None else other.decode(errors="replace")
        raise DataError(f"{path}: split {shown!r}; choices: {', '.join(SPLITS)}")
    values: NDArray[np.int8] = numbers.cast(pa.int8()).to_numpy()
    return values
