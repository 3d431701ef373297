"""Figures inside a page: small SVG in the colours of the page, light or dark, with numbers beside the pointer."""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure

from raysl.reports.figures import CONFIG, GREY, INK, PALETTE, STYLE
from raysl.reports.page.html import Html

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_COLOURS = {INK: "var(--ink)", GREY: "var(--grey)", "#ffffff": "var(--paper)", "#000000": "var(--ink)"}
_COLOURS |= {colour: f"var(--c{place})" for place, colour in enumerate(PALETTE)}
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_GEOMETRY = {"d", "points", "transform", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"}


def inline(figure: Figure, words: str, prefix: str, numbers: Mapping[str, str]) -> Html:
    """Return a figure as an SVG element.

    words: what it shows, for those who cannot see it.  prefix: of its ids, which no other figure of the page has.
    numbers: what is shown beside the pointer, by the config's id.
    """
    content = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.fonttype": "none"}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(content.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{{{SVG}}}metadata":
                parent.remove(child)
    for element in root.iter():
        _rewrite(element, prefix)
        if (name := element.get("id", "")).startswith(f"{prefix}{CONFIG}"):
            _name(element, numbers.get(name.removeprefix(f"{prefix}{CONFIG}"), ""))
    _drop_unused_ids(root)
    width = float(root.get("width", "0").removesuffix("pt")) * 4 / 3
    root.attrib |= {"role": "img", "aria-label": words, "width": f"{width:.0f}"}
    root.attrib.pop("height", None)
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", LINK)
    return Html(ET.tostring(root, encoding="unicode").replace("\n", " "))


def _rewrite(element: ET.Element, prefix: str) -> None:
    """Shorten the numbers of an element, and give its colours and ids to the page."""
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set(key, f"{prefix}{value}")
        elif key == f"{{{LINK}}}href" and value.startswith("#"):
            element.set(key, f"#{prefix}{value[1:]}")
        elif key in _GEOMETRY:
            element.set(key, _NUMBER.sub(lambda found: f"{float(found[0]):.1f}", value))
        else:
            value = _REFERENCE.sub(lambda found: f"url(#{prefix}{found[1]})", value)
            element.set(key, _recoloured(value))
    if element.text is not None and element.text.isspace():
        element.text = None
    if element.tail is not None and element.tail.isspace():
        element.tail = None


def _recoloured(style: str) -> str:
    for colour, variable in _COLOURS.items():
        style = style.replace(colour, variable)
    return style


def _name(element: ET.Element, words: str) -> None:
    title = ET.Element(f"{{{SVG}}}title")
    title.text = words
    element.insert(0, title)


def _drop_unused_ids(root: ET.Element) -> None:
    text = ET.tostring(root, encoding="unicode")
    used = set(re.findall(r"#([\w.-]+)", text))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
