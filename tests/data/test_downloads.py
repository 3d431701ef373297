"""Downloads of known sets, from a server of the test's own that holds small sets in their on-disk form."""

import gzip
import hashlib
import io
import pickle
import socket
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from raysl.data.images import decode, headers
from raysl.data.parquet import read_batches, read_labels
from raysl.data.sets import locate
from raysl.errors import DataError

RANDOM = np.random.default_rng(0)


def content(path: Path) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    """Decoded images and labels by split."""
    rows = [row for batch in read_batches(path) for row in batch.to_pylist()]
    splits = {row["split"] for row in rows}
    images = {split: [row["image"] for row in rows if row["split"] == split] for split in splits}
    ((size, _, channels, _),) = headers([image for split in images.values() for image in split], 0)
    labels = {split: [row["label"] for row in rows if row["split"] == split] for split in splits}
    return {split: decode(images[split], size, channels, 0) for split in splits}, labels


def left(cache: Path) -> set[str]:
    return {path.name for path in (cache / "data").iterdir() if not path.name.endswith(".lock")}


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


@pytest.fixture
def fashion(server: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    arrays = {
        "train-images-idx3-ubyte": RANDOM.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte": np.arange(30, dtype=np.uint8) % 10,
        "t10k-images-idx3-ubyte": RANDOM.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": np.arange(10, dtype=np.uint8),
    }
    resources = [(f"{name}.gz", server.offer(f"{name}.gz", idx(array))) for name, array in arrays.items()]
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [server.url])
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
    return arrays


