"""Folders of image files."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysl.data.inspect import inspect
from raysl.data.parquet import Row, read_batches, read_labels
from raysl.data.sets import locate
from raysl.data.settings import DataSettings
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
    (images / "test" / "dogs").mkdir()
    (images / "test" / "dog" / "t.png").rename(images / "test" / "dogs" / "t.png")
    with pytest.raises(DataError, match="test/dogs: no such class in train/; did you mean 'dog'"):
        locate(f"folder:{images}")


def test_a_folder_of_another_form_is_refused(tmp_path: Path, images: Path) -> None:
    with pytest.raises(DataError, match="at least 2 classes"):
        locate(f"folder:{images / 'train'}")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="at least 2 classes"):
        locate(f"folder:{tmp_path / 'file'}")
