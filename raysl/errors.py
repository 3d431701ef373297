"""Errors that a user can mend: each names the place, the value and the choices."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from unicodedata import category, normalize

from raysl.outgoing import presentable

MOST_OF_A_MESSAGE, MOST_OF_A_LINE, MOST_OF_A_VALUE = 2000, 1200, 200  # characters
MOST_CHOICES = 60
MOST_OF_A_NAME = 255  # bytes, on every file system in use
MOST_COMPARED = 100  # characters of a word that is compared with the choices


class _ShownError(Exception):
    """Shown as its message: short, without control characters and secrets, whatever values it echoes."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(presentable(one) if isinstance(one, str) else one for one in arguments))

    def __str__(self) -> str:
        return message(super().__str__())


class UserError(_ShownError, ValueError):
    """A mistake in what the user gave; shown as its message alone, exit code 2."""


class DataError(UserError):
    """A data set that is missing, damaged or too small for what is asked of it."""


class ResultsError(UserError):
    """A results folder that cannot be read or written."""


class MethodError(UserError):
    """A method's file whose constants cannot be read from its text, or contradict the class."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or holds more than tensors and plain values."""


class ResourcesError(UserError):
    """Resources that the cluster can never give."""


class LibrariesError(UserError):
    """The process that would run a trial has another raysl or torch than the search."""


class SearchError(_ShownError, RuntimeError):
    """A failure that stops a running search through no mistake of the user; its results are kept."""


class FencedError(SearchError):
    """Another search counts this one as gone and has taken over its work; nothing that was done is lost."""


def checked_path(path: Path, what: str, kind: type[UserError] = UserError) -> Path:
    """Return the path or address itself.

    what: the path's name in the message.
    Raises `kind` if the path is not UTF-8, holds a control character, or has a name too long for a file system.
    """
    if trouble := _trouble_of(path):
        raise kind(f"{what} {printable(str(path))}: {trouble}; give another")
    return path


def _trouble_of(path: Path) -> str:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "the path is not UTF-8, as libraries need it"
    if control := [one for one in str(path) if category(one) == "Cc"]:
        return f"the path holds the character {control[0]!r}"
    if path.is_absolute() and any(len(name.encode()) > MOST_OF_A_NAME for name in path.parts):
        return f"a name in the path is longer than {MOST_OF_A_NAME} bytes"
    return ""


def choices(value: str, valid: Iterable[str]) -> str:
    """Return `did you mean 'a'? choices: a, b, c` for a value that is none of them."""
    names = sorted(map(str, valid))
    near = get_close_matches(value, names[:MOST_OF_A_MESSAGE], n=1) if len(value) <= MOST_COMPARED else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    if same := [name for name in names if name != value and same_letters(name, value)]:
        hint = f"{same[0]!r} has the same letters in another form of Unicode ({same[0]!a}, not {value!a}); "
    more = [f"and {len(names) - MOST_CHOICES} more"] if len(names) > MOST_CHOICES else []
    return f"{hint}choices: {', '.join([*names[:MOST_CHOICES], *more]) or 'none'}"


def same_letters(one: str, other: str) -> bool:
    """Return whether two words are equal apart from their Unicode form (NFC, NFD)."""
    return normalize("NFC", one) == normalize("NFC", other)


def dotted(path: Sequence[str]) -> str:
    """Return a path as `--set` takes it, `a.b.c`; a part with a dot, for example, is quoted: `a."b.1".c`."""
    return ".".join(part if _is_plain(part) else _in_quotes(part) for part in path)


def _is_plain(part: str) -> bool:
    return part.isprintable() and bool(part) and not set(part) & set("\"'.= ")


def _in_quotes(part: str) -> str:
    quote = "'" if '"' in part else '"'
    return f"{quote}{printable(part)}{quote}"


def quoted(value: object) -> str:
    """Return a value's repr, at most 200 characters; the middle of a long one is left out."""
    return cut(_REPR.repr(value), MOST_OF_A_VALUE)


def printable(text: str) -> str:
    r"""Return a text with every character that does not print, line ends included, as an escape such as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def cut(text: str, most: int = MOST_OF_A_VALUE) -> str:
    """Return a text of at most `most` characters; a longer one loses its middle."""
    if len(text) <= most:
        return text
    mark = f" ... ({len(text)} characters) ... "
    tail = (most - len(mark)) // 3
    return f"{text[: most - len(mark) - tail]}{mark}{text[len(text) - tail :]}"


def message(text: str) -> str:
    """Return a message of at most 2,000 characters, without terminal escapes; long lines lose their middle."""
    kept: list[str] = []
    left = MOST_OF_A_MESSAGE - len("and 1000000 more lines")
    lines = text.split("\n")
    for line in lines:
        short = cut(printable(cut(line, MOST_OF_A_LINE)), MOST_OF_A_LINE)
        left -= len(short) + 1
        if left < 0:
            return "\n".join([*kept, f"and {len(lines) - len(kept)} more lines"])
        kept.append(short)
    return "\n".join(kept)


_REPR = Repr()
_REPR.maxlevel = 4
_REPR.maxdict = _REPR.maxlist = _REPR.maxtuple = 12
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = MOST_OF_A_VALUE
