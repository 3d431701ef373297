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

from raysl.data.registry import cifar
from raysl.data.registry.archives import Archive
from raysl.data.registry.downloads import FILES, TORCHVISION, origin_of
from raysl.data.registry.idx import UNCOMPRESSED
from raysl.data.registry.sets import locate
from raysl.data.storage.images import decode, headers
from raysl.data.storage.parquet import read_batches, read_labels
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
    return gzip.compress(uncompressed_idx(array), mtime=0)  # the same bytes in the next second, too


def uncompressed_idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


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


def test_svhn_extra_has_the_extra_images_without_their_labels(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    split_list, arrays = {}, {}
    for split, count in (("train", 3), ("test", 2), ("extra", 4)):
        arrays[split] = RANDOM.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"X": arrays[split], "y": np.arange(1, count + 1).reshape(-1, 1)})
        name = f"{split}_32x32.mat"
        split_list[split] = [server.url + name, name, server.offer(name, buffer.getvalue())]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    images, labels = content(locate("svhn_extra"))
    assert labels == {"train": [1, 2, 3], "test": [1, 2], "unlabelled": [-1] * 7}
    both = np.concatenate([arrays["train"], arrays["extra"]], axis=3)
    np.testing.assert_array_equal(images["unlabelled"], both.transpose(3, 0, 1, 2))


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


