"""The 1-pixel attack on D_l: what is written where in the labelled images of each class.

Cavallari & Ponti 2021, section III-C: in all labelled images of a class one pixel, at one place, has the same value.
Cavallari & Ponti 2022, section 3.4: that value is white.  Neither says how places are drawn; here they are seeded.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysl.data.arrays import load
from raysl.data.decoding import Images
from raysl.data.orders import Indices, Purpose, permutation, permutations
from raysl.data.settings import TrialData
from raysl.data.subsets import labelled_subset

WHITE = 255
SHOWN_SEED = 0
LEVELS = 256


@dataclass(frozen=True)
class Attack:
    """The pixel of each class.

    places: int64 [K, 2], row and column from the top left corner; no two classes share one.
    colours: uint8 [K, C].
    """

    places: Indices
    colours: NDArray[np.uint8]

    def on(self, images: Images, labels: Indices) -> Images:
        """Return attacked copies of images, uint8 [N, H, W, C], of the classes `labels`, int64 [N]."""
        attacked = images.copy()  # what is given may be D_u too
        rows, columns = self.places[labels].T
        attacked[np.arange(len(labels)), rows, columns] = self.colours[labels]
        return attacked


def attack_of(data: TrialData) -> Attack | None:
    """Return the attack that a trial's data ask for: a function of the data settings, and of no trial's seed."""
    if data.attack is None:
        return None
    assert data.image_size is not None, "`resolve` gave it"
    assert data.channels is not None, "`resolve` gave it"
    seed, size = data.attack.seed, data.image_size
    pixels = permutation(size * size, seed, Purpose.ATTACKED_PIXELS)[: data.num_classes]
    places = np.stack(np.divmod(pixels, size), axis=1)
    if data.attack.value == "white":
        return Attack(places, np.full((data.num_classes, data.channels), WHITE, np.uint8))
    return Attack(places, _distinct_colours(data.num_classes, data.channels, seed))


def examples(data: TrialData, attack: Attack, count: int) -> list[tuple[Images, Images]]:
    """Return, class by class, the first images of D_l at seed 0, clean and attacked: uint8 [N, H, W, C], N <= count."""
    arrays = load(data)
    labelled = labelled_subset(arrays.labels, data.labels, data.draw, SHOWN_SEED, data.num_classes)
    found = []
    for number in range(data.num_classes):
        rows = labelled[arrays.labels[labelled] == number][:count]
        clean = arrays.images[rows]
        found.append((clean, attack.on(clean, arrays.labels[rows])))
    return found


def _distinct_colours(count: int, channels: int, seed: int) -> NDArray[np.uint8]:
    """Return seeded colours, uint8 [count, channels]; two are alike only where gray values are fewer than colours."""
    levels = permutations(channels, LEVELS, seed, Purpose.ATTACK_COLOURS)
    number = np.arange(count)[:, None]
    channel = np.arange(channels)
    # Beyond 256 colours the channels fall out of step, so that they do not come round together.
    colours: Indices = levels[channel, (number + channel * (number // LEVELS)) % LEVELS]
    return colours.astype(np.uint8)
