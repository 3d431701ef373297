"""HTML from text and parts: every text is escaped, and only what is marked as HTML is not."""

from collections.abc import Container, Iterable, Mapping, Sequence
from html import escape


class Html(str):
    """Text that is HTML already."""


Part = str | Html


def tag(name: str, *parts: Part, **attributes: str | None) -> Html:
    """Return an element; texts are escaped.

    attributes: `class_` is `class`; those that are None are left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{joined(parts)}</{name}>")


def joined(parts: Iterable[Part]) -> Html:
    """Return parts one after the other; texts are escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def table(header: Sequence[Part], rows: Iterable[Sequence[Part]], words: Container[int] = ()) -> Html:
    """Return a table that scrolls sideways where it is too wide; words: places of the columns of sentences."""
    heads = joined(
        tag("th", cell, scope="col", class_="words" if place in words else None) for place, cell in enumerate(header)
    )
    body = [tag("tr", *(_cell(place, cell, words) for place, cell in enumerate(row))) for row in rows]
    return wide(tag("table", tag("thead", tag("tr", heads)), tag("tbody", *body)))


def wide(content: Html) -> Html:
    """Return what scrolls sideways where it is too wide, by the keyboard too."""
    return tag("div", content, class_="wide", tabindex="0")


def _cell(place: int, cell: Part, words: Container[int]) -> Html:
    if place == 0:
        return tag("th", cell, scope="row")
    return tag("td", cell, class_="words" if place in words else None)


def facts(given: Mapping[str, Part]) -> Html:
    """Return names with their values; those without a value are left out."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in given.items() if value))


def folded(title: Part, *parts: Part, is_open: bool = False) -> Html:
    """Return parts below a title that opens and closes them."""
    return tag("details", tag("summary", title), *parts, open="" if is_open else None)


def code(text: str) -> Html:
    """Return a command or an id."""
    return tag("code", text)
