"""Markdown documents as their readers use them: files are saved, commands run, and outputs are what was printed."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from waiting import PATIENCE

HOME = "/home/you/tutorial"  # stands in documents for the folder that a reader is in
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
_TIME = re.compile(r"│ +[\d.]+ (│ [* ] +│)$")  # seconds of a trial, in a table
# Searches run in the command's own process: the documents' are the same ones with Ray.
PROLOGUE = """\
set -eu
uv() { shift; "$@"; }
raysl() { if [ "$1" = tune ]; then command raysl "$@" --backend inline; else command raysl "$@"; fi; }
"""


class Block(NamedTuple):
    """A fenced block; line is that of its first line of text."""

    language: str
    text: str
    line: int


def blocks(file: Path) -> list[Block]:
    """Return the fenced blocks of a document."""
    text = file.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in _BLOCK.finditer(text)]


def file_name(block: Block) -> str | None:
    """Return the name that a block is to be saved as: that of a comment in its first line."""
    found = re.match(r"# (\S+\.(?:py|yaml))\n", block.text)
    return found[1] if found else None


def walk(file: Path, folder: Path, command_of: Callable[[str], str | None] = lambda line: line) -> None:
    """Do what a document says, in a folder, and compare what it shows with what its commands print.

    command_of: what is run in place of a line of commands; None leaves it out.
    """
    printed = ""
    for block in blocks(file):
        place = f"{file.name}:{block.line}"
        if name := file_name(block):
            (folder / name).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            printed = run([sys.executable, "-c", block.text], folder, place)
        elif block.language == "console":
            lines = [one for line in block.text.splitlines() if (one := command_of(line)) is not None]
            printed = run(["bash", "-c", PROLOGUE + "\n".join(lines)], folder, place)
        elif block.language == "text":
            check_shown(block.text, printed.replace(str(folder), HOME), place)


def run(command: list[str], folder: Path, place: str) -> str:
    """Return what a command prints.

    Fails, with the place, unless it ends well.
    """
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    script = ["env", f"PATH={path}", "COLUMNS=160", *command]
    done = subprocess.run(script, cwd=folder, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert done.returncode == 0, f"{place}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def check_shown(shown: str, printed: str, place: str) -> None:
    """Check that each line of a document was printed, perhaps in several lines: words are equal, numbers nearly."""
    words = _words(printed)
    for line in shown.splitlines():
        wanted = _words(line)
        places = range(len(words) - len(wanted) + 1)
        found = any(all(map(_same, wanted, words[start : start + len(wanted)])) for start in places)
        assert found, f"{place}: {line}\nprinted:\n{printed}"


def _words(text: str) -> list[str]:
    lines = (_TIME.sub(r"│ - \1", line.rstrip()) for line in text.splitlines())
    return [word for line in lines for word in line.replace(" ± ", "±").split()]


def _same(wanted: str, found: str) -> bool:
    one, sign, deviation = wanted.strip("(),").partition("±")
    other, other_sign, _ = found.strip("(),").partition("±")
    if _NUMBER.fullmatch(one) and _NUMBER.fullmatch(other):
        # A processor with other instructions rounds otherwise, and training carries that on: a mean may differ by its
        # standard deviation, and a deviation may be any.
        nearest = max(float(deviation or 0), 0.5 if float(one) > 1 else 0.01)
        return sign == other_sign and math.isclose(float(one), float(other), rel_tol=0.1, abs_tol=nearest)
    return wanted.strip("(),") == found.strip("(),")
