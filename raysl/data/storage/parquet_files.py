"""Parquet files with any columns: opened with one error for every fault, and read in small batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from raysl.data.storage.formats import MOST_BYTES
from raysl.errors import DataError

READ_ROWS = 16  # per read: a file of thumbnails may also hold photographs
READ_BYTES = 64_000_000  # of images per read, estimated from their mean size
CHECKED = {"page_checksum_verification": True, "pre_buffer": False}
# By default pyarrow reads a whole file into memory; without a buffer, a column of a whole row group at a time.
BUFFER = 1 << 20
SMALL = 16_000_000  # bytes; read without a buffer, with which pyarrow allocates gigabytes for damaged files


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file of any form.

    Raises DataError if the file is missing or damaged, also while it is being read.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        buffer = 0 if path.stat().st_size < SMALL else BUFFER
        with pq.ParquetFile(path, buffer_size=buffer, **CHECKED) as file:
            yield file
    except DataError:
        raise
    except Exception as error:  # the reader may raise anything for damaged bytes
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path}: damaged, or not a Parquet file ({reason}); replace or delete it") from error


def check_rows(path: Path, file: Any, count: int) -> None:
    """Raise DataError if fewer rows were read than the file's metadata says: pyarrow skips pages of unknown type."""
    if count != file.metadata.num_rows:
        raise DataError(
            f"{path}: damaged ({count} of its {file.metadata.num_rows} rows are there); replace or delete it"
        )


def rows_at_once(path: Path, metadata: Any, *columns: str) -> int:
    """Return how many rows of a file to read at once.

    columns: those of the images and masks, or of the structs that hold them.
    Raises DataError if images are larger than the largest that is decoded, because they would fill the memory.
    """
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    starts = tuple(f"{column}." for column in columns)
    places = [number for number, name in enumerate(paths) if f"{name}.".startswith(starts)]
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    sizes: list[int] = [
        sum(group.column(place).total_uncompressed_size for place in places) // group.num_rows
        for group in groups
        if group.num_rows
    ]
    largest = max([1, *sizes])
    if largest > MOST_BYTES:
        raise DataError(f"{path}: images take {largest} bytes, and at most {MOST_BYTES} are decoded; make them smaller")
    return max(1, min(READ_ROWS, READ_BYTES // largest))
