import math
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raysl.errors import UserError
from raysl.results.records.rows import Epoch
from raysl.tracking import SyncReport, TrackingError, sync
from raysl.tracking.run_writer import _batches

Dump = Callable[..., dict[str, Any]]
FOLDER = "f01dacc0"


class Killed(BaseException):
    """Stands for a kill: no handler catches it."""


def test_a_run_per_stage_config_and_trial_each_in_the_one_above(search: Any, uri: str, logged: Dump) -> None:
    report = sync(search.end_all().select().tables(), uri, FOLDER)
    assert report == SyncReport(created=19, updated=0, unchanged=0)
    runs = logged(uri)
    assert Counter(run.tags["raysl.kind"] for run in runs.values()) == {"trial": 15, "config": 3, "stage": 1}
    stage, config, trial = runs["s0"], runs["s0:c1"], runs["s0:s0-t1-2"]
    assert (stage.name, stage.parent, stage.params) == ("semi", None, {})
    assert (config.name, config.parent) == ("lr=0.001", "s0")
    assert (trial.name, trial.parent) == ("lr=0.001 seed=2", "s0:c1")
    assert config.params == {"optimizer.lr": "0.001"}
    assert trial.params == {"optimizer.lr": "0.001", "seed": "2"}
    assert {run.status for run in runs.values()} == {"FINISHED"}
    assert stage.tags["raysl.selected"] == "lr=0.01"
    assert stage.tags["raysl.reason"] == "c0 has the lowest mean final loss"
    for run in (stage, config):
        tags = [run.tags[f"raysl.{name}"] for name in ("source", "labels", "method")]
        assert tags == ["digits", "50", "semi"]
    assert {run.tags["mlflow.source.name"] for run in runs.values()} == {"raysl tune"}
    assert (runs["s0:c0"].tags["raysl.selected"], config.tags["raysl.selected"]) == ("true", "false")


def test_the_curve_of_a_trial_has_the_steps_and_times_of_its_epochs(search: Any, uri: str, logged: Dump) -> None:
    search.end(0)
    sync(search.tables(), uri, FOLDER)
    trial = logged(uri)["s0:s0-t0-0"]
    begin = 1_700_000_000_000
    assert trial.history["loss/total"] == [(0, begin + 2000, 1.0), (1, begin + 4000, 0.5), (2, begin + 6000, 1 / 3)]
    assert trial.history["loss/rotation"] == [
        (0, begin + 2000, 0.25),
        (1, begin + 4000, 0.125),
        (2, begin + 6000, 0.25 / 3),
    ]
    assert [point[2] for point in trial.history["schedule/lr"]] == [0.1, 0.05, 0.1 / 3]
    assert trial.history["final/loss"] == [(0, begin + 90_000, 1 / 3)]
    assert trial.history["final/probe_accuracy"] == [(0, begin + 90_000, 0.5)]
    assert "final/test_accuracy" not in trial.history
    assert (trial.start, trial.end) == (begin, begin + 90_000)


def test_mean_and_deviation_of_a_config_and_of_the_chosen_one(search: Any, uri: str, logged: Dump) -> None:
    sync(search.end_all().select().tables(), uri, FOLDER)
    runs = logged(uri)
    values = {key: points[-1][2] for key, points in runs["s0:c0"].history.items()}
    assert values["final/loss_mean"] == pytest.approx(1 / 3 + 2)
    assert values["final/loss_std"] == pytest.approx(2.5**0.5)
    assert values["final/probe_accuracy_mean"] == pytest.approx(0.52)
    assert values["seconds_mean"] == 60
    assert runs["s0:c0"].tags["raysl.num_finished"] == "5"
    assert runs["s0"].history == {}, "a stage stands beside its configs in charts"


def test_a_second_sync_writes_nothing(search: Any, uri: str, logged: Dump) -> None:
    tables = search.end_all().select().tables()
    sync(tables, uri, FOLDER)
    before = logged(uri)
    assert sync(tables, uri, FOLDER) == SyncReport(created=0, updated=0, unchanged=19)
    assert logged(uri) == before


