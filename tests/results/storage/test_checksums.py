import pyarrow as pa

from raysl.results.storage.checksums import arrow_file, read_arrow_file
from raysl.results.storage.file_stat import Stamp

PARTS = [pa.table({"a": [start, start + 1], "b": ["x" * start, None]}) for start in range(4)]
TABLE = pa.concat_tables(PARTS).replace_schema_metadata({"k": "v"})


def test_a_table_of_many_parts_comes_back_whole() -> None:
    content = b"".join(arrow_file(TABLE))
    assert len(list(arrow_file(TABLE))) == 4 + 1  # no more than a part is held
    assert read_arrow_file(content).equals(TABLE, check_metadata=True)
    assert pa.ipc.open_file(pa.BufferReader(content)).num_record_batches == 4
    assert read_arrow_file(b"".join(arrow_file(TABLE.slice(0, 0)))).num_rows == 0


def test_no_byte_of_it_changes_a_value_unnoticed() -> None:
    content = b"".join(arrow_file(TABLE))
    noticed = 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        try:
            assert read_arrow_file(bytes(changed)).equals(TABLE)  # the name of the digest has changed, say
        except (pa.ArrowException, ValueError, OSError):
            noticed += 1
    assert noticed > 0.95 * len(content)


def test_a_file_is_settled_once_its_clock_has_ticked() -> None:
    fine, coarse = Stamp(1, 100 * 10**9 + 1), Stamp(1, 100 * 10**9)
    assert [fine.is_settled(now) for now in (99.0, 100.01, 100.2)] == [False, False, True]
    assert [coarse.is_settled(now) for now in (100.2, 101.5, 102.5)] == [False, False, True]
