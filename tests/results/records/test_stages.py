import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from raysl.results.records.stages import (
    Ineligible,
    Member,
    Ranked,
    SelectionRecord,
    StageRecord,
    Value,
    current_ids,
    read_selections,
    read_stages,
    write_selection,
    write_stage,
)
from raysl.results.storage.store import Store

MakeStage = Callable[..., StageRecord]
MakeSelection = Callable[..., SelectionRecord]


def test_a_stage_comes_back_with_the_types_of_its_values(store: Store, make_stage: MakeStage) -> None:
    params: dict[str, Value] = {"lr": 0.001, "batch_size": 32, "nesterov": True, "name": "sgd"}
    stage = make_stage(members=(Member("t0", "c0", 0, params),))
    write_stage(store, stage)
    assert read_stages(store) == [stage]
    (member,) = read_stages(store)[0].members
    assert [type(value) for value in member.params.values()] == [float, int, bool, str]


def test_an_equal_stage_keeps_its_first_time_and_file(store: Store, make_stage: MakeStage) -> None:
    write_stage(store, make_stage(created_at=1.0))
    before = store.read("stages/s0.json")
    assert write_stage(store, make_stage(created_at=2.0)).created_at == 1.0
    assert store.read("stages/s0.json") == before
    assert write_stage(store, make_stage(rule="probe_accuracy", created_at=3.0)).created_at == 3.0
    assert read_stages(store)[0].rule == "probe_accuracy"


def test_stages_come_search_by_search_in_the_order_of_the_experiment(store: Store, make_stage: MakeStage) -> None:
    other = {"source": "digits", "labels": 100}
    for stage_id, order, created_at in (("fine", 1, 2.0), ("semi", 0, 1.0), ("wider", 0, 5.0)):
        write_stage(store, make_stage(stage_id=stage_id, order=order, created_at=created_at))
    write_stage(store, make_stage(stage_id="other", data=other, created_at=3.0))
    assert [stage.stage_id for stage in read_stages(store)] == ["semi", "wider", "fine", "other"]


def test_a_later_search_supersedes_only_its_like(make_stage: MakeStage) -> None:
    data = make_stage().data
    stages = [
        make_stage(stage_id="old", created_at=1.0),
        make_stage(stage_id="new", created_at=2.0, data=data | {"digest": "of other images"}),
        make_stage(stage_id="labels", created_at=3.0, data=data | {"labels": 100}),
        make_stage(stage_id="stage", created_at=4.0, stage="fine"),
        make_stage(stage_id="profile", created_at=5.0, profile="long"),
        make_stage(stage_id="experiment", created_at=6.0, experiment="rotation"),
        make_stage(stage_id="model", created_at=7.0, model={"backbone": "resnet50"}),
    ]
    assert current_ids(stages) == {"new", "labels", "stage", "profile", "experiment", "model"}
    assert current_ids(stages[::-1]) == current_ids(stages)


def test_start_weights_that_have_moved_are_the_same(make_stage: MakeStage) -> None:
    def stage(name: str, created: float, source: str, digest: str) -> StageRecord:
        weights = {"source": source, "digest": digest}
        return make_stage(stage_id=name, created_at=created, model={"backbone": "resnet18", "weights": weights})

    stages = [stage("old", 1.0, "file:a", "x"), stage("new", 2.0, "file:b", "x"), stage("other", 3.0, "file:b", "y")]
    assert current_ids(stages) == {"new", "other"}


def test_a_record_without_a_model_is_superseded_by_one_of_any(make_stage: MakeStage) -> None:
    older = [make_stage(stage_id=f"old{i}", created_at=float(i), model={}) for i in range(2)]
    assert current_ids(older) == {"old1"}
    assert current_ids([*older, make_stage(stage_id="new", created_at=5.0)]) == {"new"}
    assert current_ids([*older, make_stage(stage_id="else", created_at=5.0, stage="fine")]) == {"old1", "else"}


def test_rows_of_a_table_supersede_only_themselves(make_stage: MakeStage) -> None:
    rows = [make_stage(stage_id=v, created_at=i + 1.0, variant=v) for i, v in enumerate(("seeds=2", "seeds=3"))]
    assert current_ids(rows) == {"seeds=2", "seeds=3"}
    assert current_ids([*rows, make_stage(stage_id="edited", created_at=9.0, variant="seeds=2")]) == {
        "edited",
        "seeds=3",
    }


def test_going_back_to_an_earlier_search_makes_it_current(store: Store, make_stage: MakeStage) -> None:
    write_stage(store, make_stage(created_at=1.0))
    write_stage(store, make_stage(stage_id="s1", created_at=2.0))
    assert current_ids(read_stages(store)) == {"s1"}
    assert write_stage(store, make_stage(created_at=3.0)).created_at == 3.0
    assert current_ids(read_stages(store)) == {"s0"}
    assert write_stage(store, make_stage(created_at=4.0)).created_at == 3.0


def test_an_equal_selection_keeps_its_first_time_and_file(store: Store, make_selection: MakeSelection) -> None:
    ranking = (Ranked("c0", 0.5),)
    ineligible = (Ineligible("c1", "seed 3: non-finite loss"),)
    selection = make_selection(selected_at=1.0, ranking=ranking, ineligible=ineligible)
    write_selection(store, selection)
    before = store.read("selections/s0.json")
    again = make_selection(selected_at=2.0, ranking=ranking, ineligible=ineligible)
    assert write_selection(store, again) == selection
    assert store.read("selections/s0.json") == before
    write_selection(store, make_selection(config_id=None, selected_at=3.0))
    assert read_selections(store)["s0"] == make_selection(config_id=None, selected_at=3.0)


def test_a_damaged_record_is_absent_and_written_anew(
    store: Store, make_stage: MakeStage, caplog: pytest.LogCaptureFixture
) -> None:
    write_stage(store, make_stage())
    store.write("stages/s0.json", store.read("stages/s0.json")[:-20])
    with caplog.at_level(logging.WARNING):
        assert read_stages(store) == []
    assert "stages/s0.json is damaged" in caplog.text
    write_stage(store, make_stage())
    assert read_stages(store) == [make_stage()]


def test_a_search_that_goes_on_keeps_its_place_among_others(store: Store, make_stage: MakeStage) -> None:
    whole = make_stage(created_at=1.0)
    write_stage(store, replace(whole, members=whole.members[:1]))
    write_stage(store, make_stage(stage_id="s1", experiment="other", created_at=2.0))
    write_stage(store, replace(whole, created_at=3.0))
    assert [stage.stage_id for stage in read_stages(store)] == [whole.stage_id, "s1"]
    assert read_stages(store)[0] == whole
