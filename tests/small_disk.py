"""A disk of a few megabytes, which can be filled and made read-only for real where the system lets this user mount."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

BALLAST = ".ballast"


class SmallDisk:
    """A mounted folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, leave: int = 0) -> None:
        """Take all room that there is, but for so many bytes."""
        with (self.folder / BALLAST).open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):  # no space is left
                    while file.write(bytes(size)) == size:
                        pass
            file.truncate(file.tell() - leave)

    def empty(self) -> None:
        """Give the room back."""
        (self.folder / BALLAST).unlink()

    def seal(self) -> None:
        """Let nothing be written."""
        _call("mount", "-o", "remount,ro", self.folder)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a disk in the place of a folder; skips the test where that is not allowed."""
    folder.mkdir()
    try:
        _call("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "raysl-test", folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {getattr(error, 'stderr', None) or error}")
    try:
        yield SmallDisk(folder)
    finally:
        _call("umount", "--lazy", folder)


def _call(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
