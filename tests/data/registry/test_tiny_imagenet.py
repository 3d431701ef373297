"""The archive of Tiny ImageNet, from a server of the test's own that holds a small one of its form."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysl.data.registry import tiny_imagenet
from raysl.data.registry.downloads import ARCHIVED
from raysl.data.registry.sets import KNOWN, locate
from raysl.data.settings import DataSettings
from raysl.data.storage.decoded_cache import load, load_test
from raysl.data.storage.parquet import Row, read_batches
from raysl.data.storage.scan import inspect, resolve
from raysl.errors import DataError

ROOT = "tiny-imagenet-200"
WNIDS = ("n03126707", "n01443537", "n02012849")  # not in order, as in the published file
GRAY = f"{ROOT}/train/n01443537/images/n01443537_1.JPEG"
WORDS = """n00001740\tentity
n01443537\tgoldfish, Carassius auratus
n02012849\tcrane
n02012850\tstork
n03126707\tcrane, hoist
"""
VAL = (("val_0.JPEG", "n02012849"), ("val_1.JPEG", "n01443537"), ("val_2.JPEG", "n03126707"))


def jpeg(random: np.random.Generator, *, gray: bool = False) -> bytes:
    buffer = io.BytesIO()
    shape = (64, 64) if gray else (64, 64, 3)
    Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def small() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    files = {"wnids.txt": "\n".join(WNIDS).encode(), "words.txt": WORDS.encode()}
    for wnid in WNIDS:
        files[f"train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t0\t63\t63\n".encode()
        for number in (1, 0):
            name = f"train/{wnid}/images/{wnid}_{number}.JPEG"
            files[name] = jpeg(random, gray=f"{ROOT}/{name}" == GRAY)
    files["val/val_annotations.txt"] = "".join(f"{file}\t{wnid}\t0\t32\t44\t62\n" for file, wnid in VAL).encode()
    files |= {f"val/images/{file}": jpeg(random) for file, _ in reversed(VAL)}
    files |= {f"test/images/test_{number}.JPEG": jpeg(random) for number in range(3)}
    return {f"{ROOT}/{name}": content for name, content in files.items()}


def offer(server: Any, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.mkdir(f"{ROOT}/train")
        for name, data in files.items():
            archive.writestr(name, data)
    md5 = server.offer("tiny-imagenet-200.zip", buffer.getvalue())
    known = ARCHIVED["tiny_imagenet"]
    archive_facts = known.archive._replace(urls=(server.url + "tiny-imagenet-200.zip",), checksum=md5)
    monkeypatch.setitem(ARCHIVED, "tiny_imagenet", known._replace(archive=archive_facts))
    for name, count in (("CLASSES", 3), ("TRAIN_EACH", 2), ("TEST_EACH", 1)):
        monkeypatch.setattr(tiny_imagenet, name, count)


def test_validation_images_are_the_test_set(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = small()
    offer(server, files, monkeypatch)
    path = locate("tiny_imagenet")
    rows = [Row(**row) for batch in read_batches(path) for row in batch.to_pylist()]
    train = [
        (f"{ROOT}/train/{wnid}/images/{wnid}_{number}.JPEG", label)
        for label, wnid in enumerate(sorted(WNIDS))
        for number in (0, 1)
    ]
    test = [(f"{ROOT}/val/images/{file}", sorted(WNIDS).index(wnid)) for file, wnid in VAL]
    expected = [Row(files[name], label, "train") for name, label in train]
    assert rows == expected + [Row(files[name], label, "test") for name, label in test]
    source = pq.read_schema(path).metadata[b"source"].decode()
    assert source.startswith("CS231n (Le & Yang 2015), http://127.0.0.1")
    assert source.endswith("; the validation images are the test set")


def test_gray_images_become_rgb(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = small()
    offer(server, files, monkeypatch)
    settings = DataSettings(source="tiny_imagenet", labels="all")
    facts = inspect(settings)
    assert facts.class_names == ("goldfish", "crane (n02012849)", "crane (n03126707)")
    assert (facts.num_train, facts.num_test, facts.image_size, facts.channels) == (6, 3, 64, 3)
    data = resolve(settings, facts)
    images = load(data).images
    assert images.shape == (6, 64, 64, 3)
    gray = np.asarray(Image.open(io.BytesIO(files[GRAY])))
    np.testing.assert_array_equal(images[1], np.stack([gray] * 3, axis=-1))
    assert (images[0] != images[0][..., :1]).any()
    test_images, test_labels = load_test(data)
    coloured = np.asarray(Image.open(io.BytesIO(files[f"{ROOT}/val/images/val_0.JPEG"])))
    np.testing.assert_array_equal(test_images[0], coloured)
    assert test_labels.tolist() == [1, 0, 2]


def without(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {file: content for file, content in files.items() if file != f"{ROOT}/{name}"}


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (
            "train/n01443537/images/n01443537_0.JPEG",
            "5 training and 3 validation images of 3 classes; expected 2 and 1",
        ),
        ("val/images/val_1.JPEG", "no item named '.*val_1.JPEG'"),
        ("wnids.txt", r"no item named '.*wnids\.txt'"),
    ],
)
def test_an_archive_with_other_images_is_refused(
    server: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, lost: str, message: str
) -> None:
    offer(server, without(small(), lost), monkeypatch)
    with pytest.raises(DataError, match=f"tiny_imagenet could not be downloaded: .*{message}"):
        locate("tiny_imagenet")
    assert not [file for file in (cache / "data").iterdir() if file.suffix != ".lock"]


def test_counts_are_those_of_the_known_set() -> None:
    known = KNOWN["tiny_imagenet"]
    assert known.num_classes == tiny_imagenet.CLASSES
    assert known.num_train == tiny_imagenet.CLASSES * tiny_imagenet.TRAIN_EACH
    assert known.num_test == tiny_imagenet.CLASSES * tiny_imagenet.TEST_EACH
