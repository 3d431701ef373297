"""The form that data sets are kept in: one Parquet file of encoded images.

Columns: `image` (binary: PNG, JPEG or what else Pillow reads), `label` (int32, -1 for unlabelled), `split` (string, one
of `SPLITS`). Schema metadata: `class_names` (a JSON list; a label is a place in it), `source`, `licence`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raysl.data.orders import Indices
from raysl.data.places import replacing
from raysl.errors import DataError

SPLITS = ("train", "test", "unlabelled")
TRAIN, TEST, UNLABELLED = range(3)
COLUMNS = ("image", "label", "split")
ROW_GROUP = 2048  # 60 MB of STL-10
BATCH = 1024  # rows that are read at once
DIGEST_BYTES = 16


class Row(NamedTuple):
    """An encoded image, its class (-1: unlabelled) and its split."""

    image: bytes
    label: int
    split: str


@dataclass(frozen=True)
class Labels:
    """What a set says of its images, in the file's order.

    labels: int64 [N], -1 for unlabelled.  splits: int8 [N], numbers of `SPLITS`.
    """

    labels: Indices
    splits: NDArray[np.int8]
    class_names: tuple[str, ...]


def write(path: Path, rows: Iterable[Row], class_names: Sequence[str], source: str, licence: str) -> None:
    """Write a set, row group by row group; the file appears when it is whole. One writer at a time (`exclusive`).

    Pages carry checksums, which `read_batches` verifies.
    """
    metadata = {"class_names": json.dumps(list(class_names)), "source": source, "licence": licence}
    fields = [("image", pa.binary()), ("label", pa.int32()), ("split", pa.string())]
    schema = pa.schema(fields, metadata=metadata)
    options = {
        "compression": "zstd",
        "use_dictionary": ["split"],
        "write_page_checksum": True,
        "write_statistics": ["label", "split"],
    }
    remaining = iter(rows)
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        while group := list(islice(remaining, ROW_GROUP)):
            writer.write_table(pa.table(dict(zip(COLUMNS, zip(*group, strict=True), strict=True)), schema=schema))


def read_labels(path: Path) -> Labels:
    """Read all but the images.

    Raises DataError where the file is missing, damaged or not of this form, or a label is out of range.
    """
    with _opened(path) as file:
        class_names = _class_names(path, file.schema_arrow.metadata or {})
        table = file.read(columns=["label", "split"])
        labels = _integers(path, table["label"])
        splits = _split_numbers(path, table["split"])
    expected = np.where(splits == UNLABELLED, labels == -1, (labels >= 0) & (labels < len(class_names)))
    if not expected.all():
        row = int(np.argmin(expected))
        raise DataError(
            f"{path}: label {labels[row]} in row {row} of split {SPLITS[splits[row]]}; "
            f"choices: 0 to {len(class_names) - 1}, and -1 in split unlabelled"
        )
    return Labels(labels, splits, class_names)


def read_batches(path: Path) -> Iterator[Any]:
    """Yield all columns as record batches of at most `BATCH` rows, in the file's order.

    Raises DataError where the file is missing or damaged.
    """
    with _opened(path) as file:
        for batch in file.iter_batches(BATCH, columns=list(COLUMNS)):
            if batch.column("image").null_count:
                raise DataError(f"{path}: an image is missing (null)")
            yield batch


class ContentDigest:
    """The digest of a set's content, fed batch by batch; how the file groups or compresses its rows changes nothing.

    Of the encoded images, labels and splits, in the file's order, and the class names.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        names = json.dumps(list(class_names)).encode()
        self._parts = {part: hashlib.blake2b(digest_size=32) for part in ("lengths", *COLUMNS, "names")}
        self._parts["names"].update(names)

    def update(self, batch: Any) -> None:
        """Take in the next batch of `read_batches`."""
        images = batch.column("image").cast(pa.large_binary())
        _, offsets, content = images.buffers()
        ends = np.frombuffer(offsets, np.int64)[images.offset : images.offset + len(images) + 1]
        if content is not None:
            self._parts["image"].update(memoryview(content)[ends[0] : ends[-1]])
        self._parts["lengths"].update(np.diff(ends).data)
        self._parts["label"].update(batch.column("label").cast(pa.int32()).to_numpy().data)
        self._parts["split"].update(" ".join([*batch.column("split").to_pylist(), ""]).encode())

    def hexdigest(self) -> str:
        """Return 32 hex digits."""
        whole = b"".join(part.digest() for part in self._parts.values())
        return hashlib.blake2b(whole, digest_size=DIGEST_BYTES).hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_columns(path, file.schema_arrow)
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: damaged, or not a Parquet file ({reason}); replace or delete it") from error


def _check_columns(path: Path, schema: Any) -> None:
    missing = [name for name in COLUMNS if name not in schema.names]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; a set has the columns {', '.join(COLUMNS)}, "
            f"this file has {', '.join(schema.names)}"
        )
    kind = schema.field("image").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(f"{path}: column image holds {kind}; it must hold the bytes of encoded images (binary)")


def _class_names(path: Path, metadata: dict[bytes, bytes]) -> tuple[str, ...]:
    try:
        names = json.loads(metadata[b"class_names"])
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: the schema metadata has no class_names, a JSON list of the classes") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < 2:
        raise DataError(f"{path}: class_names in the schema metadata must be a JSON list of at least 2 names: {names}")
    return tuple(names)


def _integers(path: Path, column: Any) -> Indices:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataError(f"{path}: column label holds {column.type}, {column.null_count} of them null; it must be int32")
    values: Indices = column.cast(pa.int64()).to_numpy()
    return values


def _split_numbers(path: Path, column: Any) -> NDArray[np.int8]:
    names = column.cast(pa.string())
    numbers = pc.index_in(names, value_set=pa.array(SPLITS))
    if numbers.null_count:
        other = names.filter(numbers.is_null())[0].as_py()
        raise DataError(f"{path}: split {other!r}; choices: {', '.join(SPLITS)}")
    values: NDArray[np.int8] = numbers.cast(pa.int8()).to_numpy()
    return values