def lay(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def given(tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that RAYSL_DATA names; what is offered for download is asked for in vain."""
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path / "given"))
    return tmp_path / "given"


def names_md5s(monkeypatch: pytest.MonkeyPatch, name: str, arrays: dict[str, np.ndarray]) -> None:
    found = tuple(hashlib.md5(uncompressed_idx(array)).hexdigest() for array in arrays.values())
    monkeypatch.setitem(UNCOMPRESSED, name, found)


@pytest.mark.parametrize("folder", ["", "FashionMNIST/raw/"])
@pytest.mark.parametrize("unpacked", [0, 1, 4])
def test_idx_files_that_lie_there_are_used_compressed_or_not(
    fashion: dict[str, np.ndarray],
    given: Path,
    server: Any,
    folder: str,
    unpacked: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names_md5s(monkeypatch, "fashion_mnist", fashion)
    for number, (name, array) in enumerate(fashion.items()):
        whole = number < unpacked
        lay(given, {f"{folder}{name}" if whole else f"{folder}{name}.gz": (uncompressed_idx if whole else idx)(array)})
    laid = {path: path.read_bytes() for path in given.rglob("*") if path.is_file()}
    path = locate("fashion_mnist")
    assert server.asked == []
    images, labels = content(path)
    np.testing.assert_array_equal(images["train"][..., 0], fashion["train-images-idx3-ubyte"])
    assert labels["test"] == list(range(10))
    assert {path: path.read_bytes() for path in laid} == laid
    assert left_in(given) == {"fashion_mnist.parquet", *(path.relative_to(given).parts[0] for path in laid)}


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_files_of_the_other_set_with_these_names_are_passed_over(
    fashion: dict[str, np.ndarray], given: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist = {name: 255 - array for name, array in fashion.items()}
    monkeypatch.setattr(
        datasets.MNIST, "resources", [(f"{n}.gz", hashlib.md5(idx(a)).hexdigest()) for n, a in mnist.items()]
    )
    names_md5s(monkeypatch, "mnist", mnist)
    for kind, compress, suffix in (("MNIST", idx, ".gz"), ("", uncompressed_idx, "")):
        lay(given / kind, {f"{name}{suffix}": compress(array) for name, array in mnist.items()})
    np.testing.assert_array_equal(
        content(locate("fashion_mnist"))[0]["train"][..., 0], fashion["train-images-idx3-ubyte"]
    )
    assert len(server.asked) == 4


def test_a_folder_that_can_only_be_read_holds_what_is_used(
    fashion: dict[str, np.ndarray], given: Path, cache: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(given, {f"{name}.gz": idx(array) for name, array in fashion.items()})
    monkeypatch.setattr("raysl.data.storage.paths._writable", lambda folder: folder != given)
    assert locate("fashion_mnist") == cache / "data" / "fashion_mnist.parquet"
    assert server.asked == []


BATCHES = [f"data_batch_{number}.bin" for number in range(1, 6)]


def binary(kind: str, monkeypatch: pytest.MonkeyPatch, **harm: bytes) -> tuple[str, bytes, np.ndarray, np.ndarray]:
    """Return a binary archive's name, its content, and its training images [N, H, W, C] and labels."""
    facts = cifar.BINARIES[kind]
    images = RANDOM.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    labels = RANDOM.permutation(10).astype(np.uint8)

    def records(rows: slice) -> bytes:
        ones = np.stack([labels[rows] // 5] * (facts.num_labels - 1) + [labels[rows]], axis=1)
        return np.hstack([ones, images[rows].reshape(-1, 3072)]).astype(np.uint8).tobytes()

    each = 10 // len(facts.train)
    files = {name: records(slice(part * each, (part + 1) * each)) for part, name in enumerate(facts.train)}
    files |= {
        facts.test: records(slice(0, 2)),
        facts.names: "\n".join(f"class{n}" for n in range(10)).encode() + b"\n\n",
    }
    archive = tarred({f"{facts.folder}/{name}": data for name, data in (files | harm).items()})
    expected = Archive(facts.archive.urls, facts.archive.name, "md5", hashlib.md5(archive).hexdigest())
    monkeypatch.setitem(cifar.BINARIES, kind, facts._replace(archive=expected))
    return facts.archive.name, archive, images.transpose(0, 2, 3, 1), labels


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_cifar_s_binary_archive_is_used(kind: str, given: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name, archive, images, labels = binary(kind, monkeypatch)
    lay(given, {name: archive})
    path = locate(kind)
    found, classes = content(path)
    np.testing.assert_array_equal(found["train"], images)
    assert classes == {"train": labels.tolist(), "test": labels[:2].tolist()}
    assert read_labels(path).class_names == tuple(f"class{number}" for number in range(10))
    assert left_in(given) == {f"{kind}.parquet", name}


HARMS = {
    "half a record": ({"test_batch.bin": bytes(3000)}, "test_batch.bin holds 3000 bytes; expected records of 3073"),
    "nothing": ({"test_batch.bin": b""}, "test_batch.bin holds 0 bytes"),
    "an unknown label": ({"test_batch.bin": bytes([10]) + bytes(3072)}, "test_batch.bin holds label 10 of 10 classes"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_binary_archive_of_other_content_is_named(harm: str, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, wrong = HARMS[harm]
    name, archive, _, _ = binary("cifar10", monkeypatch, **files)
    lay(given, {name: archive})
    with pytest.raises(DataError, match=f"^{given / name}: cannot be converted to cifar10: {wrong}"):
        locate("cifar10")
    assert left_in(given) == {name}


class Bomb:
    """Deletes nothing; it is only to be seen whether it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


GIVEN = {
    "stl10": "stl10_binary.tar.gz",
    "cifar10": "cifar-10-python.tar.gz",
    "cifar100": "cifar-100-python.tar.gz",
    "svhn": "test_32x32.mat",
    "mnist": "t10k-labels-idx1-ubyte.gz",
    "fashion_mnist": "train-images-idx3-ubyte",
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_file_that_is_not_the_published_one_is_named_before_it_is_opened(
    name: str, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    harmful = tarred({"cifar-10-batches-py/batches.meta": pickle.dumps(Bomb())})
    lay(given, {GIVEN[name]: harmful})
    with pytest.raises(DataError, match=rf"^{given / GIVEN[name]}: md5 is {hashlib.md5(harmful).hexdigest()}, not "):
        locate(name)
    assert left_in(given) == {GIVEN[name]}
    assert not Path("unpickled").exists()


def test_svhn_and_stl10_are_made_of_what_lies_there(
    given: Path, server: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for test, fetched in (
        (lambda: test_svhn_calls_its_zero_zero(server, monkeypatch), "svhn"),
        (lambda: test_stl10_has_unlabelled_images(server, cache, monkeypatch), "stl10"),
    ):
        monkeypatch.delenv("RAYSL_DATA")
        test()  # of what the server offers
        expected = content(cache / "data" / f"{fetched}.parquet")
        lay(given, server.files)
        server.files.clear()
        server.asked.clear()
        (cache / "data" / f"{fetched}.parquet").unlink()
        monkeypatch.setenv("RAYSL_DATA", str(given))
        found = content(locate(fetched))
        assert server.asked == []
        assert found[1] == expected[1]
        assert all(np.array_equal(found[0][split], images) for split, images in expected[0].items())


def test_files_have_the_names_that_torchvision_gives_them(given: Path) -> None:
    for name, kind in TORCHVISION.items():
        known = getattr(datasets, kind)
        if hasattr(known, "resources"):
            names = [f"{kind}/raw/{file}" for file, _ in known.resources]
        elif hasattr(known, "split_list"):
            splits = ("train", "test", "extra") if name == "svhn_extra" else ("train", "test")
            names = [known.split_list[split][1] for split in splits]
        else:
            names = [known.filename]
        assert list(FILES[name]) == names


def test_what_a_search_would_do_to_have_a_set_is_told(given: Path, server: Any) -> None:
    assert origin_of("stl10") == "downloads stl10_binary.tar.gz"
    assert origin_of("octmnist") == "downloads octmnist.npz"
    assert origin_of("svhn") == "downloads train_32x32.mat, test_32x32.mat"
    lay(given, {"train_32x32.mat": b"", "stl10_binary.tar.gz": b"", "cifar-10-binary.tar.gz": b"", "octmnist.npz": b""})
    assert origin_of("svhn").startswith("downloads")  # the other file is missing
    lay(given, {"cifar-100-python.tar": b""})
    assert origin_of("cifar100").startswith("downloads")  # that is not the published file
    for name, file in (
        ("stl10", "stl10_binary.tar.gz"),
        ("cifar10", "cifar-10-binary.tar.gz"),
        ("octmnist", "octmnist.npz"),
    ):
        assert origin_of(name) == f"makes it of {given / file}"
    assert server.asked == []