def test_a_growing_search_ends_as_if_it_were_synced_once(
    make_search: Any, uri: str, tmp_path: Path, logged: Dump
) -> None:
    once = f"sqlite:///{tmp_path}/once.db"
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "once.db")
    search, whole = (make_search(lrs=(0.01, 0.001), num_seeds=2) for _ in range(2))
    for place in (2, 0, 1):
        search.end(place)
        sync(search.tables(), uri, FOLDER)
    runs = logged(uri)
    assert len(runs) == 1 + 2 + 3
    assert (runs["s0"].status, runs["s0:c0"].status, runs["s0:c1"].status) == ("RUNNING", "FINISHED", "RUNNING")
    assert runs["s0:c1"].history == {}
    sync(search.end_all().select().score().tables(), uri, FOLDER)
    sync(whole.end_all().select().score().tables(), once, FOLDER)
    for name, run in logged(once).items():
        grown = logged(uri)[name]
        assert (grown.tags, grown.params, grown.history, grown.end) == (run.tags, run.params, run.history, run.end)


def test_test_scores_and_the_selection_arrive_later(search: Any, uri: str, logged: Dump) -> None:
    sync(search.end_all().tables(), uri, FOLDER)
    # The stage, its configs, of which each is in the tie set or not, and the trials of the selected one.
    assert sync(search.select().tables(), uri, FOLDER) == SyncReport(created=0, updated=1 + 3 + 5, unchanged=10)
    assert sync(search.score().tables(), uri, FOLDER) == SyncReport(created=0, updated=1 + 1 + 5, unchanged=12)
    runs = logged(uri)
    trial = runs["s0:s0-t0-0"]
    assert trial.tags["raysl.selected"] == "true"
    assert [point[2] for point in trial.history["final/test_accuracy"]] == [0.9]
    assert len(trial.history["loss/total"]) == 3
    assert [point[2] for point in runs["s0:c0"].history["final/test_accuracy_mean"]] == [0.9]
    assert len(runs) == 19


def test_a_new_score_is_the_one_that_is_shown(search: Any, uri: str, logged: Dump) -> None:
    sync(search.end_all().select().score(0.9).tables(), uri, FOLDER)
    for _ in range(2):
        sync(search.score(0.8).tables(), uri, FOLDER)
    assert [point[2] for point in logged(uri)["s0:s0-t0-0"].history["final/test_accuracy"]] == [0.9, 0.8]


@pytest.mark.parametrize("call", ["create_run", "log_batch", "set_terminated"])
@pytest.mark.parametrize("after", [True, False])
def test_a_half_written_run_is_completed(
    make_search: Any, uri: str, tmp_path: Path, logged: Dump, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    from mlflow import MlflowClient

    tables = make_search(lrs=(0.01,), num_seeds=2).end_all().select().tables()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "whole.db")
    sync(tables, f"sqlite:///{tmp_path}/whole.db", FOLDER)
    original, calls = getattr(MlflowClient, call), []

    def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(call)
        result = original(self, *args, **kwargs) if after or len(calls) < 3 else None
        if len(calls) == 3:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, killed)
        with pytest.raises(Killed):
            sync(tables, uri, FOLDER)
    sync(tables, uri, FOLDER)
    assert logged(uri) == logged(f"sqlite:///{tmp_path}/whole.db")


