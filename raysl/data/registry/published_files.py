"""The files of a set that its authors publish in archives: read in the archives, or in the folder that one unpacks to.

Archives are read in place, member by member, and nothing is written from them: a member's name is only ever compared.
Links in archives are left out. The one exception is a compressed tar, which is uncompressed into a scratch folder
first, because each access to a member would read it from the start.
"""

import gzip
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from raysl.data.progress import Progress
from raysl.data.registry.archives import Archive, fetch, find_given
from raysl.data.registry.file_kinds import shown
from raysl.data.storage.formats import MOST_BYTES
from raysl.data.storage.paths import data_homes
from raysl.errors import DataError

DEEPEST = 3  # folders below a part's own; more means a link to a folder above


class File(NamedTuple):
    """A published file: its place, to begin a message with, and how its content is read."""

    place: str
    read: Callable[[], bytes]


class Part(NamedTuple):
    """A part of a set.

    folder: what its archive unpacks to.  archive: the archive's name.
    inside: folders that `folder` may lie in, beside the folders of sets themselves.
    download: the archive, if its address and checksum are published; others are only taken from where users put them.
    """

    folder: str
    archive: str
    inside: tuple[str, ...] = ()
    download: Archive | None = None

    @property
    def text(self) -> str:
        """The names of its folder and its archive."""
        return f"{self.folder}/ or {self.archive}"


@dataclass(frozen=True)
class Files:
    """The files of a part, by their paths in its folder."""

    place: str
    files: dict[str, File]

    def __getitem__(self, name: str) -> File:
        """Return a file; raises DataError, with its place, if it is not there."""
        if name not in self.files:
            raise DataError(f"{self.place}: {name} is not there")
        return self.files[name]

    def below(self, folder: str, suffix: str) -> list[str]:
        """Return the sorted names, in lower or upper case, that end so and lie in a folder or below it."""
        return sorted(
            name for name in self.files if name.startswith(f"{folder}/" if folder else "") and _ends(name, suffix)
        )

    def lines(self, name: str) -> list[str]:
        """Return the lines of a text file, without blank ones."""
        return [line.strip() for line in self[name].read().decode().splitlines() if line.strip()]


def _ends(name: str, suffix: str) -> bool:
    return name.casefold().endswith(suffix.casefold())


def find_part(part: Part) -> Path | None:
    """Return the folder of a part, or else its archive, in a folder of sets, by its name; None if neither is there."""
    homes = [home / inside for home in data_homes() for inside in ("", *part.inside)]
    paths = [*(home / part.folder for home in homes), *(home / part.archive for home in homes)]
    return next((path for path in paths if path.exists()), None)


def fetched(part: Part, scratch: Path, progress: Progress | None) -> Path:
    """Return the folder or the archive of a part; a missing one is downloaded into a folder for scratch files.

    Raises DataError for an archive of another checksum than the published one, and if a part is neither there nor can
    be downloaded.
    """
    found = find_part(part)
    if part.download is None:
        if found is None:
            raise DataError(f"{part.text} is missing")
        return found
    if found is None or found.is_file():
        return find_given(part.download) or fetch(part.download, scratch, progress)
    return found


@contextmanager
def opened(part: Part, place: Path, scratch: Path) -> Iterator[Files]:
    """Open a folder or an archive (zip, tar, compressed tar) of a part.

    Raises DataError if it holds no file of the part, and whatever zipfile and tarfile raise.
    """
    if place.is_dir():
        yield _listed(part, place, dict(_in_folder(place)))
    elif place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            yield _listed(part, place, dict(_in_zip(part, place, archive)))
    else:
        with tarfile.open(_uncompressed(place, scratch), "r:") as archive:
            yield _listed(part, place, dict(_in_tar(part, place, archive)))


def _listed(part: Part, place: Path, files: dict[str, File]) -> Files:
    if not files:
        raise DataError(f"{place}: holds no file of {part.folder}/")
    return Files(shown(place), files)


def _in_folder(folder: Path) -> Iterator[tuple[str, File]]:
    for root, folders, names in os.walk(folder, onerror=_raised, followlinks=True):
        below = Path(root).relative_to(folder)
        if len(below.parts) == DEEPEST:
            folders.clear()
        for name in names:
            path = Path(root) / name
            if not name.startswith("."):
                yield shown(below / name), File(shown(path), partial(_content, path))


def _raised(error: OSError) -> None:
    raise error


def _in_zip(part: Part, place: Path, archive: zipfile.ZipFile) -> Iterator[tuple[str, File]]:
    for member in archive.infolist():
        name = _name_in(part, member.filename)
        if name and not member.is_dir():
            file = f"{shown(place)}/{member.filename}"
            yield name, File(file, partial(_of_zip, archive, member, file))


def _in_tar(part: Part, place: Path, archive: tarfile.TarFile) -> Iterator[tuple[str, File]]:
    for member in archive:
        name = _name_in(part, member.name)
        if name and member.isreg():
            file = f"{shown(place)}/{member.name}"
            yield name, File(file, partial(_of_tar, archive, member, file))


def _name_in(part: Part, member: str) -> str:
    """Return a member's path in the part's folder, which may lie in one other folder; `` for other members."""
    parts, own = member.removeprefix("./").split("/"), part.folder.split("/")
    for start in (0, 1):
        if parts[start : start + len(own)] == own and not parts[-1].startswith(".") and parts[0] != "__MACOSX":
            return "/".join(parts[start + len(own) :])
    return ""


def _content(path: Path) -> bytes:
    _check_size(shown(path), path.stat().st_size)
    return path.read_bytes()


def _of_zip(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: str) -> bytes:
    _check_size(place, member.file_size)
    return archive.read(member)


def _of_tar(archive: tarfile.TarFile, member: tarfile.TarInfo, place: str) -> bytes:
    _check_size(place, member.size)
    file = archive.extractfile(member)
    assert file is not None, "it is a regular file"
    return file.read()


def _check_size(place: str, size: int) -> None:
    if size > MOST_BYTES:
        raise DataError(f"{place}: takes {size} bytes, and at most {MOST_BYTES} are read")


def _uncompressed(path: Path, scratch: Path) -> Path:
    if path.suffix not in (".tgz", ".gz"):
        return path
    plain = scratch / f"{path.stem}.plain.tar"
    with gzip.open(path) as compressed, plain.open("wb") as file:
        shutil.copyfileobj(compressed, file)
    return plain
