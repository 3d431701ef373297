"""`raysl show --images`: draws labelled training images, with their masks or the names of their classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from raysl.api.dataset_setup import resolve_data
from raysl.commands.pictures import drawn, inspected, numbered
from raysl.config import load
from raysl.console.progress import preparation
from raysl.console.screen import screen
from raysl.data.sampling.subsets import labelled_subset
from raysl.data.settings import TrialData
from raysl.data.storage.decoded_cache import TrainArrays
from raysl.data.storage.decoded_cache import load as load_arrays
from raysl.search.trials import stage_data

SEED = 0
MOST_IMAGES, COLUMNS = 12, 4
# Lengths in pixels of the picture.
EDGE, HEAD, NAME, MARGIN, BETWEEN = 192, 84, 26, 24, 12
SWATCH, LINE, ENTRY, MOST_NAMED = 14, 24, 180, 40  # of the legend
MOST_LETTERS = 24


def show_images(file: Path, output: Path, profile: str | None, overrides: Sequence[str]) -> None:
    """Draw labelled training images of seed 0, as decoded, for each distinct data of an experiment's stages."""
    console = screen()
    experiment = load(file, profile, overrides)
    with preparation(console) as told:
        datas = resolve_data(experiment, told)
    found = {one.model_dump_json(): one for stage in experiment.stages if (one := stage_data(experiment, stage, datas))}
    for data, path in zip(found.values(), numbered(output), strict=False):
        _draw(data, path, console)


def _draw(data: TrialData, path: Path, console: Console) -> None:
    from raysl.console.canvas import Canvas  # importing matplotlib takes seconds

    names = inspected(data, "looked at", console).class_names
    arrays = load_arrays(data)
    places = _places(data, arrays)
    scale = max(1, EDGE // arrays.images.shape[1])
    edge = scale * arrays.images.shape[1]
    has_masks = arrays.masks is not None
    wide = COLUMNS // 2 if has_masks else COLUMNS  # images of a row, each beside its mask
    step, rows = (2 if has_masks else 1) * edge + 2 * BETWEEN, -(-len(places) // wide)
    per_line = max(1, (wide * step) // ENTRY)
    legend = -(-min(len(names), MOST_NAMED) // per_line) * LINE if has_masks else 0
    canvas = Canvas(max(900, 2 * MARGIN + wide * step), HEAD + rows * (edge + NAME + BETWEEN) + legend + MARGIN)
    source = data.source.rpartition("/")[2]
    canvas.text(MARGIN, 36, f"{len(places)} of {data.labels} labelled images of {source}, seed {SEED}", size=16)
    for number, place in enumerate(places):
        left, top = MARGIN + number % wide * step, HEAD + number // wide * (edge + NAME + BETWEEN)
        canvas.image(left, top, edge, arrays.images[place])
        if arrays.masks is None:
            canvas.text(left, top + edge + NAME // 2, names[arrays.labels[place]][:MOST_LETTERS], size=11)
        else:
            canvas.image(left + edge + BETWEEN // 2, top, edge, _coloured(arrays.masks.classes[place], len(names)))
    for number, name in enumerate(names[:MOST_NAMED] if has_masks else ()):
        left = MARGIN + number % per_line * ENTRY
        top = HEAD + rows * (edge + NAME + BETWEEN) + number // per_line * LINE
        canvas.image(left, top, SWATCH, _coloured(np.full((1, 1), number, np.uint8), len(names)))
        canvas.text(left + SWATCH + 6, top + SWATCH // 2, name[:MOST_LETTERS], size=10)
    drawn(lambda: canvas.save(path), path, console)


def _places(data: TrialData, arrays: TrainArrays) -> np.ndarray:
    """Return the places of the first labelled images of seed 0 in the train pool."""
    shown = None if arrays.masks is None else arrays.masks.shown
    return labelled_subset(arrays.labels, data.labels, data.draw, SEED, data.num_classes, shown)[:MOST_IMAGES]


def _coloured(mask: np.ndarray, num_classes: int) -> np.ndarray:
    from raysl.reports.masks import coloured

    return (255 * coloured(mask, num_classes)).astype(np.uint8)