def test_a_trial_that_was_trained_anew_gets_a_new_run(search: Any, uri: str, logged: Dump) -> None:
    search.end_all()
    search.end(0, status="failed", reason="CUDA out of memory", final_loss=None, curve=())
    sync(search.tables(), uri, FOLDER)
    assert logged(uri)["s0:s0-t0-0"].status == "FAILED"
    assert logged(uri)["s0:s0-t0-0"].tags["raysl.reason"] == "CUDA out of memory"
    assert logged(uri)["s0:c0"].status == "FAILED"
    search.end(0, started_at=1_700_005_000.0, finished_at=1_700_005_090.0)
    sync(search.tables(), uri, FOLDER)
    run = logged(uri)["s0:s0-t0-0"]
    assert (run.status, run.start) == ("FINISHED", 1_700_005_000_000)
    assert [point[1] for point in run.history["loss/total"]] == [1_700_005_002_000 + 2000 * n for n in range(3)]
    assert logged(uri)["s0:c0"].status == "FINISHED"
    assert len(logged(uri)) == 1 + 3 + 15


def test_a_diverged_trial_is_failed_and_its_infinity_breaks_nothing(search: Any, uri: str, logged: Dump) -> None:
    curve = (Epoch(0, 0.1, math.inf, {"supervised": math.nan}, 1.0),)
    search.end(0, status="diverged", reason="non-finite loss", final_loss=None, curve=curve)
    tables = search.tables()
    sync(tables, uri, FOLDER)
    run = logged(uri)["s0:s0-t0-0"]
    assert (run.status, run.tags["raysl.status"]) == ("FAILED", "diverged")
    assert math.isnan(run.history["loss/total"][0][2])
    assert sync(tables, uri, FOLDER).unchanged == 3


def test_a_stopped_trial_is_killed_and_a_collapsed_one_failed(search: Any, uri: str, logged: Dump) -> None:
    curve = (Epoch(0, 0.1, -0.9, {"simsiam": -0.9, "spread": 0.01}, 1.0),)
    search.end(0, status="stopped", reason="asha: loss 2.3 after epoch 1", final_loss=None)
    search.end(1, status="collapsed", reason="spread 0.01", final_loss=None, curve=curve)
    sync(search.tables(), uri, FOLDER)
    stopped, collapsed = (logged(uri)[f"s0:s0-t0-{seed}"] for seed in (0, 1))
    assert (stopped.status, stopped.tags["raysl.reason"]) == ("KILLED", "asha: loss 2.3 after epoch 1")
    assert collapsed.status == "FAILED"
    assert [point[2] for point in collapsed.history["embedding/spread"]] == [0.01]
    assert "loss/spread" not in collapsed.history


def test_long_curves_and_long_texts_fit(make_search: Any, uri: str, logged: Dump) -> None:
    search = make_search(num_epochs=600, num_seeds=1)
    search.end(0, reason="x" * 20_000)
    sync(search.tables(), uri, FOLDER)
    run = logged(uri)["s0:s0-t0-0"]
    assert {key: len(points) for key, points in run.history.items() if "/" in key and "final" not in key} == {
        "loss/total": 600,
        "loss/supervised": 600,
        "loss/rotation": 600,
        "schedule/lr": 600,
    }
    assert run.tags["raysl.reason"] == "x" * 8000


def test_the_last_batch_holds_the_last_tag() -> None:
    batches = _batches(list(range(7)), ["p"], list("abcd"), limits=(3, 2, 3))
    assert [[list(part) for part in batch] for batch in batches] == [
        [[0, 1, 2], [], []],
        [[3, 4, 5], [], ["a", "b", "c"]],
        [[6], ["p"], ["d"]],
    ]


def test_where_nothing_is_searched_runs_are_named_by_the_stage(make_search: Any, uri: str, logged: Dump) -> None:
    search = make_search(lrs=(0.01,), num_seeds=1, searched=False, profile="stl10")
    sync(search.end_all().tables(), uri, FOLDER)
    names = {name: run.name for name, run in logged(uri, "rotation_semi/stl10").items()}
    assert names == {"s0": "semi", "s0:c0": "semi", "s0:s0-t0-0": "semi seed=0"}


