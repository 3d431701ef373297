"""The files that sets are published in: fetched whole, or taken from where a user has put them.

A download has a time limit, tells how far it is, and fails with one message.
"""

import hashlib
import urllib.request
from collections.abc import Container
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from raysl.data.places import data_homes
from raysl.data.progress import Progress
from raysl.errors import DataError

TIMEOUT = 60.0  # seconds without an answer
CHUNK = 1 << 20


class Archive(NamedTuple):
    """A published file: where from (the first that answers), its path in a folder of files, and its checksum."""

    urls: tuple[str, ...]
    name: str
    algorithm: str
    checksum: str


def lying(name: str) -> list[Path]:
    """Return the files of an archive's name in the folders where sets are looked for: at its path there, or in them."""
    paths = (home / part for home in data_homes() for part in dict.fromkeys((name, Path(name).name)))
    return [path for path in paths if path.is_file()]


def find_given(archive: Archive, others: Container[str] = ()) -> Path | None:
    """Return the file itself if a user has put it into a folder where sets are looked for.

    others: checksums of other published files of that name, which are passed over.
    Raises DataError where a file of that name is another one, or cannot be read.
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
    """Download a file into a folder, from the first address that gives it whole; return its path.

    Raises DataError naming every address and why it failed.
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
