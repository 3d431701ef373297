"""The picture of a method's diagnostic: matrices, with the images of their rows and columns."""

from pathlib import Path
from string import ascii_uppercase

import numpy as np

from raysl.console.canvas import Canvas
from raysl.training.diagnostics import Matrix, Shown

NUM_IMAGES = 10

# Lengths in pixels of the picture.
CELL, IMAGE = 56, 48  # of a matrix, and the image that it belongs to
HEAD, NAME, MARGIN, BETWEEN, NUMBER = 110, 40, 24, 48, 26
DARK = 0.55  # share of the scale beyond which a cell's number is white


def draw(title: str, found: Shown, path: Path) -> None:
    """Write a PNG; raises OSError if it cannot be written."""
    composed(title, found).save(path)


def composed(title: str, found: Shown) -> Canvas:
    """Return the picture: the images of the columns above each matrix, those of the rows to the left."""
    wide, high, first = len(found.columns) * CELL, len(found.rows) * CELL, MARGIN + CELL + NUMBER
    top = HEAD + NAME + CELL + NUMBER
    canvas = Canvas(first + len(found.matrices) * (wide + BETWEEN), top + high + MARGIN)
    canvas.text(MARGIN, 36, title, size=16, weight="bold")
    canvas.text(MARGIN, 72, found.caption, size=13)
    for number, pixels in enumerate(found.rows):
        canvas.image(MARGIN, top + number * CELL + (CELL - IMAGE) // 2, IMAGE, pixels)
        canvas.text(first - NUMBER // 2, top + number * CELL + CELL // 2, str(number + 1), size=11, ha="center")
    for letter, place, matrix in zip(ascii_uppercase, range(len(found.matrices)), found.matrices, strict=False):
        left = first + place * (wide + BETWEEN)
        canvas.text(left, HEAD + NAME // 2 - 10, f"{letter}  {matrix.title}", size=13, weight="bold")
        for number, pixels in enumerate(found.columns):
            canvas.image(left + number * CELL + (CELL - IMAGE) // 2, HEAD + NAME, IMAGE, pixels)
            canvas.text(left + number * CELL + CELL // 2, top - NUMBER // 2, str(number + 1), size=11, ha="center")
        _matrix(canvas, left, top, matrix)
    return canvas


def _matrix(canvas: Canvas, left: int, top: int, matrix: Matrix) -> None:
    """Draw a matrix, with its values in its cells."""
    high = float(matrix.values.max()) if matrix.high is None else matrix.high
    rows, columns = matrix.values.shape
    colours = "RdBu" if matrix.low < 0 else "Blues"
    axes = canvas.axes(left, top, columns * CELL, rows * CELL)
    axes.imshow(matrix.values, cmap=colours, vmin=matrix.low, vmax=high)
    for (row, column), value in np.ndenumerate(matrix.values):
        middle = left + column * CELL + CELL // 2, top + row * CELL + CELL // 2
        colour = "white" if abs(value) > DARK * high else "black"
        canvas.text(*middle, f"{value:.2f}", size=9, ha="center", color=colour)