def test_fashion_mnist(fashion: dict[str, np.ndarray], server: Any, cache: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    path = locate("fashion_mnist", progress=lambda *facts: told.append(facts))
    assert path == cache / "data" / "fashion_mnist.parquet"
    images, labels = content(path)
    np.testing.assert_array_equal(images["train"][..., 0], fashion["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(images["test"][..., 0], fashion["t10k-images-idx3-ubyte"])
    assert labels["train"] == fashion["train-labels-idx1-ubyte"].tolist()
    assert labels["test"] == fashion["t10k-labels-idx1-ubyte"].tolist()
    assert read_labels(path).class_names[9] == "Ankle boot"
    assert left(cache) == {"fashion_mnist.parquet"}
    assert sorted(server.asked) == sorted(server.files)  # once each: torchvision finds what was fetched
    assert ("encode fashion_mnist", 40, None) in told
    size = len(idx(fashion["train-images-idx3-ubyte"]))
    assert ("download train-images-idx3-ubyte.gz", size, size) in told


def test_mnist_names_its_classes_by_digits(
    fashion: dict[str, np.ndarray], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:1/", server.url])  # the second one answers
    monkeypatch.setattr(datasets.MNIST, "resources", datasets.FashionMNIST.resources)
    assert read_labels(locate("mnist")).class_names == tuple("0123456789")


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(data)
            archive.addfile(facts, io.BytesIO(data))
    return buffer.getvalue()


def offer_tar(server: Any, kind: Any, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    md5 = server.offer(kind.filename, tarred({f"{kind.base_folder}/{name}": data for name, data in files.items()}))
    monkeypatch.setattr(kind, "url", server.url + kind.filename)
    monkeypatch.setattr(kind, "tgz_md5", md5)


def md5s(files: dict[str, bytes], *names: str) -> list[list[str]]:
    return [[name, hashlib.md5(files[name]).hexdigest()] for name in names]


def test_cifar10(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    train = RANDOM.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    test = RANDOM.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    files = {
        "data_batch_1": pickle.dumps({"data": train[:10].reshape(10, -1), "labels": list(range(10))}),
        "data_batch_2": pickle.dumps({"data": train[10:].reshape(10, -1), "labels": list(range(10))}),
        "test_batch": pickle.dumps({"data": test.reshape(10, -1), "labels": list(range(10))}),
        "batches.meta": pickle.dumps({"label_names": [f"class {number}" for number in range(10)]}),
    }
    offer_tar(server, datasets.CIFAR10, files, monkeypatch)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", md5s(files, "data_batch_1", "data_batch_2"))
    monkeypatch.setattr(datasets.CIFAR10, "test_list", md5s(files, "test_batch"))
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", hashlib.md5(files["batches.meta"]).hexdigest())
    path = locate("cifar10")
    images, labels = content(path)
    np.testing.assert_array_equal(images["train"], train.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(images["test"], test.transpose(0, 2, 3, 1))
    assert labels == {"train": [*range(10)] * 2, "test": [*range(10)]}
    assert read_labels(path).class_names[3] == "class 3"


def test_cifar100_has_fine_labels(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    train = RANDOM.integers(0, 256, (100, 3, 32, 32), dtype=np.uint8)
    test = RANDOM.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    fine = {"train": RANDOM.permutation(100).tolist(), "test": [99, 0, 50, 7, 7, 1, 2, 3, 4, 5]}

    def part(name: str, images: np.ndarray) -> bytes:
        coarse = [label // 5 for label in fine[name]]
        facts = {"batch_label": name, "fine_labels": fine[name], "coarse_labels": coarse}
        return pickle.dumps({"data": images.reshape(len(images), -1), **facts})

    names = [f"fine {number}" for number in range(100)]
    meta = {"fine_label_names": names, "coarse_label_names": [f"coarse {number}" for number in range(20)]}
    files = {"train": part("train", train), "test": part("test", test), "meta": pickle.dumps(meta)}
    offer_tar(server, datasets.CIFAR100, files, monkeypatch)
    monkeypatch.setattr(datasets.CIFAR100, "train_list", md5s(files, "train"))
    monkeypatch.setattr(datasets.CIFAR100, "test_list", md5s(files, "test"))
    monkeypatch.setitem(datasets.CIFAR100.meta, "md5", hashlib.md5(files["meta"]).hexdigest())
    path = locate("cifar100")
    images, labels = content(path)
    np.testing.assert_array_equal(images["train"], train.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(images["test"], test.transpose(0, 2, 3, 1))
    assert labels == fine
    assert read_labels(path).class_names == tuple(names)


def test_stl10_has_unlabelled_images(server: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": 3, "test": 2, "unlabeled": 4}
    arrays = {name: RANDOM.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8) for name, count in splits.items()}
    files = {f"{name}_X.bin": array.tobytes() for name, array in arrays.items()}
    files |= {"train_y.bin": bytes([1, 10, 2]), "test_y.bin": bytes([10, 1])}
    files["class_names.txt"] = "\n".join(f"class {number}" for number in range(10)).encode()
    offer_tar(server, datasets.STL10, files, monkeypatch)
    monkeypatch.setattr(datasets.STL10, "train_list", md5s(files, "train_X.bin", "train_y.bin", "unlabeled_X.bin"))
    monkeypatch.setattr(datasets.STL10, "test_list", md5s(files, "test_X.bin", "test_y.bin"))
    images, labels = content(locate("stl10"))
    assert labels == {"train": [0, 9, 1], "test": [9, 0], "unlabelled": [-1] * 4}
    for name, split in (("train", "train"), ("test", "test"), ("unlabeled", "unlabelled")):
        np.testing.assert_array_equal(images[split], arrays[name].transpose(0, 3, 2, 1))  # stored column by column
    assert left(cache) == {"stl10.parquet"}


def test_svhn_calls_its_zero_zero(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    split_list = {}
    arrays = {split: RANDOM.integers(0, 256, (32, 32, 3, 5), dtype=np.uint8) for split in ("train", "test")}
    for split, array in arrays.items():
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"X": array, "y": np.array([[1], [10], [9], [2], [3]])})
        name = f"{split}_32x32.mat"
        split_list[split] = [server.url + name, name, server.offer(name, buffer.getvalue())]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    path = locate("svhn")
    images, labels = content(path)
    assert labels == {"train": [1, 0, 9, 2, 3], "test": [1, 0, 9, 2, 3]}
    np.testing.assert_array_equal(images["train"], arrays["train"].transpose(3, 0, 1, 2))
    assert read_labels(path).class_names == tuple("0123456789")


def test_a_host_that_is_not_reached_is_named_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    hosts = {
        "cifar10": ("www.cs.toronto.edu", "cifar10.parquet"),
        "malaria": ("data.lhncbc.nlm.nih.gov", r"malaria.parquet or cell_images\.zip"),
        "tiny_imagenet": ("cs231n.stanford.edu", r"tiny_imagenet.parquet or tiny-imagenet-200\.zip"),
        "octmnist": ("zenodo.org", r"octmnist.parquet or octmnist\.npz"),
    }
    for name, (host, by_hand) in hosts.items():
        message = rf"{name} could not be downloaded: https://{host}\S*: .*not known>\. .*put {by_hand} .*RAYSL_DATA"
        with pytest.raises(DataError, match=message):
            locate(name)
        assert left(cache) == set()


@pytest.mark.parametrize("harm", ["altered", "truncated", "cut off", "missing"])
def test_a_bad_download_leaves_nothing(fashion: dict[str, np.ndarray], server: Any, cache: Path, harm: str) -> None:
    name = "t10k-labels-idx1-ubyte.gz"
    whole = server.files[name]
    if harm == "altered":
        server.files[name] = whole[:-1] + bytes([whole[-1] ^ 1])
    elif harm == "truncated":
        server.files[name] = whole[:-5]
    elif harm == "cut off":
        server.announced[name] = len(whole) + 100
        server.files[name] = whole[:-5]
    else:
        del server.files[name]
    message = "404" if harm == "missing" else r"md5 is \w+, not \w+ \(truncated or altered\)"
    with pytest.raises(DataError, match=f"fashion_mnist could not be downloaded: {server.url}{name}: .*{message}"):
        locate("fashion_mnist")
    assert left(cache) == set()
    server.files[name] = whole
    server.announced.clear()
    assert locate("fashion_mnist").is_file()


def test_what_a_killed_download_left_is_cleared(fashion: dict[str, np.ndarray], cache: Path) -> None:
    rest = cache / "data" / ".fashion_mnist.download" / "FashionMNIST" / "raw"
    rest.mkdir(parents=True)
    (rest / "train-images-idx3-ubyte").write_bytes(b"half")
    (cache / "data" / ".fashion_mnist.parquet.tmp").write_bytes(b"half")
    assert len(read_labels(locate("fashion_mnist")).labels) == 40
    assert left(cache) == {"fashion_mnist.parquet"}
