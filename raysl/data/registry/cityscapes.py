"""CityScapes (Cordts et al. 2016), the finely annotated images: 19 classes of the 34 ids; val tests.

The authors' archives take an account. The labels of their test images were never published.
"""

from collections.abc import Iterator

from raysl.data.registry.masked import Item, Recoding
from raysl.data.registry.published_files import Files, Part
from raysl.results.confusion import IGNORED

PARTS = (
    Part("leftImg8bit", "leftImg8bit_trainvaltest.zip", inside=("cityscapes", "cityscapes_seg")),
    Part("gtFine", "gtFine_trainvaltest.zip", inside=("cityscapes", "cityscapes_seg")),
)
IDS = 34
# The ids of the classes, in the order of their train ids (mcordts/cityscapesScripts, helpers/labels.py).
CLASSES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
TRAIN_IDS = dict.fromkeys([*range(IDS), 255], IGNORED) | {
    number: index for index, number in enumerate(CLASSES.values())
}
END = "_leftImg8bit.png"


def cityscapes_items(images: Files, masks: Files) -> Iterator[Item]:
    """Yield the training images and the test images, each in the order of their cities and names."""
    recoding = Recoding(TRAIN_IDS, "an id of CityScapes")
    for folder, split in (("train", "train"), ("val", "test")):
        for name in images.below(folder, END):
            yield Item(split, images[name], masks[f"{name.removesuffix(END)}_gtFine_labelIds.png"], recoding)
