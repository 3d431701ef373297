"""A small search's records, to be changed by the tests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysl.results.records.rows import Epoch, TrialRow
from raysl.results.records.stages import Member, SelectionRecord, StageRecord
from raysl.results.storage.store import Store
from raysl.results.tables.build import Tables, build
from raysl.search.config_means import summarise


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "results"), create=True)


@pytest.fixture
def make_row() -> Callable[..., TrialRow]:
    row = TrialRow(
        trial_id="t0",
        status="finished",
        reason="",
        method="semi",
        seed=0,
        final_loss=0.1 + 0.2,
        probe={"accuracy": 0.9},
        epochs=2,
        num_parameters=1000,
        seconds=3.5,
        started_at=1_700_000_000.125,
        finished_at=1_700_000_004.5,
        workers=1,
        device="cpu",
        raysl_version="0.1.0",
        torch_version="2.15.0",
        spec='{"epochs": 2}',
        curve=(
            Epoch(0, 0.01, 2.5, {"supervised": 2.0, "rotation": 0.5}, 1.5),
            Epoch(1, 0.005, 1.25, {"supervised": 1.0, "rotation": 0.25}, 2.0),
        ),
    )

    def make(**changes: Any) -> TrialRow:
        return replace(row, **changes)

    return make


@pytest.fixture
def make_stage() -> Callable[..., StageRecord]:
    stage = StageRecord(
        experiment="rotation_semi",
        profile="",
        stage="semi",
        stage_id="s0",
        rule="train_loss",
        order=0,
        data={"source": "digits", "labels": 50, "unlabelled": 1297, "image_size": 8, "channels": None, "digest": "d0"},
        searched=("optimizer.lr",),
        members=(
            Member("t0", "c0", 0, {"optimizer.lr": 0.01}),
            Member("t1", "c0", 1, {"optimizer.lr": 0.01}),
            Member("t2", "c1", 0, {"optimizer.lr": 0.001}),
            Member("t3", "c1", 1, {"optimizer.lr": 0.001}),
        ),
        created_at=1_700_000_000.0,
        model={"backbone": "small_resnet"},
    )

    def make(**changes: Any) -> StageRecord:
        return replace(stage, **changes)

    return make


@pytest.fixture
def make_selection() -> Callable[..., SelectionRecord]:
    selection = SelectionRecord(
        stage_id="s0",
        rule="train_loss",
        config_id="c0",
        params={"optimizer.lr": 0.01},
        trial_ids=("t0", "t1"),
        reason="lowest mean final loss",
        ineligible=(),
        ranking=(),
        selected_at=1_700_000_100.0,
    )

    def make(**changes: Any) -> SelectionRecord:
        return replace(selection, **changes)

    return make


@pytest.fixture
def edited(
    make_row: Callable[..., TrialRow],
    make_stage: Callable[..., StageRecord],
    make_selection: Callable[..., SelectionRecord],
) -> Tables:
    """A search (s0), the same with a wider grid (s1), and one with more labels (s2): in one folder."""
    stages = [
        make_stage(created_at=1.0, members=make_stage().members[:2]),
        make_stage(stage_id="s1", created_at=2.0),
        make_stage(stage_id="s2", created_at=3.0, data=make_stage().data | {"labels": 100}),
    ]
    rows = {f"t{place}": make_row(trial_id=f"t{place}", seed=place % 2) for place in range(4)}
    return tables_of(stages, rows, make_selection)


@pytest.fixture
def weighed(
    make_row: Callable[..., TrialRow],
    make_stage: Callable[..., StageRecord],
    make_selection: Callable[..., SelectionRecord],
) -> Tables:
    """A search of two objectives and one of one: c0 is the better, c1 the quicker, c2 neither, c3 collapsed."""
    params = {f"c{place}": {"optimizer.lr": 0.1**place} for place in range(4)}
    members = tuple(Member(f"t{config}", config, 0, values) for config, values in params.items())
    measured = {"tc0": (0.9, 9.0), "tc1": (0.5, 1.0), "tc2": (0.4, 2.0)}
    rows = {
        name: make_row(trial_id=name, probe={"accuracy": accuracy}, seconds=seconds)
        for name, (accuracy, seconds) in measured.items()
    }
    ended = {"status": "collapsed", "reason": "all features alike", "final_loss": None, "probe": {}}
    rows["tc3"] = make_row(trial_id="tc3", **ended)
    stages = [
        make_stage(objectives=("probe_accuracy", "seconds"), members=members),
        make_stage(stage_id="s1", stage="alone", objectives=("probe_accuracy",), members=members[:1]),
    ]
    return tables_of(stages, rows, make_selection)


def tables_of(
    stages: list[StageRecord], rows: dict[str, TrialRow], make_selection: Callable[..., SelectionRecord]
) -> Tables:
    """Build the tables of stages in each of which c0 is selected."""
    summaries = [summary for stage in stages for summary in summarise(stage, rows, {})]
    selections = {stage.stage_id: make_selection(stage_id=stage.stage_id) for stage in stages}
    return build(stages, rows, {}, summaries, selections)
