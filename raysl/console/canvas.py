"""Pictures whose lengths are whole pixels."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raysl.data.storage.decoding import Images

DPI = 100


class Canvas:
    """A picture on which places and lengths are whole pixels, from the top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI))

    def text(self, left: int, middle: int, words: str, *, size: int, **style: Any) -> None:
        """Write words that begin at `left`, centred vertically at `middle`; style: options of matplotlib's text."""
        place = left / self.width, 1 - middle / self.height
        # The name of a class may hold characters that would be read as a formula.
        self.figure.text(*place, words, fontsize=size, va="center", parse_math=False, **style)

    def square(self, left: int, top: int, edge: int) -> Axes:
        """Return axes that are a square without frame and ticks."""
        return self.axes(left, top, edge, edge)

    def axes(self, left: int, top: int, width: int, height: int) -> Axes:
        """Return axes without frame and ticks."""
        place = left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height
        axes = self.figure.add_axes(place)
        axes.set_axis_off()
        return axes

    def image(self, left: int, top: int, edge: int, pixels: Images) -> Axes:
        """Show an image, uint8 [H, H, C], and return its axes."""
        axes = self.square(left, top, edge)
        shown = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        return axes

    def save(self, path: Path) -> None:
        """Write a PNG; raises OSError if it cannot be written."""
        self.figure.savefig(path, dpi=DPI)
