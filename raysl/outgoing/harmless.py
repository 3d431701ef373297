"""Text of other people's files, which may be printed."""

import re
import unicodedata

_DOUBTFUL = re.compile(r"\r\n|[^\x20-\x7e\n\t]")


def harmless(text: str) -> str:
    r"""Return a text with every character that steers a terminal, or is not seen, written as `\x1b` or `\u202e`.

    Those are control characters but for tabs and ends of lines, marks of the direction of writing, characters without
    width, and halves of characters.
    """
    return _DOUBTFUL.sub(_visible, text)


def one_line(text: str) -> str:
    r"""Return a text with its ends of lines written as `\n`, so that none of it looks like a line of the program's."""
    return text.replace("\r\n", "\n").replace("\n", "\\n")


def _visible(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\r\n" or character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
