"""The 1-pixel attack on D_l: the place and the value of the pixel that is overwritten in each class's images.

Cavallari & Ponti 2021, section III-C: in all labelled images of a class one pixel, at one place, has the same value.
Cavallari & Ponti 2022, section 3.4: that value is white.  Both choose the places arbitrarily; here they are seeded.
A class takes the first place, in the seeded order, at which one of the values left is seen: it differs by `SEEN` levels
or more from the clean pixel in `NEARLY_ALL` of the class's training images.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysl.data.sampling.permutations import Indices, Purpose, permutation, permutations
from raysl.data.sampling.subsets import labelled_subset
from raysl.data.settings import TrialData
from raysl.data.storage.decoded_cache import TrainArrays
from raysl.data.storage.decoding import Images

WHITE = 255
SHOWN_SEED = 0
LEVELS = 256
SEEN = 32  # levels
NEARLY_ALL = 0.95
MOST_PLACES, MOST_TRIES = 256, 4096  # per class; they bound the time if no value is seen

Colours = NDArray[np.uint8]


@dataclass(frozen=True)
class Attack:
    """The pixel of each class.

    places: int64 [K, 2], row and column from the top left corner; no two classes share one.
    colours: uint8 [K, C].
    """

    places: Indices
    colours: Colours

    def on(self, images: Images, labels: Indices) -> Images:
        """Return attacked copies of images, uint8 [N, H, W, C], of the classes `labels`, int64 [N]."""
        attacked = images.copy()  # the images may be part of D_u too
        rows, columns = self.places[labels].T
        attacked[np.arange(len(labels)), rows, columns] = self.colours[labels]
        return attacked

    def changes(self, images: Images, labels: Indices) -> Indices:
        """Return by how many levels each image's pixel changes, int64 [N], in the channel that changes most."""
        rows, columns = self.places[labels].T
        return _difference(images[np.arange(len(labels)), rows, columns], self.colours[labels])


def attack_of(data: TrialData, arrays: TrainArrays) -> Attack | None:
    """Return the attack of a trial's data; None if they have none.

    It depends on the settings and the content of the data, not on the trial's seed: whether a value is seen is judged
    on all labelled training images of the set, from which each seed draws its D_l.  If no value is seen at the places
    that are tried, a class takes the place and the value that are seen in most of its images.
    """
    if data.attack is None:
        return None
    assert data.image_size is not None, "`resolve` gave it"
    assert data.channels is not None, "`resolve` gave it"
    size, white = data.image_size, data.attack.value == "white"
    free = np.stack(np.divmod(permutation(size * size, data.attack.seed, Purpose.ATTACKED_PIXELS), size), axis=1)
    colours = np.full((1, data.channels), WHITE, np.uint8) if white else _distinct_colours(data)
    places, values = [], []
    for number in range(data.num_classes):
        tried = free[: min(MOST_PLACES, math.ceil(MOST_TRIES / len(colours)))]
        place, colour = _most_seen(arrays.images, np.flatnonzero(arrays.labels == number), tried, colours)
        places.append(free[place])
        values.append(colours[colour])
        free = np.delete(free, place, axis=0)
        colours = colours if white else np.delete(colours, colour, axis=0)
    return Attack(np.stack(places), np.stack(values))


def shown_images(data: TrialData, arrays: TrainArrays) -> tuple[Images, Indices]:
    """Return D_l at seed 0, clean: uint8 [N, H, W, C], and its labels, int64 [N]."""
    labelled = labelled_subset(arrays.labels, data.labels, data.draw, SHOWN_SEED, data.num_classes)
    return arrays.images[labelled], arrays.labels[labelled]


def _most_seen(images: Images, rows: Indices, places: Indices, colours: Colours) -> tuple[int, int]:
    """Return the indices of the first place and its first colour that are seen in nearly all of a class's images.

    rows: of the class among the images.  places: int64 [P, 2].  colours: uint8 [M, C].
    """
    best, most = (0, 0), -1.0
    for place, (row, column) in enumerate(places):
        pixels = images[rows, row, column]
        for number, colour in enumerate(colours):
            share = float(np.mean(_difference(pixels, colour) >= SEEN)) if len(rows) else 1.0
            if share >= NEARLY_ALL:
                return place, number
            if share > most:
                best, most = (place, number), share
    return best


def _difference(pixels: Colours, colours: Colours) -> Indices:
    difference: Indices = np.abs(pixels.astype(np.int64) - colours).max(axis=-1)
    return difference


def _distinct_colours(data: TrialData) -> Colours:
    """Return seeded colours, uint8 [M, C], M >= K; two are equal only if there are fewer gray values than classes."""
    assert data.attack is not None, "it is asked for"
    assert data.channels is not None, "`resolve` gave it"
    levels = permutations(data.channels, LEVELS, data.attack.seed, Purpose.ATTACK_COLOURS)
    number = np.arange(max(LEVELS, data.num_classes))[:, None]
    channel = np.arange(data.channels)
    # Beyond 256 colours the channels are shifted against one another, so that RGB colours do not repeat.
    colours: Indices = levels[channel, (number + channel * (number // LEVELS)) % LEVELS]
    return colours.astype(np.uint8)
