"""Decoded arrays: their content, and that no accident gives others."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from raysl.data.settings import DataSettings, TrialData
from raysl.data.storage import decoded_cache, decoding
from raysl.data.storage.decoded_cache import load, load_test, load_test_masks, prepare
from raysl.data.storage.images import decode, encode
from raysl.data.storage.parquet import Row, read_batches, write
from raysl.data.storage.scan import inspect, resolve
from raysl.errors import DataError
from raysl.results.confusion import IGNORED

MakeSet = Callable[..., Path]


def trial_data(path: Path, **settings: object) -> TrialData:
    given = DataSettings.model_validate({"source": f"parquet:{path}", "labels": 4, **settings})
    return resolve(given, inspect(given))


def pixels(path: Path, split: str) -> np.ndarray:
    rows = [row for batch in read_batches(path) for row in batch.to_pylist() if row["split"] == split]
    return decode([row["image"] for row in rows], 8, 1, 0)


def no_decoding(*arguments: object) -> None:
    raise AssertionError("decoded again")


def test_arrays_hold_the_images_of_their_split_in_order(make_set: MakeSet) -> None:
    path = make_set(train=1100, test=20)
    made = load(trial_data(path))
    np.testing.assert_array_equal(made.images, pixels(path, "train"))
    assert made.images.dtype == np.uint8
    assert made.labels.dtype == np.int64
    assert made.unlabelled is made.images
    assert not made.images.flags.writeable
    images, labels = load_test(trial_data(path))
    np.testing.assert_array_equal(images, pixels(path, "test"))
    rows = [row for batch in read_batches(path) for row in batch.to_pylist()]
    assert made.labels.tolist() == [row["label"] for row in rows if row["split"] == "train"]
    assert labels.tolist() == [row["label"] for row in rows if row["split"] == "test"]


def test_statistics_are_of_the_whole_pool_of_d_u(make_set: MakeSet) -> None:
    path = make_set(unlabelled=30)
    made = load(trial_data(path))
    unlabelled = pixels(path, "unlabelled")
    np.testing.assert_array_equal(made.unlabelled, unlabelled)
    assert (made.mean.dtype, made.mean.shape) == (np.float32, (1,))
    np.testing.assert_allclose(made.mean, (unlabelled / 255).mean(), rtol=1e-6)
    np.testing.assert_allclose(made.std, (unlabelled / 255).std(), rtol=1e-6)
    colour = load(trial_data(make_set("colour", channels=3)))
    np.testing.assert_allclose(colour.mean, (colour.images / 255).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(colour.std, (colour.images / 255).std((0, 1, 2)), rtol=1e-6)


def test_train_fraction_pools_and_splits_anew(make_set: MakeSet) -> None:
    path = make_set(train=40, test=20, unlabelled=5)
    data = trial_data(path, train_fraction=0.25)
    images, labels = load_test(data)
    made = load(data)
    assert (len(made.images), len(images), len(made.unlabelled)) == (15, 45, 5)
    assert (len(made.labels), len(labels)) == (15, 45)
    together = {image.tobytes() for image in [*made.images, *images]}
    assert together == {image.tobytes() for split in ("train", "test") for image in pixels(path, split)}


def test_images_are_resized_and_coloured(make_set: MakeSet) -> None:
    path = make_set()
    made = load(trial_data(path, image_size=12, channels=3))
    first = Image.fromarray(pixels(path, "train")[0, ..., 0]).resize((12, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(made.images[0], np.asarray(first.convert("RGB")))


def test_arrays_are_decoded_once_and_need_the_set_no_more(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_set()
    data = trial_data(path)
    folder = prepare(data)
    path.unlink()
    monkeypatch.setattr(decoded_cache, "write_arrays", no_decoding)
    assert prepare(data) == folder
    assert prepare(data.model_copy(update={"source": "parquet:/elsewhere", "labels": 8, "unlabelled": 9})) == folder
    assert len(load(data).images) == 40


def test_training_does_not_open_the_test_set(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    data = trial_data(make_set())
    for file in prepare(data).glob("test_*"):
        file.unlink()
    monkeypatch.setattr(decoded_cache, "write_arrays", no_decoding)
    load(data)
    with pytest.raises(AssertionError, match="decoded again"):
        load_test(data)


NAMES = ["train_images.npy", "train_labels.npy", "train_statistics.npy", "test_images.npy", "unlabelled_images.npy"]


@pytest.mark.parametrize("harm", ["truncated", "altered", "gone"])
@pytest.mark.parametrize("name", [*NAMES, "meta.json"])
def test_a_damaged_folder_is_made_again(make_set: MakeSet, name: str, harm: str) -> None:
    data = trial_data(make_set(unlabelled=30))
    before = {file.name: file.read_bytes() for file in prepare(data).iterdir()}
    file = prepare(data) / name
    content = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-7] if harm == "truncated" else content[:-7] + b"#" + content[-6:])
    load(data)
    load_test(data)
    assert {file.name: file.read_bytes() for file in prepare(data).iterdir()} == before


SHAPES = [(20, 30), (30, 20), (24, 24), (48, 10), (13, 40)]  # height and width of images with masks
STEP = 80  # gray values between classes


def masked_set(path: Path, shapes: list[tuple[int, int]] = SHAPES) -> list[np.ndarray]:
    """Write images whose gray values are STEP times their classes, blocks 5 pixels wide; return the masks."""
    random = np.random.default_rng(0)
    masks = []
    for height, width in shapes:
        blocks = random.integers(0, 4, (-(-height // 5), -(-width // 5))).astype(np.uint8)
        masks.append(blocks.repeat(5, 0).repeat(5, 1)[:height, :width])
    rows = [Row(encode(mask * STEP), 0, split, mask=encode(mask)) for split in ("train", "test") for mask in masks]
    write(path, [*rows, Row(encode(masks[0]), 0, "unlabelled")], "abcd", "made for a test", "none", with_masks=True)
    return masks


def test_images_and_their_masks_have_one_place_and_one_size(tmp_path: Path) -> None:
    path = tmp_path / "masked.parquet"
    masks = masked_set(path)
    data = trial_data(path, image_size=24)
    made = load(data)
    assert made.masks is not None
    for images, classes in ((made.images, made.masks.classes), load_test_masks(data)):
        assert (images.shape, classes.shape) == ((5, 24, 24, 1), (5, 24, 24))
        assert images.dtype == classes.dtype == np.uint8
        sizes = [(16, 24), (24, 16), (24, 24), (24, 5), (8, 24)]
        for image, mask, whole, (height, width) in zip(images[..., 0], classes, masks, sizes, strict=True):
            assert ((mask != IGNORED).nonzero()[0].max(), (mask != IGNORED).nonzero()[1].max()) == (
                height - 1,
                width - 1,
            )
            assert (mask[height:] == IGNORED).all()
            assert (mask[:, width:] == IGNORED).all()
            assert set(mask[:height, :width].ravel().tolist()) <= set(whole.ravel().tolist())
            shown = image[:height, :width]
            assert (np.concatenate([image[height:].ravel(), image[:, width:].ravel()]) == np.rint(shown.mean())).all()
            # Where a pixel and those around it have one class, the image has that class's gray value.
            padded = np.pad(mask[:height, :width], 1, mode="edge")
            around = sliding_window_view(padded, (3, 3)).reshape(height, width, 9)
            inner = (around == around[..., 4:5]).all(-1)
            assert inner.mean() > 0.1
            assert (
                np.abs(shown[inner].astype(int) - STEP * mask[:height, :width][inner].astype(int)) <= STEP // 4
            ).all()


def test_masks_of_the_size_asked_for_are_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "masked.parquet"
    masks = masked_set(path, [(24, 24), (24, 24)])
    made = load(trial_data(path, labels=2))
    assert made.masks is not None
    np.testing.assert_array_equal(made.masks.classes, masks)
    np.testing.assert_array_equal(made.images[..., 0], np.stack(masks) * STEP)


def test_the_classes_that_each_mask_shows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "masked.parquet"
    shown = ([[0, 0], [3, 255]], [[2, 2], [2, 2]], [[255, 255], [255, 255]], [[1, 1], [0, 3]])
    rows = [
        Row(encode(np.zeros((2, 2), np.uint8)), 0, "train", mask=encode(np.array(each, np.uint8))) for each in shown
    ]
    write(path, [*rows, rows[0]._replace(split="test")], ["a", "void", "b", "c"], "a test", "none", with_masks=True)
    made = load(trial_data(path, image_size=4))
    assert made.masks is not None
    assert made.masks.shown.tolist() == [[True, False, True], [False, True, False], [False] * 3, [True, False, True]]


@pytest.mark.parametrize("name", ["train_masks.npy", "train_shown.npy", "test_masks.npy"])
def test_damaged_masks_are_decoded_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / "masked.parquet"
    masked_set(path)
    data = trial_data(path, image_size=24)
    before = (prepare(data) / name).read_bytes()
    (prepare(data) / name).write_bytes(before[:-7] + b"#" + before[-6:])
    load(data)
    load_test_masks(data)
    assert (prepare(data) / name).read_bytes() == before


def test_a_set_that_has_changed_is_refused(make_set: MakeSet, cache: Path) -> None:
    data = trial_data(make_set())
    make_set(train=41)
    with pytest.raises(DataError, match="the content has changed"):
        prepare(data)
    assert not [path for path in (cache / "arrays").iterdir() if path.is_dir()]


def test_a_scan_that_has_proved_wrong_is_forgotten(make_set: MakeSet, cache: Path) -> None:
    path = make_set()
    digest = trial_data(path).digest
    (kept,) = (cache / "scans").glob("*.json")
    kept.write_text(kept.read_text().replace(digest, "0" * 32))
    with pytest.raises(DataError, match="the content has changed"):
        prepare(trial_data(path))
    assert trial_data(path).digest == digest
    prepare(trial_data(path))


def test_a_set_that_is_damaged_is_refused(make_set: MakeSet, cache: Path) -> None:
    path = make_set(train=2000)
    data = trial_data(path)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(DataError, match="damaged"):
        prepare(data)
    assert not [path for path in (cache / "arrays").iterdir() if path.is_dir()]


def test_a_full_disk_is_one_error_and_leaves_nothing(
    make_set: MakeSet, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = trial_data(make_set())
    monkeypatch.setattr(decoding._Npy, "append", full)
    with pytest.raises(DataError, match="No space left"):
        prepare(data)
    assert not [path for path in (cache / "arrays").iterdir() if path.is_dir()]


def test_importing_the_data_layer_imports_no_torch() -> None:
    modules = "storage.decoded_cache sampling.batches storage.scan sampling.subsets"
    script = f"import sys; [__import__('raysl.data.' + name) for name in {modules.split()}]; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "raysl.data.registry.downloads" in imported
    assert not {"torch", "torchvision", "sklearn", "ray", "mlflow"} & set(imported)


SCRIPT = """
import os, signal, sys, time
from raysl.data.storage.decoded_cache import load, prepare
from raysl.data.settings import TrialData

