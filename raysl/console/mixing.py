"""A picture of TriMix's mixing matrices with their images (Bdair et al. 2022, Figure 5)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from raysl.console.canvas import Canvas
from raysl.training.mixing import Matrix, Mixed

NUM_IMAGES = 10

# Lengths in pixels of the picture.
CELL, IMAGE = 56, 48  # of a matrix, and the image that it belongs to
HEAD, NAME, MARGIN, BETWEEN, NUMBER = 110, 40, 24, 48, 26
DARK = 0.55  # share of the scale beyond which a cell's number is white

# Of each matrix: what it is called, the colour map, and what the ends of its colours are.
SCALES = {
    "ground truth": ("RdBu", -1.0, 1.0),
    "predicted, before the softmax": ("RdBu", -1.0, 1.0),
    "predicted, after the softmax (columns sum to 1)": ("Blues", 0.0, None),
}


def matrices(found: Mixed) -> Mapping[str, Matrix]:
    """Return the matrices as they are shown, by name: a row for each virtual image, a column for each image."""
    return dict(zip(SCALES, (found.truth.T, found.before.T, found.after.T), strict=True))


def lambd(found: Mixed) -> float:
    """Return the mixing factor, of a batch of two or more."""
    return float(found.truth[0, 0])


def draw(title: str, found: Mixed, path: Path) -> None:
    """Write a PNG; OSError where it cannot be written."""
    composed(title, found).save(path)


def composed(title: str, found: Mixed) -> Canvas:
    """Return the picture: the images above each matrix, the virtual images to the left."""
    size = len(found.images)
    edge, first = size * CELL, MARGIN + CELL + NUMBER
    canvas = Canvas(first + len(SCALES) * (edge + BETWEEN), HEAD + NAME + CELL + NUMBER + edge + MARGIN)
    canvas.text(MARGIN, 36, title, size=16, weight="bold")
    mix = f"virtual image n is λ image n + (1 - λ) image {size + 1} - n, with λ = {lambd(found):.2f}"
    canvas.text(MARGIN, 72, f"{mix}; model in eval mode, embeddings standardised over these {size} images", size=13)
    top = HEAD + NAME + CELL + NUMBER
    for number, pixels in enumerate(found.virtual):
        canvas.image(MARGIN, top + number * CELL + (CELL - IMAGE) // 2, IMAGE, pixels)
        canvas.text(first - NUMBER // 2, top + number * CELL + CELL // 2, str(number + 1), size=11, ha="center")
    for place, (name, matrix) in enumerate(matrices(found).items()):
        left = first + place * (edge + BETWEEN)
        canvas.text(left, HEAD + NAME // 2 - 10, f"{'ABC'[place]}  {name}", size=13, weight="bold")
        for number, pixels in enumerate(found.images):
            canvas.image(left + number * CELL + (CELL - IMAGE) // 2, HEAD + NAME, IMAGE, pixels)
            canvas.text(left + number * CELL + CELL // 2, top - NUMBER // 2, str(number + 1), size=11, ha="center")
        _matrix(canvas, left, top, matrix, SCALES[name])
    return canvas


def _matrix(canvas: Canvas, left: int, top: int, matrix: Matrix, scale: tuple[str, float, float | None]) -> None:
    """Show a matrix, its numbers in its cells."""
    colours, low, high = scale
    high = float(matrix.max()) if high is None else high
    canvas.square(left, top, len(matrix) * CELL).imshow(matrix, cmap=colours, vmin=low, vmax=high)
    for (row, column), value in np.ndenumerate(matrix):
        middle = left + column * CELL + CELL // 2, top + row * CELL + CELL // 2
        colour = "white" if abs(value) > DARK * high else "black"
        canvas.text(*middle, f"{value:.2f}", size=9, ha="center", color=colour)
