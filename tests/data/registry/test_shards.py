"""Parquet files and folders of shards as other programs leave them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysl.data.registry.sets import locate
from raysl.data.settings import DataSettings
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row, read_batches, read_labels
from raysl.data.storage.scan import inspect
from raysl.errors import DataError

NAMES = ["cat", "dog"]
IMAGES = [encode(np.full((6, 6), 30 * number, np.uint8)) for number in range(8)]


def huggingface(**features: Any) -> dict[str, str]:
    """Metadata as the library `datasets` writes it: the kind of each column."""
    known = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}, **features}
    return {"huggingface": json.dumps({"info": {"features": known}})}


def structs(images: list[bytes]) -> list[dict[str, Any]]:
    return [{"bytes": image, "path": f"{number}.png"} for number, image in enumerate(images)]


def save(path: Path, columns: dict[str, Any], metadata: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards to train on and one to test on, as a repository of HuggingFace has them."""
    folder = tmp_path / "pets"
    for number, name in enumerate(["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"]):
        columns = {"image": structs(IMAGES[2 * number : 2 * number + 2]), "label": [0, 1]}
        save(folder / f"data/{name}.parquet", columns, huggingface())
    (folder / "README.md").write_text("---\n---\n")
    (folder / "dataset_infos.json").write_text("{}")
    (folder / ".gitattributes").touch()
    return folder


def rows(source: Path) -> list[Row]:
    return [Row(**row) for batch in read_batches(locate(f"parquet:{source}")) for row in batch.to_pylist()]


def test_a_folder_of_shards_is_one_set(shards: Path) -> None:
    assert {(row.image, row.label, row.split) for row in rows(shards)} == {
        *((image, number % 2, "train") for number, image in enumerate(IMAGES[:4])),
        *((image, number % 2, "test") for number, image in enumerate(IMAGES[4:6])),
    }
    assert [row.image for row in rows(shards) if row.split == "train"] == IMAGES[:4]
    facts = inspect(DataSettings(source=f"parquet:{shards}"))
    assert (facts.num_train, facts.num_test, facts.class_names, facts.image_size) == (4, 2, ("cat", "dog"), 6)


def test_shards_are_read_again_when_one_has_changed(shards: Path) -> None:
    first = locate(f"parquet:{shards}")
    time = first.stat().st_mtime_ns
    assert (locate(f"parquet:{shards}"), first.stat().st_mtime_ns) == (first, time)
    columns = {"image": structs(IMAGES[6:]), "label": [1, 0]}
    save(shards / "data/test-00000-of-00001.parquet", columns, huggingface())
    assert [row.image for row in rows(shards) if row.split == "test"] == IMAGES[6:]


