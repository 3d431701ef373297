"""Pascal VOC 2012 for segmentation (Everingham et al. 2015), with the further masks of SBD (Hariharan et al. 2011).

The training images are those of VOC's train and of SBD's train and val without those of VOC's val, which test: 10,582
and 1,449, as in DeepLab (Chen et al. 2018, arXiv:1606.00915). An image that both have keeps VOC's mask.
VOC's masks are PNGs with a palette whose index 255 is void (the edges of objects, and difficult ones); SBD's are MATLAB
files without void pixels.
"""

import warnings
from collections.abc import Iterator
from io import BytesIO

import numpy as np

from raysl.data.registry.archives import Archive
from raysl.data.registry.masked import Item
from raysl.data.registry.published_files import File, Files, Part
from raysl.data.storage.images import encode
from raysl.errors import DataError

# Addresses and MD5 sums as torchvision has them (torchvision/datasets/voc.py and sbd.py, 0.29.2).
VOC = Archive(
    ("https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",),
    "VOCtrainval_11-May-2012.tar",
    "md5",
    "6cd6e144f989b92b3379bac3b3de84fd",
)
SBD = Archive(
    ("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",),
    "benchmark.tgz",
    "md5",
    "82b4d87ceb2ed10f6038a1cba92111cb",
)
PARTS = (
    Part("VOCdevkit/VOC2012", VOC.name, download=VOC),
    Part("benchmark_RELEASE/dataset", SBD.name, download=SBD),
)
CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def voc_items(voc: Files, sbd: Files) -> Iterator[Item]:
    """Yield the training images and the test images, each in the order of their names."""
    train, val = (set(voc.lines(f"ImageSets/Segmentation/{split}.txt")) for split in ("train", "val"))
    further = {*sbd.lines("train.txt"), *sbd.lines("val.txt")} - train - val
    for name in sorted(train | further):
        mask = sbd[f"cls/{name}.mat"] if name in further else voc[f"SegmentationClass/{name}.png"]
        yield Item("train", voc[f"JPEGImages/{name}.jpg"], mask, _png_of_mat if name in further else None)
    for name in sorted(val):
        yield Item("test", voc[f"JPEGImages/{name}.jpg"], voc[f"SegmentationClass/{name}.png"])


def _png_of_mat(mask: File) -> bytes:
    """Return the PNG of a mask of SBD: `Segmentation` of the struct `GTcls` in a MATLAB file, which runs no code."""
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = np.asarray(loadmat(BytesIO(mask.read()), variable_names=["GTcls"])["GTcls"][0]["Segmentation"][0])
    except Exception as error:  # the reader may raise anything for damaged bytes
        raise DataError(f"{mask.place}: no MATLAB file with GTcls.Segmentation ({type(error).__name__})") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise DataError(f"{mask.place}: GTcls.Segmentation holds {pixels.dtype} {list(pixels.shape)}, not uint8 [H, W]")
    return encode(pixels)
