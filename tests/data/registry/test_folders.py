"""Folders of image files."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysl.data.registry import folders
from raysl.data.registry.sets import locate
from raysl.data.settings import DataSettings
from raysl.data.storage.decoded_cache import prepare
from raysl.data.storage.parquet import Row, read_batches, read_labels
from raysl.data.storage.scan import inspect, resolve
from raysl.errors import DataError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes, one without a test image, and unlabelled images."""
    folder = tmp_path / "images"
    names = ["train/dog/b.png", "train/dog/a.jpg", "train/cat/x.JPEG", "test/dog/t.png", "unlabelled/u.png"]
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6), number * 40, np.uint8)).save(path)
    (folder / "train" / "dog" / "notes.txt").write_text("not an image")
    (folder / "train" / ".hidden").mkdir()
    return folder


def rows(path: Path) -> list[Row]:
    return [Row(**row) for batch in read_batches(path) for row in batch.to_pylist()]


def test_files_are_taken_as_they_are_by_class_and_name(images: Path) -> None:
    path = locate(f"folder:{images}")
    assert read_labels(path).class_names == ("cat", "dog")
    names = ["train/cat/x.JPEG", "train/dog/a.jpg", "train/dog/b.png", "test/dog/t.png", "unlabelled/u.png"]
    assert [row.image for row in rows(path)] == [(images / name).read_bytes() for name in names]
    assert [row.label for row in rows(path)] == [0, 1, 1, 1, -1]
    assert [row.split for row in rows(path)] == ["train", "train", "train", "test", "unlabelled"]
    facts = inspect(DataSettings(source=f"folder:{images}"))
    assert (facts.num_train, facts.num_unlabelled, facts.num_test, facts.image_size) == (3, 1, 1, 6)


def test_a_folder_is_converted_again_when_it_has_changed(images: Path) -> None:
    source = f"folder:{images}"
    path = locate(source)
    time = path.stat().st_mtime_ns
    assert (locate(source), path.stat().st_mtime_ns) == (path, time)
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 6), 9, np.uint8)).save(buffer, "PNG")
    (images / "test/dog/t.png").write_bytes(buffer.getvalue())
    os.utime(images / "test/dog/t.png", ns=(1, 1))
    changed = locate(source)
    assert changed != path
    assert rows(changed)[3].image == buffer.getvalue()


def test_a_class_without_training_images_is_named(images: Path) -> None:
    (images / "test" / "dog").rename(images / "test" / "dogs")
    with pytest.raises(DataError, match="test/dogs: no such class in train/; did you mean 'dog'"):
        locate(f"folder:{images}")


def test_a_folder_of_another_form_is_refused(tmp_path: Path, images: Path) -> None:
    with pytest.raises(DataError, match=r"images/train: holds no train/, but cat/, dog/; images lie in train/CLASS/"):
        locate(f"folder:{images / 'train'}")
    with pytest.raises(DataError, match=r"cat: holds x\.JPEG; images lie in train/CLASS/, test/CLASS/"):
        locate(f"folder:{images / 'train/cat'}")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: cannot be read: Not a directory"):
        locate(f"folder:{tmp_path / 'file'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no train/, but nothing; .* at least 2 classes"):
        locate(f"folder:{tmp_path / 'empty'}")
    shutil.rmtree(images / "train/cat")
    with pytest.raises(DataError, match=r"at least 2 classes: \['dog'\]"):
        locate(f"folder:{images}")


def test_folders_of_equal_names_sizes_and_times_are_told_apart(images: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(images, other)
    (other / "test/dog/t.png").write_bytes((other / "test/dog/t.png").read_bytes()[::-1])
    for path in images.rglob("*"):
        for each in (path, other / path.relative_to(images)):
            os.utime(each, ns=(1, 1))
    first, second = locate(f"folder:{images}"), locate(f"folder:{other}")
    assert rows(first)[3].image != rows(second)[3].image
    images.rename(tmp_path / "away")
    other.rename(images)
    assert rows(locate(f"folder:{images}"))[3] == rows(second)[3]


def test_a_file_changed_in_its_place_is_seen_though_its_size_and_time_stay(images: Path) -> None:
    file = images / "test/dog/t.png"
    time = file.stat().st_mtime_ns
    first = locate(f"folder:{images}")
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(time, time))
    assert rows(locate(f"folder:{images}"))[3].image == rows(first)[3].image[::-1]


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def hidden(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f".{path.name}"))


