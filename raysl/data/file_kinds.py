"""What a file among images is: an image, or known to be none. What may be either is refused, never passed over."""

import os
from collections.abc import Sequence
from pathlib import Path

from raysl.data.formats import COMMON, MOST_BYTES, recognise, suffixes
from raysl.errors import DataError

# In lower case, as all names here. Hidden files and folders, `._x.png` and `.DS_Store` among them, need no mention.
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
SHOWN = 3  # names of what a folder holds, in a message


def entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, in the order of names, without what is hidden and systems' own folders.

    Raises DataError for a link to nothing and what is neither a file nor a folder; OSError where it cannot be read.
    """
    # Not `glob`, which passes over folders that cannot be read.
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in found:
        if not (path.is_file() or path.is_dir()):
            raise DataError(f"{path}: neither a file nor a folder, or a link to what is not there")
    return [path for path in found if not (path.name.lower() in SYSTEM_FOLDERS and path.is_dir())]


def is_image(path: Path) -> bool:
    """Say whether a file is an image that counts, by its suffix or else by its content, or known to be none.

    Raises DataError for a file that is neither: it might be an image, and would be lost.
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
    """Return the first of some names, to be shown in a message."""
    names = [path.name + "/" if path.is_dir() else path.name for path in paths[:SHOWN]]
    others = [f"and {len(paths) - SHOWN} more"] if len(paths) > SHOWN else []
    return ", ".join([*names, *others]) or "nothing"


def shown(path: Path) -> str:
    """Return a path as text that any file can hold; bytes of a name that are no UTF-8 are replaced."""
    return os.fsencode(path).decode(errors="replace")


def _content(path: Path) -> str | None:
    if path.stat().st_size > MOST_BYTES:  # some decoders read all of it
        return None
    with path.open("rb") as file:
        return recognise(file)


def _check_size(path: Path) -> None:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise DataError(f"{path}: takes {size} bytes, and images of at most {MOST_BYTES} are decoded; make it smaller")
