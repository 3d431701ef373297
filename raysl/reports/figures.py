"""How figures are drawn: for a column or a page of a paper, safe for colour-blind eyes, the same bytes every time."""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

P = ParamSpec("P")
T = TypeVar("T")
COLUMN, PAGE = 3.5, 7.16  # inches: one column of a two-column page, and both
FONT_SIZE = 7.0  # points
TALLEST = 1.6  # how much higher a panel of a page's width is than one of a column's
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
CONFIG = "config-"  # and the config's id: the name of what is drawn of it
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
    "text.parse_math": False,  # names are no formulas
    "pdf.fonttype": 42,  # journals refuse others
}

_SIZES = [key for key in STYLE if "size" in str(key)]


@dataclass(frozen=True)
class Layout:
    """The size of figures.

    width: inches.  font_size: points, of titles and labels; ticks and legends are a little smaller.
    has_notes: whether what figures say of themselves stands below their panels.
    """

    width: float = COLUMN
    font_size: float = FONT_SIZE
    has_notes: bool = True

    @property
    def scale(self) -> float:
        """The size of letters, as a multiple of the usual one."""
        return self.font_size / FONT_SIZE

    @property
    def num_columns(self) -> int:
        """Most panels side by side."""
        return max(1, round(2 * self.width / COLUMN / self.scale))

    def characters(self, num: int) -> int:
        """Return how many characters have room where `num` have in one column of the usual letters."""
        return max(8, round(num * self.width / COLUMN / self.scale))


_layout: ContextVar[Layout] = ContextVar("layout", default=Layout())  # noqa: B039  (it is frozen)


def layout() -> Layout:
    """Return the size that figures are drawn in."""
    return _layout.get()


@contextmanager
def laid_out(size: Layout) -> Iterator[None]:
    """Draw figures in another size."""
    before = _layout.set(size)
    try:
        yield
    finally:
        _layout.reset(before)


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that draws: what is set only while a figure is saved comes too late for its parts."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        sizes = {key: STYLE[key] * layout().scale for key in _SIZES}
        with matplotlib.rc_context(STYLE | sizes):
            return draw(*args, **kwargs)

    return drawn


def panels(num_panels: int, note: str, *, height: float, legend: Sequence[str] = ()) -> tuple[Figure, list[Axes]]:
    """Return a figure of one column's width, and its panels side by side and one row below the other.

    note: sentences below them.  height: of a row, in inches, with room for a short legend.
    legend: the labels of `legend_below`, where they may be many.
    """
    size = layout()
    num_columns = min(size.num_columns, num_panels)
    num_rows = -(-num_panels // num_columns)
    lines = textwrap.wrap(note, size.characters(NOTE_WIDTH)) if size.has_notes else []
    height *= min(TALLEST, max(1.0, size.width / num_columns / COLUMN / size.scale))
    num_more = max(0, -(-len(legend) // legend_columns(legend)) - LEGEND_ROWS)
    heights = [size.scale * own for own in (num_rows * height + num_more * LEGEND_LINE, len(lines) * NOTE_LINE + 0.02)]
    figure = Figure(figsize=(size.width, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).flat
    below.text(0.01, 0.98, "\n".join(lines), fontsize=NOTE_SIZE * size.scale, color=INK, va="top", linespacing=1.2)
    return figure, [above.add_subplot(num_rows, num_columns, place + 1) for place in range(num_panels)]


def panel_each(
    names: Sequence[str],
    shown: Sequence[T],
    note: str,
    draw_panel: Callable[[Axes, T], None],
    height: float = PANEL_HEIGHT,
) -> Figure:
    """Return a figure with a titled panel for each of `shown`; height: of a row without its title, as of `panels`."""
    figure, places = panels(len(shown), note, height=height + title_height(names))
    for panel, name, one in zip(places, names, shown, strict=True):
        draw_panel(panel, one)
        set_title(panel, name)
    return figure


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
        if sum(int(column.max()) + HANDLE_WIDTH for column in columns) <= layout().characters(LEGEND_WIDTH):
            return num_columns
    return 1


def set_title(axes: Axes, title: str) -> None:
    """Set a panel's title, on as many lines as it takes."""
    columns = axes.get_subplotspec()
    assert columns is not None, "it is a panel"
    axes.set_title(wrapped(title, layout().characters(2 * TITLE_WIDTH) // columns.get_gridspec().ncols))


def title_height(titles: Sequence[str]) -> float:
    """Return the inches that titles above panels side by side take."""
    width = layout().characters(2 * TITLE_WIDTH) // layout().num_columns
    num_lines = max(wrapped(title, width).count("\n") + 1 for title in titles)
    return num_lines * NOTE_LINE * FONT_SIZE / NOTE_SIZE


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


def of_config(artist: Artist, config_id: str) -> None:
    """Note which config an artist is of; pages show its numbers beside the pointer."""
    artist.set_gid(f"{CONFIG}{config_id}")


def colour(place: int) -> str:
    """Return the colour of a class; those beyond the palette have it again, with another marker."""
    return PALETTE[place % len(PALETTE)]


def marker(place: int) -> str:
    """Return the marker of a class."""
    return MARKERS[place // len(PALETTE) % len(MARKERS)]


FORMATS = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}  # and what they leave unsaid


@styled
def save_as(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the end of the path; OSError where it cannot be written."""
    figure.savefig(path, metadata=FORMATS[path.suffix.removeprefix(".").lower()])


def save(figure: Figure, folder: Path, name: str) -> Sequence[Path]:
    """Write a figure as PNG and as SVG, and return their paths."""
    paths = [folder / f"{name}.{form}" for form in ("png", "svg")]
    for path in paths:
        save_as(figure, path)
    return paths
