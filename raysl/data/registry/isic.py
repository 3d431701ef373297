"""ISIC 2017, part 1: segmentation of skin lesions (Codella et al. 2018).

The 150 validation images are left out. In the masks 255 is the lesion and 0 the skin around it.
"""

from collections.abc import Iterator

from raysl.data.registry.masked import Item, Recoding
from raysl.data.registry.published_files import Files, Part

# Each archive holds one folder of its name.
PARTS = tuple(
    Part(name, f"{name}.zip", inside=("isic2017", "isic2017_seg"))
    for name in (
        "ISIC-2017_Training_Data",
        "ISIC-2017_Training_Part1_GroundTruth",
        "ISIC-2017_Test_v2_Data",
        "ISIC-2017_Test_v2_Part1_GroundTruth",
    )
)
CLASSES = ("skin", "lesion")
END = "_segmentation.png"


def isic_items(train: Files, train_masks: Files, test: Files, test_masks: Files) -> Iterator[Item]:
    """Yield the training images and the test images, each in the order of their names; superpixels are left out."""
    recoding = Recoding({0: 0, 255: 1}, "0 (skin) or 255 (lesion)")
    for split, images, masks in (("train", train, train_masks), ("test", test, test_masks)):
        # The challenge's pages write _Segmentation, the archives _segmentation.
        found = {name.casefold(): name for name in masks.below("", END)}
        for name in images.below("", ".jpg"):
            mask = f"{name[: -len('.jpg')]}{END}"
            yield Item(split, images[name], masks[found.get(mask.casefold(), mask)], recoding)
