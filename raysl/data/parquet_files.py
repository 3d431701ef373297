"""Parquet files of any form: opened, with one error for all that is wrong with them, and read a little at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from raysl.data.formats import MOST_BYTES
from raysl.errors import DataError

READ_ROWS = 16  # that are read at once: beside many thumbnails a file may hold many photographs
READ_BYTES = 64_000_000  # of images that are read at once, going by their mean size
CHECKED = {"page_checksum_verification": True, "pre_buffer": False}
# As it comes, pyarrow reads a whole file into memory, and at best a column of a whole row group.
BUFFER = 1 << 20
SMALL = 16_000_000  # bytes; read through a buffer, damaged files of any size have pyarrow allocate gigabytes


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file of any form.

    Raises DataError where the file is missing or damaged, also for what is read while it is open.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        buffer = 0 if path.stat().st_size < SMALL else BUFFER
        with pq.ParquetFile(path, buffer_size=buffer, **CHECKED) as file:
            yield file
    except DataError:
        raise
    except Exception as error:  # damaged bytes have the reader raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path}: damaged, or not a Parquet file ({reason}); replace or delete it") from error


def check_rows(path: Path, file: Any, count: int) -> None:
    """Raise DataError where fewer rows were read than a file says to have: pyarrow skips pages of no known kind."""
    if count != file.metadata.num_rows:
        raise DataError(
            f"{path}: damaged ({count} of its {file.metadata.num_rows} rows are there); replace or delete it"
        )


def rows_at_once(path: Path, metadata: Any, column: str) -> int:
    """Return how many rows to read at once of a file whose images lie in a column, or in a field of it.

    Raises DataError where images are larger than any that is decoded, which would fill the memory.
    """
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    places = [number for number, name in enumerate(paths) if name == column or name.startswith(f"{column}.")]
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