def moved_down(folder: Path) -> None:
    names = list(folder.iterdir())
    (folder / "more").mkdir()
    for path in names:
        path.rename(folder / "more" / path.name)


@pytest.mark.parametrize("place", ["train/cat", "test/dog", "unlabelled"])
@pytest.mark.parametrize(
    ("harm", "found"),
    [(emptied, "nothing"), (hidden, "nothing"), (moved_down, "more/")],
    ids=["emptied", "hidden", "moved_down"],
)
def test_a_folder_whose_images_would_be_lost_is_refused(
    images: Path, place: str, harm: Callable[[Path], None], found: str
) -> None:
    (images / place / ".DS_Store").touch()
    locate(f"folder:{images}")
    (images / place / ".DS_Store").unlink()
    harm(images / place)
    (images / place / ".DS_Store").touch()
    with pytest.raises(DataError, match=rf"images/{place}: must hold images and no folders; found {found}$"):
        locate(f"folder:{images}")


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_outside_a_class_are_refused(images: Path, split: str) -> None:
    (images / split / "README.md").touch()
    locate(f"folder:{images}")
    for name in "abcd":
        shutil.copy(images / "unlabelled/u.png", images / split / f"{name}.png")
    with pytest.raises(
        DataError, match=rf"images/{split}: holds a\.png, b\.png, c\.png, and 1 more; images must lie in"
    ):
        locate(f"folder:{images}")


@pytest.mark.parametrize("name", ["train/dog/l.png", "train/bird", "unlabelled/l"])
def test_links_to_nothing_are_named(images: Path, name: str) -> None:
    (images / name).symlink_to("/not/there")
    with pytest.raises(DataError, match=f"images/{name}: .* a link to what is not there"):
        locate(f"folder:{images}")


def test_a_folder_named_like_an_image_is_refused(images: Path) -> None:
    (images / "train/dog/z.png").mkdir()
    with pytest.raises(DataError, match=r"train/dog: .* found z\.png/$"):
        locate(f"folder:{images}")


def test_what_cannot_be_read_is_named(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(DataError, match=r"train/cat/x\.JPEG: cannot be read: Permission denied"):
        locate(f"folder:{images}")
    shutil.rmtree(images / "test")
    (images / "test").touch()
    with pytest.raises(DataError, match="images/test: no image that is read; convert it or move it away"):
        locate(f"folder:{images}")


def test_a_damaged_image_is_named_by_its_file(images: Path) -> None:
    file = images / "train/dog/b.png"
    file.write_bytes(file.read_bytes()[:-30])  # its header is whole
    settings = DataSettings(source=f"folder:{images}", labels=2, unlabelled=1)
    with pytest.raises(DataError, match=rf"^{file}: the image cannot be decoded"):
        prepare(resolve(settings, inspect(settings)))
    file.write_text("no image")
    with pytest.raises(DataError, match=rf"^{file}: the image cannot be decoded \(not an image\)"):
        inspect(settings)
    file.write_bytes(b"")
    with pytest.raises(DataError, match=rf"^{file}: the image is empty"):
        inspect(settings)


def test_a_converted_folder_is_used_from_a_cache_that_can_only_be_read(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise DataError("read-only")

    path = locate(f"folder:{images}")
    monkeypatch.setattr(folders, "exclusive", refused)
    assert locate(f"folder:{images}") == path


def test_two_forms_of_unicode_are_one_class(images: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    shutil.copytree(images / "train" / "dog", images / "train" / composed)
    shutil.copytree(images / "test" / "dog", images / "test" / apart)
    assert inspect(DataSettings(source=f"folder:{images}")).class_names.count(composed) == 1
    (images / "test" / apart).rename(images / "train" / apart)
    with pytest.raises(DataError, match="two folders are called 'café', with accents written otherwise"):
        inspect(DataSettings(source=f"folder:{images}"))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("unlabeled", "unlabelled"), ("Unlabelled", "unlabelled"), ("UNLABELED", "unlabelled")),
        *(("Train", "train"), ("TRAIN", "train"), ("training", "train"), ("Test", "test"), ("testing", "test")),
    ],
)
def test_splits_may_be_spelled_otherwise(images: Path, name: str, split: str) -> None:
    expected = rows(locate(f"folder:{images}"))
    (images / split).rename(images / name)
    found = rows(locate(f"folder:{images}"))
    assert [row[:3] for row in found] == [row[:3] for row in expected]


