"""Which files in a folder are images. A file that may or may not be one is refused, never skipped."""

import os
from collections.abc import Sequence
from pathlib import Path

from raysl.data.storage.formats import COMMON, MOST_BYTES, recognise, suffixes
from raysl.errors import DataError

# All names here are in lower case. Hidden files and folders, such as `._x.png` and `.DS_Store`, are ignored anyway.
NO_IMAGE_SUFFIXES = frozenset(
    (
        *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg"),
        *(".html", ".htm", ".log", ".py", ".sh", ".ipynb", ".r", ".bib", ".cff", ".license", ".licence"),
        *(".md5", ".sha1", ".sha256", ".sum"),
    )
)
NO_IMAGE_NAMES = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "_success", "_metadata"),
        *(
            "readme",
            "license",
            "licence",
            "copying",
            "notice",
            "authors",
            "citation",
            "changelog",
            "changes",
            "version",
        ),
        *("manifest", "md5sums", "sha256sums", "checksums", "_common_metadata"),
    )
)
SYSTEM_FOLDERS = frozenset({"__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "lost+found"})
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
SHOWN = 3  # names that a message lists


def entries(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, in the order of names, without hidden ones and `SYSTEM_FOLDERS`.

    Raises DataError for a broken link and for what is neither file nor folder, OSError if the folder cannot be read.
    """
    # Not `glob`, which skips folders that cannot be read.
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in found:
        if not (path.is_file() or path.is_dir()):
            raise DataError(f"{path}: neither a file nor a folder, or a link to what is not there")
    return [path for path in found if not (path.name.lower() in SYSTEM_FOLDERS and path.is_dir())]


def is_image(path: Path) -> bool:
    """Return whether a file is an image, by its suffix or else by its content; False if it is known to be none.

    Raises DataError for a file of an unknown kind, which might be an image and would be lost.
    """
    suffix, name = path.suffix.lower(), path.name.lower()
    if suffix in suffixes():
        _check_size(path)
        return True
    kind = _content(path)
    if suffix in NO_IMAGE_SUFFIXES or name in NO_IMAGE_NAMES:
        if kind:
            raise DataError(f"{path}: a {kind} image by its content, and not by its name; rename it or move it away")
        return False
    if kind:
        _check_size(path)
        return True
    wrong = "an archive, whose images would be lost; unpack it, or" if suffix in ARCHIVES else "no image that is read;"
    raise DataError(f"{path}: {wrong} convert it or move it away; formats: {COMMON}")


def named(paths: Sequence[Path]) -> str:
    """Return the first names of some paths, for a message."""
    names = [path.name + "/" if path.is_dir() else path.name for path in paths[:SHOWN]]
    others = [f"and {len(paths) - SHOWN} more"] if len(paths) > SHOWN else []
    return ", ".join([*names, *others]) or "nothing"


def shown(path: Path) -> str:
    """Return a path as valid UTF-8 text; other bytes of its names are replaced."""
    return os.fsencode(path).decode(errors="replace")


def _content(path: Path) -> str | None:
    if path.stat().st_size > MOST_BYTES:  # some decoders read all of it
        return None
    with path.open("rb") as file:
        return recognise(file)


def _check_size(path: Path) -> None:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise DataError(f"{path}: takes {size} bytes, and images of at most {MOST_BYTES} are decoded; make it smaller")