@pytest.mark.parametrize(
    "names",
    [
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("train.parquet", "Test.pq"),
        ("plain_text/training-a.parquet", "plain_text/testing_b.parquet"),
        ("split=train/part-0.parquet", "split=test/part-0.parquet"),
    ],
)
def test_splits_are_those_of_files_or_their_folders(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        save(tmp_path / "pets" / name, {"image": structs(IMAGES[:2]), "label": [0, 1]}, huggingface())
    assert sorted(row.split for row in rows(tmp_path / "pets")) == ["test", "test", "train", "train"]


def test_a_single_file_is_of_the_split_of_its_name(tmp_path: Path) -> None:
    path = save(
        tmp_path / "train-00000-of-00001.parquet", {"image": structs(IMAGES), "label": [0, 1] * 4}, huggingface()
    )
    assert {row.split for row in rows(path)} == {"train"}
    with pytest.raises(DataError, match=r"pets\.parquet: no column split, and no split in its name"):
        rows(path.rename(path.with_name("pets.parquet")))


def test_unlabelled_shards_need_no_labels(shards: Path) -> None:
    save(shards / "data/unlabeled-00000-of-00001.parquet", {"image": structs(IMAGES[6:])}, {})
    assert [row.label for row in rows(shards) if row.split == "unlabelled"] == [-1, -1]
    columns = {"image": structs(IMAGES[6:]), "label": pa.array([None, -1], pa.int64())}
    save(shards / "data/unlabeled-00000-of-00001.parquet", columns, huggingface())
    assert [row.label for row in rows(shards) if row.split == "unlabelled"] == [-1, -1]


def test_columns_may_be_called_otherwise_where_the_metadata_name_them(tmp_path: Path) -> None:
    metadata = huggingface(img={"_type": "Image"}, kind={"names": NAMES, "_type": "ClassLabel"})
    columns = {"img": structs(IMAGES), "kind": [0, 1] * 4, "split": ["train", "test"] * 4}
    path = save(tmp_path / "pets.parquet", columns, metadata)
    assert [row[:3] for row in rows(path)] == [
        (image, n % 2, ["train", "test"][n % 2]) for n, image in enumerate(IMAGES)
    ]
    two = huggingface(
        fine_label={"names": NAMES, "_type": "ClassLabel"}, coarse_label={"names": NAMES, "_type": "ClassLabel"}
    )
    columns = {"image": structs(IMAGES), "fine_label": [0, 1] * 4, "coarse_label": [0, 0] * 4, "split": ["train"] * 8}
    with pytest.raises(DataError, match="columns fine_label, coarse_label may each be the label; rename the one"):
        rows(save(tmp_path / "two.parquet", columns, two))


def test_shards_in_our_own_form_are_one_set(tmp_path: Path, make_set: Callable[..., Path]) -> None:
    (tmp_path / "set").mkdir()
    both = [path.rename(tmp_path / "set" / path.name) for path in (make_set("b"), make_set("a", unlabelled=3))]
    labels = [read_labels(path).labels.tolist() for path in both]
    assert [row.label for row in rows(tmp_path / "set")] == labels[1] + labels[0]


def test_names_that_polars_writes_are_read(tmp_path: Path) -> None:
    table = pa.table({"image": IMAGES, "label": [0, 1] * 4, "split": ["train"] * 8})
    path = tmp_path / "pets.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"class_names": json.dumps(NAMES)})  # beside the schema's, as polars does
    assert "class_names" not in str(pq.read_schema(path).metadata)
    assert locate(f"parquet:{path}") == path
    assert read_labels(path).class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("columns", "metadata", "message"),
    [
        ({"label": [0, 1]}, huggingface(), "no column image; this file has label"),
        ({"image": structs(IMAGES[:2])}, huggingface(), "no column label; this file has image"),
        ({"image": structs(IMAGES[:2]), "label": ["cat", "dog"]}, huggingface(), "label holds string; .* integers"),
        ({"image": structs(IMAGES[:2]), "label": [0, 1]}, {}, "no class_names, .* nor HuggingFace's ClassLabel"),
        ({"image": structs(IMAGES[:2]), "label": [0, 1]}, {"huggingface": "{"}, "huggingface in .* is no JSON"),
        (
            {"image": structs(IMAGES[:2]), "label": [0, 2]},
            huggingface(),
            "row 1: label 2 of split train; choices: 0 to 1",
        ),
        ({"image": structs(IMAGES[:2]), "label": [0, 2**40]}, huggingface(), "row 1: label 1099511627776 of split"),
        ({"image": structs(IMAGES[:2]), "label": [0, -1]}, huggingface(), "row 1: label -1 of split train; choices"),
        ({"image": structs(IMAGES[:2]), "label": [0, None]}, huggingface(), "row 1: the label is missing"),
        ({"image": [{"path": "a"}] * 2, "label": [0, 1]}, huggingface(), "structs must have one field bytes"),
        ({"image": [[1], [2]], "label": [0, 1]}, huggingface(), "image holds list<.* must hold the bytes"),
        (
            {"image": [{"bytes": None, "path": "/etc/passwd"}] * 2, "label": [0, 1]},
            huggingface(),
            "row 0: .*(the bytes of|only its path '/etc/passwd')",
        ),
        ({"image": [*structs(IMAGES[:1]), None], "label": [0, 1]}, huggingface(), "row 1: the image is missing"),
        (
            {"image": structs(IMAGES[:2]), "label": [0, 1]},
            {**huggingface(), "class_names": '["dog", "cat"]'},
            r"class_names are \['dog', 'cat'\] .* and \['cat', 'dog'\] in HuggingFace's; keep one",
        ),
        (
            {"image": structs(IMAGES[:2]), "label": [-1, 1], "split": ["unlabeled"] * 2},
            huggingface(),
            "row 1: label 1 of split unlabelled; choices",
        ),
        (
            {"image": structs(IMAGES[:2]), "label": [0, 1]},
            {"class_names": r'["cat", "\ud800"]'},
            r"class_names .* hold '\\ud800', which is no text",
        ),
        (
            {"image": structs(IMAGES[:2]), "label": [0, 1], "split": ["train", "val"]},
            huggingface(),
            "row 1: split 'val'; .*choices: test, train, unlabelled",
        ),
    ],
)
def test_what_is_missing_or_ambiguous_is_named(
    tmp_path: Path, columns: dict[str, Any], metadata: dict[str, str], message: str
) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    if "bytes" in str(columns.get("image")):
        columns = {**columns, "image": pa.array(columns["image"], kind)}
    path = save(tmp_path / "train.parquet", columns, metadata)
    with pytest.raises(DataError, match=message) as caught:
        rows(path)
    assert str(path) in str(caught.value)