@pytest.mark.parametrize(
    ("split", "name"), [("unlabelled", "unlabeled"), ("train", "Train"), ("test", "TESTING"), ("train", "training")]
)
def test_two_folders_of_a_split_are_refused(images: Path, split: str, name: str) -> None:
    shutil.copytree(images / split, images / name)
    with pytest.raises(
        DataError, match=f"images: ({split}/ and {name}|{name}/ and {split})/ are the same split; keep one"
    ):
        locate(f"folder:{images}")


def test_a_split_that_is_a_link_to_another_is_refused(images: Path) -> None:
    shutil.rmtree(images / "test")
    (images / "test").symlink_to("train")
    with pytest.raises(DataError, match="test/ and train/ are the same split"):
        locate(f"folder:{images}")


@pytest.mark.parametrize("name", ["val", "VAL", "valid", "Validation", "dev"])
def test_validation_images_are_refused(images: Path, name: str) -> None:
    shutil.copytree(images / "test", images / name)
    with pytest.raises(
        DataError, match=rf"images/{name}: raysl uses no validation images; put them into train or test"
    ):
        locate(f"folder:{images}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tests", "did you mean 'test'"),
        ("unlabelled_2", "did you mean 'unlabelled'"),
        ("extra", "did you mean 'train'.*choices: test, train, unlabelled"),
    ],
)
def test_another_folder_is_refused(images: Path, name: str, hint: str) -> None:
    (images / name).mkdir()
    with pytest.raises(DataError, match=f"images/{name}: no split; {hint}.*rename it or move it away"):
        locate(f"folder:{images}")


def test_folders_of_classes_without_a_split_are_explained(images: Path) -> None:
    for path in list((images / "train").iterdir()):
        path.rename(images / path.name)
    for name in ("train", "test", "unlabelled"):
        shutil.rmtree(images / name)
    with pytest.raises(DataError, match=r"holds no train/, but cat/, dog/; images lie in train/CLASS/.*train_fraction"):
        locate(f"folder:{images}")


@pytest.mark.parametrize("name", ["a.jfif", "a.gif", "a.JPE", "a.tga", "a.ppm", "a", "a.jpg_large", "a.png.1"])
@pytest.mark.parametrize("place", ["train/cat", "test/dog", "unlabelled"])
def test_images_count_by_their_suffix_or_their_content(images: Path, place: str, name: str) -> None:
    before = len(rows(locate(f"folder:{images}")))
    kind = Image.registered_extensions().get(Path(name).suffix.lower(), "PNG")
    Image.fromarray(np.zeros((6, 6), np.uint8)).save(images / place / name, kind)
    assert len(rows(locate(f"folder:{images}"))) == before + 1
    assert inspect(DataSettings(source=f"folder:{images}")).image_size == 6


