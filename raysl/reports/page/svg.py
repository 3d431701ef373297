"""Figures inside a page: small SVG in the colours of the page, light or dark, with numbers beside the pointer."""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from raysl.reports.figures import CONFIG, GREY, INK, PALETTE, STYLE
from raysl.reports.page.html import Html
from raysl.reports.page.style import COLOUR_MAP, NUM_STEPS

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
PIXELS = 4 / 3  # a point
_COLOURS = {INK: "var(--ink)", GREY: "var(--grey)", "#ffffff": "var(--paper)", "#000000": "var(--ink)"}
_COLOURS |= {colour: f"var(--c{place})" for place, colour in enumerate(PALETTE)}
_COLOURS |= {to_hex(COLOUR_MAP(n)): f"var(--v{n * NUM_STEPS // COLOUR_MAP.N})" for n in range(COLOUR_MAP.N)}
_FONT = re.compile(r"font: ([\d.]+px) [^;]*")
_HEX = re.compile(r"#[0-9a-f]{6}\b")
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_SPACES = re.compile(r"[ \n]+")
_USED = re.compile(r"#([\w.-]+)")
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
        for child in [child for child in parent if _says_nothing(child)]:
            parent.remove(child)
    short: dict[str, str] = {}
    for element in root.iter():
        if (name := element.get("id", "")).startswith(CONFIG):
            _name(element, numbers.get(name.removeprefix(CONFIG), ""))
        _rewrite(element, lambda name: short.setdefault(name, f"{prefix}{len(short)}"))
    _drop_unused_ids(root)
    for element in root.iter():
        _share_style(element)
    width = float(root.get("width", "0").removesuffix("pt")) * PIXELS
    root.attrib |= {"role": "img", "aria-label": words, "width": f"{width:.0f}"}
    root.attrib.pop("height", None)
    ET.register_namespace("", SVG)
    return Html(_SPACES.sub(" ", ET.tostring(root, encoding="unicode")))


def _says_nothing(element: ET.Element) -> bool:
    """Return whether an element is not seen: metadata, the style that the page has, or a shape without colour."""
    if element.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
        return True
    return element.tag == f"{{{SVG}}}path" and element.get("style", "").strip("; ") == "fill: none"


def _rewrite(element: ET.Element, short: Callable[[str], str]) -> None:
    """Shorten the numbers and ids of an element, and give its colours to the page; short: id -> one of the page."""
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set(key, short(value))
        elif key == f"{{{LINK}}}href":
            del element.attrib[key]
            element.set("href", f"#{short(value[1:])}" if value.startswith("#") else value)
        elif key in _GEOMETRY:
            element.set(key, _NUMBER.sub(lambda found: f"{float(found[0]):.1f}", value))
        else:
            value = _REFERENCE.sub(lambda found: f"url(#{short(found[1])})", value)
            value = _FONT.sub(r"font-size: \1", value)
            element.set(key, _HEX.sub(lambda found: _COLOURS.get(found[0], found[0]), value))
    if element.text is not None and element.text.isspace():
        element.text = None
    if element.tail is not None and element.tail.isspace():
        element.tail = None


def _name(element: ET.Element, words: str) -> None:
    title = ET.Element(f"{{{SVG}}}title")
    title.text = words
    element.insert(0, title)


def _drop_unused_ids(root: ET.Element) -> None:
    used = set(_USED.findall(ET.tostring(root, encoding="unicode")))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)


def _share_style(group: ET.Element) -> None:
    """Say the style of points once, where all children of a group are points of one style."""
    children = list(group)
    styles = {child.get("style") for child in children}
    if len(children) < 2 or len(styles) > 1 or any(child.tag != f"{{{SVG}}}use" for child in children):
        return
    style = styles.pop()
    if style is not None and "style" not in group.attrib:
        group.set("style", style)
        for child in children:
            del child.attrib["style"]
