from dataclasses import replace
from pathlib import Path

import pytest

from raysl.launch.driver import throttled_records
from raysl.launch.driver.throttled_records import ThrottledRecords
from raysl.results.records.stages import Member, StageRecord, read_stages
from raysl.results.storage.store import Store

EMPTY = StageRecord("e", "", "semi", "s0", "train_loss", 0, {"source": "digits"}, ("lr",), (), 1.0, {"backbone": "b"})


def grown(configs: int, stage_id: str = "s0") -> StageRecord:
    return replace(EMPTY, stage_id=stage_id, members=tuple(Member(f"t{c}", f"c{c}", 0, {}) for c in range(configs)))


def written(store: Store) -> dict[str, int]:
    return {stage.stage_id: len(stage.members) for stage in read_stages(store)}


def test_a_record_is_written_at_once_then_as_often_as_is_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(str(tmp_path / "results"), create=True)
    monkeypatch.setattr(throttled_records, "REST", 1e6)
    records = ThrottledRecords(store)
    for configs in range(1, 5):
        records.has(grown(configs))
    assert written(store) == {"s0": 1}
    records.has(grown(2, "s1"))
    records.write()
    assert written(store) == {"s0": 4, "s1": 2}
    monkeypatch.setattr(throttled_records, "REST", 0.0)
    records.write()
    records.has(grown(5))
    assert written(store) == {"s0": 5, "s1": 2}


def test_what_is_written_is_not_written_again(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "results"), create=True)
    records = ThrottledRecords(store)
    records.has(grown(1))
    store.delete("stages/s0.json")
    records.write()
    assert written(store) == {}
