"""Folders of images in every disorder: a set that is accepted has each of the folder's images.

cases(seed, count), run(case)
"""

import os
import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from attacks.workers import ACCEPTED, judged

from raysl.data.registry.sets import locate
from raysl.data.settings import DataSettings
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import read_labels
from raysl.data.storage.scan import inspect
from raysl.errors import UserError

ORDERLY = (
    "train/cat/a.png",
    "train/cat/b.png",
    "train/dog/a.png",
    "test/cat/a.png",
    "test/dog/b.png",
    "unlabelled/u.png",
)
FOLDERS = (
    *("train", "Train", "TRAIN", "training", "test", "Test", "val", "valid", "unlabelled", "unlabeled", "Unlabelled"),
    *("cat", "dog", "Cat", "caf\u00e9", "cafe\u0301", "__MACOSX", ".git", "images", "extra", "\udcff"),
)
SUFFIXES = (".png", ".PNG", ".jpg", ".jfif", ".gif", ".tif", ".ppm", ".tga", "", ".dat", ".heic", ".txt", ".png.bak")
NAMES = (".DS_Store", "Thumbs.db", "desktop.ini", "README", "readme.md", "LICENSE", "labels.csv", "._a.png", ".b.png")
CONTENTS = ("image", "image", "image", "text", "empty", "zip", "folder", "link", "dangling", "loop", "pipe")
MOST = 4  # further files


class Case(NamedTuple):
    """The files of a folder, each with what it is."""

    files: tuple[tuple[str, str], ...]


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield so many cases; the same seed gives the same."""
    generator = random.Random(seed)
    for _ in range(count):
        files = dict.fromkeys(ORDERLY, "image")
        for name in generator.sample(ORDERLY, generator.choice([0, 0, 1, 2])):
            del files[name]
        if generator.random() < 0.4:
            files = dict(_respelled(files, generator))
        for _ in range(generator.randint(0, MOST)):
            files[_name(files, generator)] = generator.choice(CONTENTS)
        yield Case(tuple(files.items()))


def run(case: Case) -> str:
    """Return what comes of the folder; a set that lacks an image, or has one more, is a fault."""
    with tempfile.TemporaryDirectory() as name, mock.patch.dict(os.environ, {"RAYSL_CACHE": f"{name}/cache"}):
        folder = Path(name, "set")
        images = sum(_made(folder, file, what) for file, what in case.files)
        found: list[int] = []
        what = judged(lambda: found.append(_counted(folder)), UserError)
        return f"{images} images, and {found[0]} in the set" if what == ACCEPTED and found != [images] else what


def _counted(folder: Path) -> int:
    source = f"folder:{folder}"
    inspect(DataSettings(source=source))
    return len(read_labels(locate(source)).labels)


def _respelled(files: dict[str, str], generator: random.Random) -> Iterator[tuple[str, str]]:
    first, other = generator.choice(ORDERLY).split("/")[0], generator.choice(FOLDERS)
    for name, what in files.items():
        yield (name.replace(first, other, 1) if name.startswith(first) else name), what


def _name(files: dict[str, str], generator: random.Random) -> str:
    known = sorted({str(Path(name).parent) for name in files})
    parts = (
        [generator.choice(known)] if generator.random() < 0.7 else generator.choices(FOLDERS, k=generator.randint(0, 3))
    )
    file = generator.choice(NAMES) if generator.random() < 0.4 else generator.choice("xyz") + generator.choice(SUFFIXES)
    return os.path.normpath("/".join([*(part for part in parts if part), file]))


def _made(folder: Path, name: str, what: str) -> int:
    """Make a file; return how many images of a set it is, 1 or 0."""
    path = folder / name
    assert not os.path.isabs(name), f"{name!r} leads out of the folder"
    assert ".." not in path.parts, f"{name!r} leads out of the folder"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            return 0
        _make(path, what)
    except OSError:  # the name of a file is that of a folder
        return 0
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in Path(name).parts)
    return 0 if hidden else int(what in ("image", "link"))


def _make(path: Path, what: str) -> None:
    match what:
        case "folder":
            path.mkdir()
        case "link":
            target = path.parent.parent / f".{path.name}.target"
            target.write_bytes(_content("image"))
            path.symlink_to(target)
        case "dangling":
            path.symlink_to("/not/there")
        case "loop":
            path.symlink_to(path.parent)
        case "pipe":
            os.mkfifo(path)
        case _:
            path.write_bytes(_content(what))


@cache
def _content(what: str) -> bytes:
    contents = {
        "image": encode(np.zeros((6, 6), np.uint8)),
        "text": b"some text\n",
        "zip": b"PK\3\4" + bytes(40),
        "empty": b"",
    }
    return contents[what]
