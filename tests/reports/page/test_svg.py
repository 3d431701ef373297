"""Figures in a page are of the page's colours, have ids of their own, and numbers beside the pointer."""

import re
import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

from raysl.reports import figures
from raysl.reports.page.style import CSS, NUM_STEPS
from raysl.reports.page.svg import inline


@figures.styled
def drawn() -> Figure:
    figure, (panel,) = figures.panels(1, "a note", height=1.5)
    [dot] = panel.plot([0.123456], [1], "o", color=figures.PALETTE[0])
    figures.of_config(dot, "ab12")
    panel.plot([0, 1], [0, 1], color="#440154", label="<b>")
    panel.scatter([0, 1, 2], [1, 2, 3], color=figures.GREY)
    panel.set_title("a < b & $x")
    return figure


def test_colours_are_the_pages() -> None:
    text = inline(drawn(), "words", "f1-", {})
    used = set(re.findall(r"var\((--\w+)\)", text))
    assert {"--ink", "--c0", "--v0", "--grey"} <= used
    assert not re.findall(r"#[0-9a-f]{6}\b", text)
    light, _, dark = CSS.partition("prefers-color-scheme:dark")
    for name in used | {f"--v{NUM_STEPS - 1}"}:
        assert f"{name}:#" in light
        assert f"{name}:#" in dark


def test_ids_are_of_this_figure_alone_and_numbers_are_beside_the_pointer() -> None:
    texts = [inline(drawn(), "words", prefix, {"ab12": "lr 0.1\n<5 %>"}) for prefix in ("f1-", "f2-")]
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
    assert ids[0]
    assert not ids[0] & ids[1]
    root = ET.fromstring(texts[0])
    assert [title.text for title in root.iter() if title.tag.endswith("title")] == ["lr 0.1 <5 %>"]
    assert root.get("aria-label") == "words"
    assert "a &lt; b &amp; $x" in texts[0]


def test_numbers_and_styles_are_short() -> None:
    text = inline(drawn(), "words", "f1-", {})
    assert not re.search(r' (?:d|x|y|transform)="[^"]*\d\.\d\d', text)
    assert len(text) < 12_000