def lost(folder: Path) -> None:
    (folder / "data/train-00001-of-00002.parquet").unlink()


def doubled(folder: Path) -> None:
    path = folder / "data/train-00000-of-00002.parquet"
    path.with_name("train-00000-of-00001.parquet").write_bytes(path.read_bytes())


def doubled_with_a_digest(folder: Path) -> None:
    path = folder / "data/train-00000-of-00002.parquet"
    path.with_name("train-00000-of-00002-0123456789abcdef.parquet").write_bytes(path.read_bytes())


def lost_with_digests(folder: Path) -> None:
    for path in (folder / "data").glob("train*"):
        path.rename(path.with_name(f"{path.stem}-0123456789abcdef.parquet"))
    (folder / "data/train-00000-of-00002-0123456789abcdef.parquet").unlink()


def configured(folder: Path) -> None:
    path = folder / "data/test-00000-of-00001.parquet"
    (folder / "other").mkdir()
    (folder / "other" / path.name).write_bytes(path.read_bytes())


def validated(folder: Path) -> None:
    path = folder / "data/test-00000-of-00001.parquet"
    path.rename(path.with_name("validation-00000-of-00001.parquet"))


def contradictory(folder: Path) -> None:
    path = folder / "data/test-00000-of-00001.parquet"
    path.rename(path.with_name("train-test.parquet"))


def named_otherwise(folder: Path) -> None:
    metadata = huggingface(label={"names": NAMES[::-1], "_type": "ClassLabel"})
    save(folder / "data/test-00000-of-00001.parquet", {"image": structs(IMAGES[:2]), "label": [0, 1]}, metadata)


def with_an_image(folder: Path) -> None:
    (folder / "data/a.png").write_bytes(IMAGES[0])


def with_an_archive(folder: Path) -> None:
    (folder / "more.zip").write_bytes(b"PK\3\4")


def damaged(folder: Path) -> None:
    path = folder / "data/train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def emptied(folder: Path) -> None:
    for path in (folder / "data").iterdir():
        path.unlink()


def leading_up(folder: Path) -> None:
    os.symlink(folder, folder / "data/loop")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lost, "data: shard 1 of the 2 of train is missing"),
        (doubled, "data: train is there in two series of shards"),
        (doubled_with_a_digest, "data: a shard of train is there twice"),
        (lost_with_digests, "data: shard 0 of the 2 of train is missing"),
        (configured, "data and .*other: both hold test; give a folder that holds one"),
        (validated, r"validation-.*\.parquet: raysl uses no validation images"),
        (contradictory, r"train-test\.parquet: its name says more than one split"),
        (named_otherwise, r"its classes are \['cat', 'dog'\], and those of .*\['dog', 'cat'\]"),
        (with_an_image, r"data/a\.png: an image among Parquet files; images as files: folder:PATH"),
        (with_an_archive, r"more\.zip: an archive"),
        (damaged, r"train-00001-of-00002\.parquet: damaged"),
        (
            emptied,
            "pets: holds no Parquet files, but README.md, data/, dataset_infos.json; images as files: folder:PATH",
        ),
        (leading_up, "folders lie more than 8 deep"),
    ],
)
def test_folders_with_too_much_or_too_little_are_refused(
    shards: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(shards)
    with pytest.raises(DataError, match=message):
        rows(shards)


def test_a_damaged_image_is_named_by_its_file_and_row(shards: Path) -> None:
    columns = {"image": structs([IMAGES[0], b"text"]), "label": [0, 1]}
    path = save(shards / "data/test-00000-of-00001.parquet", columns, huggingface())
    with pytest.raises(DataError, match=rf"^{path}, row 1: the image cannot be decoded \(not an image\)"):
        inspect(DataSettings(source=f"parquet:{shards}"))
