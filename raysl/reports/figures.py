"""How figures are drawn: for one column of a two-column page, safe for colour-blind eyes, the same bytes every time."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

COLUMN = 3.5  # inches: one column of a two-column page
PANEL_HEIGHT = 1.65  # inches, without its title
TITLE_WIDTH = 25  # characters that fit above a panel of half a column
NOTE_WIDTH = 76  # characters that fit below the panels
LEGEND_WIDTH = 70  # characters that fit side by side in a legend
HANDLE_WIDTH = 6  # characters that a legend's handle takes the room of
MOST_COLUMNS = 5  # of a legend
NOTE_SIZE = 6  # points
NOTE_LINE = 1.3 * NOTE_SIZE / 72  # inches
LEGEND_ROWS, LEGEND_LINE = 2, 0.14  # rows that panels have room for, and inches of each more

# Petroff 2021, "Accessible color sequences for data visualization", arXiv:2107.02270: the sequence of ten.
PALETTE = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
DECADES = 100  # of a logarithmic axis on which there is room for 2 and 5 between powers of 10
MARKERS = "o^sDvP*X<>"
INK, GREY = "#222222", "#8a8a8a"
SELECTED: dict[str, Any] = {
    "marker": "*", "markersize": 9, "color": INK, "markerfacecolor": "none", "markeredgewidth": 0.8, "linestyle": "",
}  # fmt: skip

STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.0,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "svg.hashsalt": "raysl",
}

# To be put on functions that draw: what is set only while a figure is saved comes too late for its parts.
styled = matplotlib.rc_context(STYLE)


def panels(num_panels: int, note: str, *, height: float, legend: Sequence[str] = ()) -> tuple[Figure, list[Axes]]:
    """Return a figure of one column's width, and its panels side by side and one row below the other.

    note: sentences below them.  height: of a row, in inches, with room for a short legend.
    legend: the labels of `legend_below`, where they may be many.
    """
    num_columns = min(2, num_panels)
    num_rows = -(-num_panels // num_columns)
    lines = textwrap.wrap(note, NOTE_WIDTH)
    num_more = max(0, -(-len(legend) // legend_columns(legend)) - LEGEND_ROWS)
    heights = (num_rows * height + num_more * LEGEND_LINE, len(lines) * NOTE_LINE + 0.02)
    figure = Figure(figsize=(COLUMN, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).flat
    below.text(0.01, 0.98, "\n".join(lines), fontsize=NOTE_SIZE, color=INK, va="top", linespacing=1.2)
    return figure, [above.add_subplot(num_rows, num_columns, place + 1) for place in range(num_panels)]


def legend_below(axes: Axes, handles: Sequence[Artist], labels: Sequence[str], *, handlelength: float = 2.0) -> None:
    """Put one legend below all panels of the figure that holds these axes; handlelength: in widths of the font."""
    figure = axes.get_figure(root=False)
    assert figure is not None, "it is a panel"
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=legend_columns(labels),
        handlelength=handlelength,
        handletextpad=0.5,
        columnspacing=1.0,
    )


def legend_columns(labels: Sequence[str]) -> int:
    """Return in how many columns a legend has room."""
    for num_columns in range(min(MOST_COLUMNS, len(labels)), 1, -1):
        columns = np.array_split(np.array([len(label) for label in labels]), num_columns)
        if sum(int(column.max()) + HANDLE_WIDTH for column in columns) <= LEGEND_WIDTH:
            return num_columns
    return 1


def set_title(axes: Axes, title: str) -> None:
    """Set a panel's title, on as many lines as it takes."""
    columns = axes.get_subplotspec()
    assert columns is not None, "it is a panel"
    width = TITLE_WIDTH if columns.get_gridspec().ncols > 1 else 2 * TITLE_WIDTH
    axes.set_title(wrapped(title, width))


def title_height(titles: Sequence[str]) -> float:
    """Return the inches that titles above panels side by side take."""
    return max(wrapped(title, TITLE_WIDTH).count("\n") + 1 for title in titles) * NOTE_LINE * 7 / NOTE_SIZE


def wrapped(title: str, width: int) -> str:
    """Return a title on lines of a width in characters, broken after its parts, else inside a name."""
    lines = [""]
    for part in re.split(r"(?<=, )|(?<=/)", title):
        for piece in [part] if len(part) <= width else re.split(r"(?<=_)", part):
            if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def set_log(axes: Axes, which: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic, with plain numbers on it."""
    axes.set(**{f"{which}scale": "log"})
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < DECADES * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def colour(place: int) -> str:
    """Return the colour of a class; those beyond the palette have it again, with another marker."""
    return PALETTE[place % len(PALETTE)]


def marker(place: int) -> str:
    """Return the marker of a class."""
    return MARKERS[place // len(PALETTE) % len(MARKERS)]


@styled
def save(figure: Figure, folder: Path, name: str) -> Sequence[Path]:
    """Write a figure as PNG and as SVG, and return their paths."""
    paths = [folder / f"{name}.{form}" for form in ("png", "svg")]
    for path, unsaid in zip(paths, ("Software", "Date"), strict=True):
        figure.savefig(path, metadata={unsaid: None})
    return paths
