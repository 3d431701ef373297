"""A picture and a table of the attack on D_l."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.patches import Circle
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raysl.console.canvas import Canvas
from raysl.data.augment.attack import SEEN, SHOWN_SEED, Attack
from raysl.data.sampling.permutations import Indices
from raysl.data.settings import TrialData
from raysl.data.storage.decoding import Images

MOST_ROWS = 10
MOST_PAIRS = 3
MOST_LETTERS = 20

# Lengths in pixels of the picture.
EDGE, LEAST_SCALE = 256, 3  # of an image; each of its own pixels becomes a square of whole pixels
HEAD, NAMES, MARGIN, BETWEEN, WITHIN = 110, 280, 24, 30, 4
LEAST_WIDTH = 1100  # of the head
RADIUS, LEAST_RADIUS = 12, 1.2  # of a circle; the second in the image's own pixels


def title(data: TrialData) -> str:
    """Return the title of a trial's attack."""
    assert data.attack is not None
    size, source, attack = data.image_size, data.source.rpartition("/")[2], data.attack
    about = f"value {attack.value}, seed {attack.seed}, probes on {attack.probe} images"
    return f"1-pixel attack on {source} at {size} x {size}: {about}"


def table(title: str, names: Sequence[str], attack: Attack, images: Images, labels: Indices, console: Console) -> None:
    """Print each class's pixel, and in how many of its images it changes and by how much.

    images: D_l at seed 0, clean, uint8 [N, H, W, C].  labels: int64 [N].
    """
    changes = attack.changes(images, labels)
    lines = Table("class")
    for column in ("row", "column", "value", "images", "changed", f"by {SEEN} or more", "median change"):
        lines.add_column(column, justify="right")
    for number, name in enumerate(names):
        row, column = attack.places[number].tolist()
        lines.add_row(Text(name), str(row), str(column), _colour(attack, number), *_counts(changes[labels == number]))
    lines.add_section()
    lines.add_row("all", "", "", "", *_counts(changes))
    console.print(title, markup=False, soft_wrap=True)
    console.print(lines)
    console.print(f"images: labelled ones of seed {SHOWN_SEED}; changes in levels of 0 to 255", soft_wrap=True)


def _counts(changes: Indices) -> tuple[str, ...]:
    median = f"{np.median(changes):.0f}" if len(changes) else ""
    return str(len(changes)), str((changes > 0).sum()), str((changes >= SEEN).sum()), median


def draw(title: str, names: Sequence[str], attack: Attack, images: Images, labels: Indices, path: Path) -> None:
    """Write a PNG with a row for each of the first classes: clean images, each beside its attacked copy.

    images: D_l at seed 0, clean, uint8 [N, H, W, C].  labels: int64 [N].
    Raises OSError if the file cannot be written.
    """
    shown = [images[labels == number][:MOST_PAIRS] for number in range(len(names))][:MOST_ROWS]
    size = images.shape[1]
    edge = size * max(LEAST_SCALE, round(EDGE / size))
    step = 2 * edge + WITHIN + BETWEEN  # from one pair to the next
    width = MARGIN + NAMES + step * max(map(len, shown))
    canvas = Canvas(max(LEAST_WIDTH, width), HEAD + len(shown) * (edge + BETWEEN))
    first = f" (the first {len(shown)} of {len(names)} classes)" if len(shown) < len(names) else ""
    canvas.text(MARGIN, 36, f"{title}{first}", size=16, weight="bold")
    canvas.text(
        MARGIN,
        72,
        f"labelled images of seed {SHOWN_SEED}, each beside its attacked copy with the pixel circled",
        size=13,
    )
    for number, clean in enumerate(shown):
        top = HEAD + number * (edge + BETWEEN)
        _name(canvas, top + edge // 2, names[number], attack, number)
        attacked = attack.on(clean, np.full(len(clean), number))
        for place, (before, after) in enumerate(zip(clean, attacked, strict=True)):
            left = MARGIN + NAMES + place * step
            canvas.image(left, top, edge, before)
            _circled(canvas, left + edge + WITHIN, top, edge, after, attack.places[number])
    canvas.save(path)


def _name(canvas: Canvas, middle: int, name: str, attack: Attack, number: int) -> None:
    row, column = attack.places[number].tolist()
    short = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
    canvas.text(MARGIN, middle - 32, short, size=15, weight="bold")
    canvas.text(MARGIN, middle, f"row {row}, column {column}", size=13)
    canvas.text(MARGIN, middle + 28, f"value {_colour(attack, number)}", size=13)


def _colour(attack: Attack, number: int) -> str:
    return ", ".join(map(str, attack.colours[number].tolist()))


def _circled(canvas: Canvas, left: int, top: int, edge: int, pixels: Images, place: Indices) -> None:
    row, column = place.tolist()
    radius = max(LEAST_RADIUS, RADIUS * len(pixels) / edge)
    circle = Circle((column, row), radius, fill=False, edgecolor="red", linewidth=1.5, clip_on=False)
    canvas.image(left, top, edge, pixels).add_patch(circle)
