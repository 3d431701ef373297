"""The points of curves, against those that are made one by one."""

import math
from typing import Any

import pyarrow as pa
import pytest

from raysl.results.records.curve import Curve, Epoch, is_curves, joined, parted
from raysl.results.records.stages import Member
from raysl.results.schema import CURVES
from raysl.results.tables import curve_points as module
from raysl.results.tables.curve_points import points

PLACE = {"experiment": "e", "stage": "semi", "stage_id": "s0", "current": False}
WHOLE = tuple(Epoch(e, 0.1 / (e + 1), 3.0 / (e + 1), {"b": 1.0 * e, "a": -0.0}, 1.5) for e in range(3))
CURVES_OF = {
    "t0": WHOLE,
    "t1": (),
    "t2": (Epoch(0, 0.1, math.nan, {"spread": math.inf, "a": math.nan}, 2.0),),
    "t3": (Epoch(0, 0.1, 1.0, {}, 2.0), Epoch(1, 0.1, 0.5, {"only": 5e-324}, 2.0)),
    "t4": WHOLE[:1],
}


def one_by_one(curves: dict[str, tuple[Epoch, ...]]) -> list[dict[str, Any]]:
    found = []
    for seed, (trial_id, curve) in enumerate(curves.items()):
        for epoch in curve:
            for term, value in ({"total": epoch.loss} | epoch.terms).items():
                place = PLACE | {"config_id": "c0", "trial_id": trial_id, "seed": seed, "epoch": epoch.epoch}
                found.append(place | {"lr": epoch.lr, "seconds": epoch.seconds, "term": term, "value": value})
    return found


@pytest.mark.parametrize("at_once", [1, 2, 500])
@pytest.mark.parametrize("kind", [tuple, Curve.of])
def test_all_at_once_they_are_as_one_by_one(monkeypatch: pytest.MonkeyPatch, at_once: int, kind: Any) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    members = [Member(name, "c0", seed, {}) for seed, name in enumerate(CURVES_OF)]
    found = pa.concat_tables(points(PLACE, [(m, kind(CURVES_OF[m.trial_id])) for m in members]))
    assert found.schema.equals(CURVES, check_metadata=True)
    assert repr(found.to_pylist()) == repr(one_by_one(CURVES_OF))  # NaN and -0.0 too


def test_without_curves_there_are_no_points() -> None:
    assert list(points(PLACE, [])) == []
    [table] = points(PLACE, [(Member("t1", "c0", 0, {}), ())])
    assert table.num_rows == 0


def test_a_curve_is_its_epochs() -> None:
    curve = Curve.of(WHOLE)
    assert curve == WHOLE
    assert curve == WHOLE
    assert curve == Curve.of(list(WHOLE))
    assert curve != WHOLE[:2]
    assert (len(curve), curve[-1], curve[:2], list(curve)) == (3, WHOLE[-1], WHOLE[:2], list(WHOLE))
    assert type(curve[0].epoch) is int
    assert not Curve.of(())


def test_joined_curves_part_again_also_where_a_column_is_cut() -> None:
    curves = [Curve.of(curve) for curve in CURVES_OF.values()]
    column = pa.chunked_array([joined(curves)])
    assert is_curves(column)
    for cut in (column, column.slice(2), pa.chunked_array([column.slice(0, 3).chunk(0), column.slice(3).chunk(0)])):
        assert [repr(curve) for curve in parted(cut)] == [repr(curve) for curve in curves[-len(cut) :]]
    again = joined(parted(column.slice(2)))
    assert repr(again.to_pylist()) == repr(column.slice(2).to_pylist())


def test_curves_with_holes_are_looked_at_one_by_one() -> None:
    assert not is_curves(pa.chunked_array([pa.array([None], joined([]).type)]))
    assert not is_curves(pa.chunked_array([pa.array([[None]], joined([]).type)]))
    assert not is_curves(pa.chunked_array([pa.array([[{"epoch": 1}]])]))
