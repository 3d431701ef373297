"""Folders of image files with masks."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import here

from raysl.data.registry.sets import locate
from raysl.data.settings import DataSettings
from raysl.data.storage.parquet import Row, read_batches, read_labels
from raysl.data.storage.scan import inspect
from raysl.errors import DataError

EXPERIMENT = Path(__file__).parents[3] / "search_spaces" / "segmentation.yaml"
NAMES = {"train": ("b.jpg", "a.PNG", "c.d.png"), "test": ("t.png",)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of 6 x 8 pixels, whose masks have the values 0 to 3 and 255, and an unlabelled image."""
    folder = tmp_path / "images"
    for split, names in NAMES.items():
        for part in ("images", "masks"):
            (folder / split / part).mkdir(parents=True)
        for number, name in enumerate(names):
            image = folder / split / "images" / name
            Image.fromarray(np.full((6, 8), 50 * number, np.uint8)).save(image)
            mask = np.full((6, 8), number, np.uint8)
            mask[0] = 255
            Image.fromarray(mask).save(folder / split / "masks" / f"{image.stem}.png")
    Image.fromarray(np.full((6, 8), 3, np.uint8)).save(folder / "test" / "masks" / "t.png")
    (folder / "unlabelled").mkdir()
    shutil.copy(folder / "test" / "images" / "t.png", folder / "unlabelled" / "u.png")
    (folder / "train" / "masks" / "notes.txt").write_text("no mask")
    return folder


def rows(folder: Path) -> list[Row]:
    batches = read_batches(locate(f"folder:{folder}"))
    return [Row(row["image"], 0, row["split"], mask=row["mask"]) for batch in batches for row in batch.to_pylist()]


def class_names(folder: Path) -> tuple[str, ...]:
    return read_labels(locate(f"folder:{folder}")).class_names


def test_images_are_taken_with_the_mask_of_their_name(images: Path) -> None:
    pairs = [("train", "a.PNG", "a"), ("train", "b.jpg", "b"), ("train", "c.d.png", "c.d"), ("test", "t.png", "t")]
    expected = [
        Row(
            (images / split / "images" / name).read_bytes(),
            0,
            split,
            mask=(images / split / f"masks/{stem}.png").read_bytes(),
        )
        for split, name, stem in pairs
    ]
    assert rows(images) == [*expected, Row((images / "unlabelled/u.png").read_bytes(), 0, "unlabelled")]
    facts = inspect(DataSettings(source=f"folder:{images}"))
    assert (facts.num_train, facts.num_unlabelled, facts.num_test, facts.masks) == (3, 1, 1, True)


def test_without_names_classes_are_numbered_up_to_the_largest_value(images: Path) -> None:
    assert class_names(images) == ("0", "1", "2", "3")  # 3 is in a test mask alone
    shutil.rmtree(images / "test")
    assert class_names(images) == ("0", "1", "2")


def test_classes_are_the_lines_of_a_file(images: Path) -> None:
    (images / "classes.txt").write_text("\ufeffsky\r\n road \r\nVoid\r\nÄste\r\n\r\n", encoding="utf-8")
    assert class_names(images) == ("sky", "road", "Äste")
    (images / "classes.txt").write_text("sky\nroad\nvoid\ntree\ncar")
    assert class_names(images) == ("sky", "road", "tree", "car")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n\nb\nc", r"classes\.txt: line 2 is empty; each line names a class"),
        ("a\nb\na", r"classes\.txt: line 3: class 'a' is there twice"),
        ("", r"classes\.txt: line 1 is empty"),
        ("a\nvoid", r"classes\.txt: masks need at least 2 classes that are not ignored"),
        ("\n".join(map(str, range(256))), r"classes\.txt: 256 class_names; a mask of 8 bits has room for 255"),
        (b"\xff\xfe", r"classes\.txt: the names of classes must be UTF-8"),
        (
            "a\nb\nc",
            r"images/test/images/t\.png: the image has a mask with the value 3, which is no class; choices: 0 to 2",
        ),
    ],
)
def test_class_names_that_are_none_are_refused(images: Path, text: str | bytes, message: str) -> None:
    (images / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        inspect(DataSettings(source=f"folder:{images}"))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("train/masks/b.png", r"train/images/b\.jpg: the image has no mask; expected .*images/train/masks/b\.png$"),
        ("test/masks/t.png", r"images/test/masks: must hold images and no folders; found nothing"),
        ("train/images/c.d.png", r"train/masks/c\.d\.png: a mask without an image; .*train/images has no c\.d\.\*$"),
        ("test/images/t.png", r"images/test/images: must hold images and no folders; found nothing"),
    ],
)
def test_a_missing_mask_and_a_mask_without_an_image_are_named(images: Path, lost: str, message: str) -> None:
    (images / lost).unlink()
    with pytest.raises(DataError, match=message):
        locate(f"folder:{images}")


def one_name_twice(folder: Path) -> None:
    shutil.copy(folder / "train/images/a.PNG", folder / "train/images/a.jpg")


def masks_of_test_lost(folder: Path) -> None:
    shutil.rmtree(folder / "test/masks")


def another_folder(folder: Path) -> None:
    (folder / "train/more").mkdir()


def stray_image(folder: Path) -> None:
    shutil.copy(folder / "train/images/a.PNG", folder / "train")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (one_name_twice, r"train/images/a\.jpg: a\.PNG has the same name, but for the suffix; keep one"),
        (masks_of_test_lost, r"images/test: must hold images/ and masks/; found images/$"),
        (another_folder, r"images/train: must hold images/ and masks/; found images/, masks/, more/$"),
        (stray_image, r"images/train: holds a\.PNG; images must lie in images/"),
    ],
)
def test_other_files_are_refused(images: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(images)
    with pytest.raises(DataError, match=message):
        locate(f"folder:{images}")


def test_masks_of_0_and_255_alone_are_explained(images: Path) -> None:
    for mask in images.rglob("masks/*.png"):
        Image.fromarray(np.array([[0, 255]] * 3, np.uint8)).save(mask)
    with pytest.raises(
        DataError, match=r"images: the masks hold no class but 0; .*: 0, 1 and so on, and 255 is ignored"
    ):
        locate(f"folder:{images}")


def test_a_mask_that_is_none_is_named_by_its_image(images: Path) -> None:
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(images / "train/masks/b.png")
    for prepared in (lambda: None, lambda: (images / "classes.txt").write_text("a\nb\nc\nd")):
        prepared()
        done = here("tune", EXPERIMENT, "--set", f"data.source=folder:{images}", "--set", "data.labels=2", "--dry-run")
        assert done.returncode == 2
        assert "train/images/b.jpg: the image has a mask of mode RGB; a mask is" in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["train/masks/b.png", "classes.txt"])
def test_a_folder_is_converted_again_when_a_mask_or_a_name_has_changed(images: Path, name: str) -> None:
    (images / "classes.txt").write_text("a\nb\nc\nd")
    first = locate(f"folder:{images}")
    assert locate(f"folder:{images}") == first
    content = (images / name).read_bytes()
    (images / name).write_bytes(content[:-1] + b"e")
    assert locate(f"folder:{images}") != first


def test_a_folder_of_classes_stays_one_of_classes(images: Path) -> None:
    (images / "train/masks").rename(images / "train/labels")
    shutil.rmtree(images / "test")
    found = read_labels(locate(f"folder:{images}"))
    assert found.mask_values is None
    assert found.class_names == ("images", "labels")
