"""The Parquet form: what is written is read, and what is wrong is named."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysl.data.storage import parquet, parquet_files
from raysl.data.storage.parquet import ContentDigest, Row, read_batches, read_labels, write
from raysl.errors import DataError

ROWS = [Row(b"first", 0, "train"), Row(b"", 1, "test"), Row(b"third", -1, "unlabelled"), Row(b"x", 1, "train")]


def digest(path: Path) -> str:
    content = ContentDigest(read_labels(path))
    for batch in read_batches(path):
        content.update(batch)
    return content.hexdigest()


def written(path: Path, rows: list[Row], names: tuple[str, ...] = ("a", "b")) -> Path:
    write(path, rows, names, "here", "none")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "set.parquet", ROWS * 1000)
    index = read_labels(path)
    assert index.labels.tolist() == [0, 1, -1, 1] * 1000
    assert index.splits.tolist() == [0, 1, 2, 0] * 1000
    assert index.class_names == ("a", "b")
    images = [image for batch in read_batches(path) for image in batch.column("image").to_pylist()]
    assert images == [row.image for row in ROWS] * 1000
    metadata = pq.read_schema(path).metadata
    assert (metadata[b"source"], metadata[b"licence"]) == (b"here", b"none")
    assert pq.read_schema(path).types == [pa.binary(), pa.int32(), pa.string()]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Row]:
        yield from ROWS * 1000
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="gone"):
        write(tmp_path / "set.parquet", failing(), ["a", "b"], "here", "none")
    assert list(tmp_path.iterdir()) == []


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "set.parquet", ROWS * 1000)
    table = pq.read_table(path)
    kinds = [pa.large_binary(), pa.int64(), pa.dictionary(pa.int32(), pa.string())]
    schema = pa.schema(list(zip(table.column_names, kinds, strict=True)), metadata={"class_names": '["a",  "b"]'})
    other = tmp_path / "other.parquet"
    pq.write_table(table.cast(schema), other, row_group_size=37, compression="none", use_dictionary=False)
    assert digest(path) == digest(other)
    # Part of every trial's name: results of earlier versions are found again only while this stays.
    assert digest(written(tmp_path / "few.parquet", ROWS)) == "984e1eefed3dca515035706f9083a447"


@pytest.mark.parametrize("image", [pa.binary(5), pa.binary_view(), pa.large_binary()], ids=str)
@pytest.mark.parametrize(
    "split", [pa.binary(), pa.string_view(), pa.dictionary(pa.int8(), pa.binary()), pa.large_string()], ids=str
)
def test_columns_of_like_types_are_the_same_content(tmp_path: Path, image: pa.DataType, split: pa.DataType) -> None:
    rows = [row._replace(image=row.image.ljust(5)) for row in ROWS]
    path = written(tmp_path / "set.parquet", rows)
    table = pq.read_table(path)
    for name, kind in (("image", image), ("split", pa.binary()), ("split", split)):
        place = table.column_names.index(name)
        column = table[name]
        same = column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)
        table = table.set_column(place, name, same)
    assert table["split"].type.id == split.id
    pq.write_table(table, tmp_path / "other.parquet")
    assert digest(tmp_path / "other.parquet") == digest(path)
    (batch,) = read_batches(tmp_path / "other.parquet")
    assert [Row(**row) for row in batch.to_pylist()] == rows


def test_large_images_are_written_and_read_few_at_once(tmp_path: Path) -> None:
    photograph = Row(bytes(1_000_000), 0, "train")
    path = written(tmp_path / "set.parquet", [photograph] * 100 + ROWS)
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [64, 40]
    rows = [batch.num_rows for batch in read_batches(path)]
    assert sum(rows) == 104
    assert max(rows) <= 64
    table = pq.read_table(path)
    table = table.add_column(0, "notes", pa.array([{"image": b""}] * len(table)))
    pq.write_table(table, path, use_dictionary=False)  # as another program would: one row group
    assert max(batch.num_rows for batch in read_batches(path)) <= 70


def test_reading_takes_the_memory_of_a_row_group_not_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 2_000_000)
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1_000_000)
    monkeypatch.setattr(parquet_files, "READ_BYTES", 1_000_000)
    generator = np.random.default_rng(0)
    path = written(tmp_path / "set.parquet", [Row(generator.bytes(200_000), 0, "train") for _ in range(150)])
    before = pa.total_allocated_bytes()
    assert max(pa.total_allocated_bytes() - before for _ in read_batches(path)) < 10_000_000  # of 30


@pytest.mark.parametrize("dictionary", [False, True], ids=["plain", "one image many times"])
def test_many_photographs_among_thumbnails_are_read_few_at_once(
    tmp_path: Path, dictionary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "BATCH_BYTES", 4_000_000)
    generator = np.random.default_rng(0)
    large = generator.bytes(100_000)
    images = [b"small"] * 5000 + [large if dictionary else generator.bytes(100_000) for _ in range(100)]
    path = tmp_path / "set.parquet"
    table = pa.table({"image": images, "label": [0] * 5100, "split": ["train"] * 5100})
    pq.write_table(table.replace_schema_metadata({"class_names": '["a", "b"]'}), path, use_dictionary=dictionary)
    read: list[bytes] = []
    for batch in read_batches(path):
        assert batch.nbytes < 4_100_000
        read += batch.column("image").to_pylist()
    assert read == images


def test_images_that_are_larger_than_any_that_is_decoded_are_not_read(tmp_path: Path) -> None:
    path = written(tmp_path / "set.parquet", [Row(bytes(251_000_000), 0, "train")])
    assert path.stat().st_size < 1_000_000
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match=r"set\.parquet: images take 2510\d+ bytes, and at most 250000000 are decoded"):
        next(read_batches(path))
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_a_missing_image_is_named_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    images = pa.array([b"x"] * 40 + [None], pa.binary())
    pq.write_table(pa.table({"image": images, "label": [0] * 41, "split": ["train"] * 41}), path)
    with pytest.raises(DataError, match=r"set\.parquet: the image in row 40 is missing \(null\)"):
        list(read_batches(path))


def test_an_image_larger_than_a_row_group_is_written_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 4)
    path = written(tmp_path / "set.parquet", ROWS)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [1, 1, 1, 1]
    assert [Row(**row) for batch in read_batches(path) for row in batch.to_pylist()] == ROWS


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([Row(b"firstx", 0, "train"), *ROWS[1:]], ("a", "b")),
        ([ROWS[0]._replace(label=1), *ROWS[1:]], ("a", "b")),
        ([ROWS[0]._replace(split="test"), *ROWS[1:]], ("a", "b")),
        (ROWS[::-1], ("a", "b")),
        (ROWS, ("a", "c")),
        ([Row(b"firs", 0, "train"), Row(b"t", 1, "test"), *ROWS[2:]], ("a", "b")),
    ],
    ids=["image", "label", "split", "order", "names", "boundary"],
)
def test_the_digest_sees_every_change(tmp_path: Path, rows: list[Row], names: tuple[str, ...]) -> None:
    original = digest(written(tmp_path / "set.parquet", ROWS))
    assert digest(written(tmp_path / "other.parquet", rows, names)) != original


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row(b"x", 2, "train"), "label 2 in row 4 of split train; choices: 0 to 1"),
        (Row(b"x", -1, "test"), "label -1 in row 4 of split test"),
        (Row(b"x", 0, "unlabelled"), "label 0 in row 4 of split unlabelled"),
        (Row(b"x", 0, "valid"), "split 'valid'; choices: train, test, unlabelled"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: Row, message: str) -> None:
    path = written(tmp_path / "set.parquet", [*ROWS, row])
    with pytest.raises(DataError, match=message) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("names", [(), ("a",), ("a", "a")])
def test_class_names_are_two_at_least(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="class_names"):
        read_labels(written(tmp_path / "set.parquet", ROWS[:1], names))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [b"x"], "label": [0]}, "no column split"),
        ({"image": ["x"], "label": [0], "split": ["train"]}, "column image holds string"),
        ({"image": [b"x"], "label": ["a"], "split": ["train"]}, "column label holds string"),
        ({"image": [b"x"], "label": pa.array([None], pa.int32()), "split": ["train"]}, "1 of them null"),
        ({"image": [b"x"], "label": [0], "split": ["train"]}, "no class_names"),
        ({"image": [b"x"], "label": [0], "split": [["train"]]}, "column split holds list<.*it must be string"),
        ({"image": [b"x"], "label": [0], "split": [{"a": 1}]}, "column split holds struct<.*it must be string"),
        ({"image": [b"x"], "label": [0], "split": [b"\xff"]}, "split '\ufffd'; choices"),
        ({"image": [b"x"], "label": [0], "split": pa.array([None], pa.string())}, "split None; choices"),
        (
            {"image": [b"x"], "label": pa.array([2**63], pa.uint64()), "split": ["train"]},
            "label 9223372036854775808 is",
        ),
    ],
)
def test_another_form_is_refused(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = tmp_path / "set.parquet"
    names = {} if "no class" in message else {"class_names": '["a", "b"]'}
    pq.write_table(pa.table(columns).replace_schema_metadata(names), path)
    with pytest.raises(DataError, match=message):
        read_labels(path)


@pytest.mark.parametrize("name", ["image", "label", "split"])
def test_a_column_that_is_there_twice_is_named(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "set.parquet", ROWS)
    table = pq.read_table(path)
    pq.write_table(table.append_column(name, table[name]), path)
    with pytest.raises(DataError, match=f"more than one column {name}; this file has image, label, split, {name}"):
        read_labels(path)


def damaged(content: bytes, kind: str) -> bytes:
    middle = len(content) // 2
    return {
        "truncated": content[:middle],
        "altered": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "another file": b"no parquet at all, but long enough to be one",
        "empty": b"",
    }[kind]


@pytest.mark.parametrize("kind", ["truncated", "altered", "another file", "empty"])
def test_a_damaged_file_is_refused(make_set: Callable[..., Path], kind: str) -> None:
    path = make_set(train=400, channels=3)
    path.write_bytes(damaged(path.read_bytes(), kind))
    with pytest.raises(DataError, match="damaged") as caught:
        digest(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_labels(tmp_path / "set.parquet")


def test_labels_are_int64(make_set: Callable[..., Path]) -> None:
    index = read_labels(make_set(unlabelled=3))
    assert index.labels.dtype == np.int64
    assert index.splits.dtype == np.int8


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_page_that_says_to_be_large_takes_no_memory_and_loses_no_row(tmp_path: Path, column: int) -> None:
    path = tmp_path / "set.parquet"
    rows = pa.table({"image": [b"x"] * 20, "label": [0, 1] * 10, "split": ["train"] * 20})
    pq.write_table(rows.replace_schema_metadata({"class_names": '["a", "b"]'}), path, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    place = pq.read_metadata(path).row_group(0).column(column).dictionary_page_offset
    # The header of a page: its kind, its bytes, those that it takes compressed, and its checksum.
    assert content[place : place + 2] == b"\x15\4"
    del content[place : place + 2]  # so that the checksum stands where the size did
    content[place + 5 : place + 10] = b"\x80\x80\x80\x80\x08"  # 1 GiB
    path.write_bytes(content)
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(DataError, match="damaged"):
        digest(path)
    assert pa.default_memory_pool().max_memory() < before + 50_000_000


MASKED = [
    Row(b"first", 0, "train", "a.png", b"mask"),
    Row(b"", 0, "test", "b.png", b""),
    Row(b"third", 0, "unlabelled", "c.png"),
    Row(b"x", 0, "train", "d.png", b"another"),
]


def masked(
    path: Path, rows: list[Row] = MASKED, names: tuple[str, ...] = ("a", "b"), *, with_files: bool = False
) -> Path:
    write(path, rows, names, "here", "none", with_files=with_files, with_masks=True)
    return path


@pytest.mark.parametrize("with_files", [False, True])
def test_masks_that_are_written_are_read(tmp_path: Path, with_files: bool) -> None:
    path = masked(tmp_path / "set.parquet", MASKED * 1000, ("a", "void", "b"), with_files=with_files)
    index = read_labels(path)
    assert index.labels.tolist() == [0, 0, -1, 0] * 1000
    assert index.splits.tolist() == [0, 1, 2, 0] * 1000
    assert index.class_names == ("a", "b")
    assert index.mask_values is not None
    assert index.mask_values.classes[:3].tolist() == [0, 255, 1]
    found = [tuple(row.values()) for batch in read_batches(path) for row in batch.to_pylist()]
    assert found == [(row.image, row.mask, row.split) for row in MASKED] * 1000
    assert pq.read_schema(path).names == ["image", "mask", "split", "file"][: 4 if with_files else 3]


def test_sets_of_classes_have_no_mask_values(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path / "set.parquet", ROWS)).mask_values is None


def test_the_digest_is_of_masks_too(tmp_path: Path) -> None:
    def of(rows: list[Row], names: tuple[str, ...] = ("a", "b")) -> str:
        return digest(masked(tmp_path / "set.parquet", rows, names))

    first = of(MASKED)
    assert of(MASKED) == first
    assert digest(masked(tmp_path / "files.parquet", with_files=True)) == first
    other = [MASKED[0]._replace(mask=b"mast"), *MASKED[1:]]
    moved = [MASKED[0]._replace(mask=b"mas"), MASKED[1]._replace(mask=b"k"), *MASKED[2:]]  # the same bytes in a row
    swapped = [MASKED[0]._replace(mask=b"another"), *MASKED[1:3], MASKED[3]._replace(mask=b"mask")]
    names = [of(MASKED, given) for given in (("b", "a"), ("a", "b", "void"), ("void", "a", "b"), ("a", "void", "b"))]
    assert len({first, of(other), of(moved), of(swapped), *names}) == 8


def test_labels_and_masks_in_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    table = pq.read_table(masked(path))
    pq.write_table(table.append_column("label", pa.array([0, 1, -1, 0], pa.int32())), path)
    for read in (read_labels, lambda path: list(read_batches(path))):
        with pytest.raises(
            DataError, match=r"set\.parquet: columns label and mask; images have classes or masks: leave"
        ):
            read(path)


def test_masks_that_are_no_bytes_and_two_columns_of_them_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    table = pq.read_table(masked(path))
    pq.write_table(table.set_column(1, "mask", pa.array([0, 1, 0, 1])), path)
    with pytest.raises(DataError, match=r"column mask holds int64; it must hold the bytes of PNGs \(binary\)"):
        read_labels(path)
    pq.write_table(pa.Table.from_arrays([*table.columns, table["mask"]], [*table.column_names, "mask"]), path)
    with pytest.raises(DataError, match="more than one column mask"):
        read_labels(path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_mask_is_named_and_unlabelled_images_need_none(tmp_path: Path, split: str) -> None:
    path = masked(tmp_path / "set.parquet", [*MASKED * 600, Row(b"x", 0, split)])
    with pytest.raises(DataError, match=r"^.*set\.parquet: the image in row 2400 has no mask$"):
        list(read_batches(path))
    rows = [*MASKED * 600, Row(b"x", 0, split, "here/x.png")]
    with pytest.raises(DataError, match=r"^here/x\.png: the image has no mask$"):
        list(read_batches(masked(path, rows, with_files=True)))


def test_a_row_group_holds_as_many_masks_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 250)
    masked(tmp_path / "set.parquet", [Row(b"x", 0, "train", mask=bytes(99))] * 7)
    groups = pq.ParquetFile(tmp_path / "set.parquet").metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [2, 2, 2, 1]


def test_large_masks_are_read_few_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "READ_BYTES", 10_000)
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1)  # batches stay as they are read
    generator = np.random.default_rng(0)
    path = masked(tmp_path / "set.parquet", [Row(b"x", 0, "train", mask=generator.bytes(3000)) for _ in range(8)])
    assert [batch.num_rows for batch in read_batches(path)] == [3, 3, 2]
