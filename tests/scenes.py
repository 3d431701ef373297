"""A set of scenes with masks that a small network learns in seconds: bright squares and dark discs on gray."""

from pathlib import Path

import numpy as np

from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row, write
from raysl.results.confusion import IGNORED

CLASSES = ("ground", "square", "disc")
SIZES = ((24, 32), (32, 32), (32, 20))  # height and width of the images, one after the other

# An experiment on them; DATA is the path of the set.
EXPERIMENT = """\
name: scenes
data: {source: "parquet:DATA", image_size: 32, labels: 8}
model: {backbone: small_resnet, features: null}
seeds: 2
resources: {checkpoint_seconds: 0}
stages:
  segmentation:
    method: {name: segmentation, width: 16, output_stride: 4, dropout: 0.0, head_lr: 1.0}
    epochs: 3
    steps_per_epoch: 4
    batch_size: 8
    optimizer: {name: adam, lr: {grid: [1e-2, 1e-4]}}
    schedule: {name: poly}
    probe: segmentation
"""


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image, uint8 [H, W], and its mask; the last row of the mask is ignored."""
    draw = np.random.default_rng(number)
    height, width = SIZES[number % len(SIZES)]
    mask = np.zeros((height, width), np.uint8)
    top, left = draw.integers(0, (height - 9, width - 9))
    mask[top : top + 9, left : left + 9] = 1
    rows, columns = np.ogrid[:height, :width]
    centre = draw.integers(5, (height - 5, width - 5))
    mask[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= 20] = 2
    image = np.array([128, 220, 40], np.uint8)[mask] + draw.integers(0, 20, mask.shape, dtype=np.uint8)
    mask[-1] = IGNORED
    return image, mask


def write_scenes(path: Path, num_train: int = 24, num_test: int = 9) -> Path:
    """Write a set of scenes and return its path."""
    numbered = [(number, "train" if number < num_train else "test") for number in range(num_train + num_test)]
    made = ((scene(number), split) for number, split in numbered)
    rows = (Row(encode(image), 0, split, mask=encode(mask)) for (image, mask), split in made)
    write(path, rows, CLASSES, "drawn", "none", with_masks=True)
    return path


def experiment(folder: Path) -> str:
    """Write the set into a folder, and return the text of the experiment on it."""
    return EXPERIMENT.replace("DATA", str(write_scenes(folder / "scenes.parquet")))