def test_a_superseded_stage_is_not_synced(make_search: Any, uri: str, logged: Dump) -> None:
    old = make_search(lrs=(0.01,), num_seeds=1).end_all()
    new = make_search(lrs=(0.01, 0.001), num_seeds=1, stage_id="s1", created_at=2.0).end_all()
    sync(old.tables(new), uri, FOLDER)
    assert {name.partition(":")[0] for name in logged(uri)} == {"s1"}


def test_two_results_folders_share_a_server(search: Any, make_search: Any, uri: str, logged: Dump) -> None:
    search.end(0)
    sync(search.tables(), uri, FOLDER)
    other = make_search()
    other.end(0, finished_at=1_700_005_090.0)
    assert sync(other.tables(), uri, "0ther000") == SyncReport(created=3, updated=0, unchanged=0)
    assert sync(search.tables(), uri, FOLDER) == SyncReport(created=0, updated=0, unchanged=3)
    assert set(logged(uri)) == set(logged(uri, folder_id="0ther000")) == {"s0", "s0:c0", "s0:s0-t0-0"}


def test_runs_that_two_syncs_made_at_once_become_one(
    search: Any, uri: str, logged: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    search.end(0)
    with monkeypatch.context() as patch:
        patch.setattr("raysl.tracking.run_writer._search", lambda *_: iter(()))  # neither sees what the other makes
        for _ in range(2):
            assert sync(search.tables(), uri, FOLDER).created == 3
    sync(search.tables(), uri, "0ther000")
    sync(search.tables(), uri, FOLDER)
    assert len(logged(uri)) == 3  # which asserts that none is there twice
    assert len(logged(uri, folder_id="0ther000")) == 3
    assert logged(uri)["s0:s0-t0-0"].parent == "s0:c0"
    assert sync(search.tables(), uri, FOLDER).unchanged == 3


def test_a_run_id_in_the_environment_is_ignored(
    search: Any, uri: str, logged: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    search.end(0)
    sync(search.tables(), uri, FOLDER)
    assert len(logged(uri)) == 3


def test_deleted_runs_come_back_and_a_deleted_experiment_is_named(search: Any, uri: str, logged: Dump) -> None:
    from mlflow import MlflowClient

    search.end(0)
    sync(search.tables(), uri, FOLDER)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("rotation_semi")
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id]):
        if run.data.tags["raysl.kind"] != "trial":
            client.delete_run(run.info.run_id)
    sync(search.tables(), uri, FOLDER)
    assert logged(uri)["s0:s0-t0-0"].parent == "s0:c0"
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackingError, match=r"'rotation_semi' is deleted there; bring it back") as caught:
        sync(search.tables(), uri, FOLDER)
    assert caught.value.missing == 3


def test_a_store_that_is_none_is_named_at_once(search: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search.end(0)
    (tmp_path / "text.db").write_text("not a database " * 100)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits {seconds} s to try again"))
    with pytest.raises(TrackingError, match=r"text.db: file is not a database"):
        sync(search.tables(), f"sqlite:///{tmp_path}/text.db", FOLDER)
    with pytest.raises(TrackingError, match=r"File exists|Not a directory"):
        sync(search.tables(), f"sqlite:///{tmp_path}/text.db/mlflow.db", FOLDER)
    with pytest.raises(UserError, match=r"sqlite:///PATH\.db"):
        sync(search.tables(), "./mlruns", FOLDER)


QUIET = """
import pickle, sys
from raysl.tracking import sync
tables = pickle.load(open(sys.argv[1], "rb"))
sync(tables, sys.argv[2], "f01dacc0")
import logging
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled()
assert logging.getLogger("mlflow").level == logging.INFO
"""


@pytest.mark.slow
def test_a_fresh_database_is_made_in_silence_and_without_telemetry(search: Any, tmp_path: Path) -> None:
    import pickle

    search.end(0)
    (tmp_path / "tables").write_bytes(pickle.dumps(search.tables()))
    command = [sys.executable, "-c", QUIET, str(tmp_path / "tables"), f"sqlite:///{tmp_path}/new/mlflow.db"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AGENT": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "mlruns").exists()
