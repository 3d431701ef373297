"""Text from untrusted files, made safe to print."""

import re
import unicodedata

_DOUBTFUL = re.compile(r"\r\n|[^\x20-\x7e\n\t]")


def harmless(text: str) -> str:
    r"""Return a text with escapes such as `\x1b` or `\u202e` for characters that steer a terminal or are invisible.

    Those are control characters except tabs and line ends, marks of the direction of writing, characters without
    width, and lone surrogates.
    """
    return _DOUBTFUL.sub(_visible, text)


def one_line(text: str) -> str:
    r"""Return a text with its line ends written as `\n`, so that no part of it looks like a line of the program."""
    return text.replace("\r\n", "\n").replace("\n", "\\n")


def _visible(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\r\n" or character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
