"""An image of a published set with its mask, and masks whose values are other numbers than the classes'."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from raysl.data.registry.published_files import File
from raysl.data.storage.formats import bounded
from raysl.data.storage.images import ImageError, encode
from raysl.data.storage.masks import mask_pixels
from raysl.errors import DataError


class Item(NamedTuple):
    """An image of a split and its mask.

    png: returns the mask as raysl keeps it; None if the published file is one.
    """

    split: str
    image: File
    mask: File
    png: Callable[[File], bytes] | None = None


class Recoding:
    """Returns a mask, as a PNG, with other values than the published file has."""

    def __init__(self, values: Mapping[int, int], what: str) -> None:
        """Recode by a table.

        values: the new value of each that masks may have.  what: that each must be, for the error.
        """
        self.table = np.zeros(256, np.uint8)
        self.table[list(values)] = list(values.values())
        self.known = np.isin(np.arange(256), list(values))
        self.what = what

    def __call__(self, mask: File) -> bytes:
        """Return the recoded PNG; raises DataError, with the file, for what is no mask and for other values."""
        try:
            with bounded():
                pixels = mask_pixels(mask.read(), 0)
        except ImageError as error:
            raise DataError(f"{mask.place}: the image {error.wrong}") from error
        if not (known := self.known[pixels]).all():
            raise DataError(f"{mask.place}: the mask has the value {pixels[~known][0]}, which is not {self.what}")
        return encode(self.table[pixels])
