"""The files of MNIST and Fashion-MNIST, compressed or not; both sets use the same names."""

import gzip
import shutil
from pathlib import Path

from raysl.data.registry.archives import Archive

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
# md5 of the uncompressed files, in that order.
UNCOMPRESSED = {
    "mnist": (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    "fashion_mnist": (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
}


def uncompressed(name: str, archive: Archive) -> Archive | None:
    """Return the uncompressed file of a set's archive; None for other sets than these."""
    if name not in UNCOMPRESSED:
        return None
    path = archive.name.removesuffix(".gz")
    return Archive((), path, "md5", UNCOMPRESSED[name][FILES.index(Path(path).name)])


def uncompress(path: Path) -> None:
    """Write `NAME` beside `NAME.gz`."""
    with gzip.open(path) as compressed, path.with_suffix("").open("wb") as file:
        shutil.copyfileobj(compressed, file)