def report(what, done, total):
    with open(sys.argv[2], "a") as log:
        log.write(f"{os.getpid()}\\n")
    if sys.argv[3] == "die" and done > 1024:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)

data = TrialData.model_validate_json(sys.argv[1])
while sys.argv[3] == "wait" and not os.path.exists(sys.argv[4]):
    time.sleep(0.001)
prepare(data, progress=report)
print(int(load(data).images.sum()))
"""


def started(data: TrialData, *arguments: Path | str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SCRIPT, data.model_dump_json(), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_come_at_once_decode_once(make_set: MakeSet, tmp_path: Path) -> None:
    data = trial_data(make_set(train=3000))
    processes = [started(data, tmp_path / "log", "wait", tmp_path / "go") for _ in range(2)]
    (tmp_path / "go").touch()
    sums = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sums == [f"{int(load(data).images.sum())}\n"] * 2
    assert len(set((tmp_path / "log").read_text().split())) == 1


def test_what_a_killed_process_left_does_no_harm(make_set: MakeSet, tmp_path: Path, cache: Path) -> None:
    data = trial_data(make_set(train=3000))
    process = started(data, tmp_path / "log", "die")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in (cache / "arrays").iterdir() if path.is_dir()] == [
        f".{decoded_cache._folder(data).name}.tmp"
    ]
    np.testing.assert_array_equal(load(data).images, pixels(Path(data.source.removeprefix("parquet:")), "train"))
    assert [path.name for path in (cache / "arrays").iterdir() if path.is_dir()] == [decoded_cache._folder(data).name]