@pytest.mark.parametrize("place", ["", "train", "train/cat", "test", "unlabelled"])
def test_files_that_are_known_to_be_none_change_nothing(images: Path, place: str) -> None:
    before = rows(locate(f"folder:{images}"))
    names = (
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "README",
        "License.txt",
        "labels.CSV",
        "a.json",
        "._a.png",
        ".a.png",
    )
    for name in names:
        (images / place / name).write_text("text")
    for name in ("__MACOSX", ".git", "@eaDir"):
        (images / place / name).mkdir()
        shutil.copy(images / "unlabelled/u.png", images / place / name / "x.png")
    assert rows(locate(f"folder:{images}")) == before


@pytest.mark.parametrize("place", ["", "train", "train/cat", "test", "unlabelled"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("more.zip", b"PK\3\4", "an archive, whose images would be lost; unpack it"),
        ("more.tar.gz", b"", "an archive"),
        ("a.heic", b"\0\0\0\x18ftypheic", "no image that is read; convert it or move it away; formats: PNG, JPEG"),
        ("a.eps", b"%!PS-Adobe", "no image that is read"),
        ("a.svg", b"<svg/>", "no image that is read"),
        ("a.dcm", bytes(128) + b"DICM", "no image that is read"),
        ("weights.bin", bytes(9), "no image that is read"),
    ],
)
def test_what_may_be_an_image_is_refused(images: Path, place: str, name: str, content: bytes, message: str) -> None:
    (images / place / name).write_bytes(content)
    with pytest.raises(DataError, match=f"^{images / place / name}: {message}"):
        locate(f"folder:{images}")


def test_loose_images_beside_the_splits_are_refused(images: Path) -> None:
    shutil.copy(images / "unlabelled/u.png", images / "loose.png")
    with pytest.raises(DataError, match=r"images: holds loose\.png; images lie in train/CLASS/"):
        locate(f"folder:{images}")


def test_an_image_that_calls_itself_text_is_refused(images: Path) -> None:
    shutil.copy(images / "unlabelled/u.png", images / "train/cat/u.txt")
    with pytest.raises(DataError, match=r"train/cat/u\.txt: a PNG image by its content, and not by its name"):
        locate(f"folder:{images}")


def test_links_to_images_and_folders_count(images: Path, tmp_path: Path) -> None:
    before = len(rows(locate(f"folder:{images}")))
    shutil.move(images / "train", tmp_path / "elsewhere")
    (images / "train").symlink_to(tmp_path / "elsewhere")
    (images / "unlabelled/v.png").symlink_to(images / "unlabelled/u.png")
    assert len(rows(locate(f"folder:{images}"))) == before + 1
    (images / "train/bird").symlink_to(images / "train")
    with pytest.raises(DataError, match=r"train/bird: must hold images and no folders; found bird/, cat/, dog/"):
        locate(f"folder:{images}")


def test_classes_are_named_alike_however_accents_are_written(images: Path) -> None:
    (images / "train/cat").rename(images / "train/caf\u00e9")
    shutil.copytree(images / "train/caf\u00e9", images / "test/cafe\u0301")
    assert read_labels(locate(f"folder:{images}")).class_names == ("caf\u00e9", "dog")
    shutil.copytree(images / "train/caf\u00e9", images / "train/cafe\u0301")
    with pytest.raises(DataError, match="two folders are called 'caf\u00e9'"):
        locate(f"folder:{images}")


def test_names_that_are_no_text_are_files_and_no_classes(images: Path) -> None:
    odd = os.fsdecode(b"\xff")
    (images / "unlabelled/u.png").rename(images / f"unlabelled/{odd}.png")
    images = images.rename(images.with_name(odd))
    assert (
        pq.read_table(locate(f"folder:{images}"))["file"][-1].as_py() == f"{images.parent}/\ufffd/unlabelled/\ufffd.png"
    )
    (images / "train/cat").rename(images / f"train/{odd}")
    with pytest.raises(DataError, match="train/\ufffd: the name of a class must be UTF-8"):
        locate(f"folder:{images}")


def test_large_files_are_refused_before_they_are_read(images: Path) -> None:
    with (images / "train/cat/huge.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"train/cat/huge\.png: takes 1099511627776 bytes"):
        locate(f"folder:{images}")
