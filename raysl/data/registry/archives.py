"""The files that sets are published in: downloaded, or taken from a folder where a user has put them.

A download has a timeout, reports its progress, and fails with one message.
"""

import hashlib
import urllib.request
from collections.abc import Container
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from raysl.data.progress import Progress
from raysl.data.storage.paths import data_homes
from raysl.errors import DataError

TIMEOUT = 60.0  # seconds without an answer
CHUNK = 1 << 20


class Archive(NamedTuple):
    """A published file: its addresses (tried in order), its path in a folder of files, and its checksum."""

    urls: tuple[str, ...]
    name: str
    algorithm: str
    checksum: str


def lying(name: str) -> list[Path]:
    """Return the files of an archive's name in the folders of sets, at its path there or directly in the folder."""
    paths = (home / part for home in data_homes() for part in dict.fromkeys((name, Path(name).name)))
    return [path for path in paths if path.is_file()]


def find_given(archive: Archive, others: Container[str] = ()) -> Path | None:
    """Return the path of an archive that a user has put into a folder of sets; None if there is none.

    others: checksums of other published files of that name, which are skipped.
    Raises DataError if a file of that name has another checksum, or cannot be read.
    """
    for given in lying(archive.name):
        checksum = _checksum(given, archive.algorithm)
        if checksum == archive.checksum:
            return given
        if checksum not in others:
            raise DataError(
                f"{given}: {archive.algorithm} is {checksum}, not {archive.checksum} (truncated, altered or of another "
                "version); replace it, or remove it to have it downloaded"
            )
    return None


def _checksum(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def fetch(archive: Archive, folder: Path, progress: Progress | None = None) -> Path:
    """Download a file into a folder, from the first address that delivers it undamaged; return its path.

    Raises DataError with every address and why it failed.
    """
    path = folder / archive.name
    path.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in archive.urls:
        try:
            checksum = _transfer(url, path, archive.algorithm, progress)
        except (OSError, HTTPException) as error:
            reasons.append(f"{url}: {error}")
            continue
        if checksum == archive.checksum:
            return path
        reasons.append(f"{url}: {archive.algorithm} is {checksum}, not {archive.checksum} (truncated or altered)")
    raise DataError("; ".join(reasons))


def _transfer(url: str, path: Path, algorithm: str, progress: Progress | None) -> str:
    request = urllib.request.Request(url, headers={"User-Agent": "raysl"})
    checksum = hashlib.new(algorithm, usedforsecurity=False)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response, path.open("wb") as file:
        done = 0
        while chunk := response.read(CHUNK):
            file.write(chunk)
            checksum.update(chunk)
            done += len(chunk)
            if progress:
                progress(f"download {path.name}", done, int(response.headers.get("Content-Length", 0)) or None)
    return checksum.hexdigest()
