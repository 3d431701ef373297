"""What runs hold, beside what `test_mlflow.py` asks of their writing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raysl.results.records.seed_design import SeedDesign
from raysl.tracking import SyncReport, sync
from raysl.tracking.facts import VERSION

Dump = Callable[..., dict[str, Any]]
FOLDER = "f01dacc0"
SPEC = '{"data": {"source": "digits", "digest": "2252c3b2"}, "epochs": 3, "optimizer": {"lr": 0.01}, "seed": 0}'


def test_a_run_records_its_settings_its_data_set_and_its_selection(make_search: Any, uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    search = make_search(lrs=(0.01, 0.001), num_seeds=2, spec=SPEC).end_all().select().score()
    sync(search.tables(), uri, FOLDER, folder="results/some_search")
    client = MlflowClient(tracking_uri=uri)
    [experiment] = [found for found in client.search_experiments() if found.name == "rotation_semi"]
    runs = {run.data.tags["raysl.id"].partition(":")[2]: run for run in client.search_runs([experiment.experiment_id])}
    shared = {"data.source": "digits", "data.digest": "2252c3b2", "epochs": "3"}
    assert runs["s0"].data.params == shared
    assert runs["s0:c1"].data.params == shared | {"optimizer.lr": "0.001"}
    assert runs["s0:s0-t1-1"].data.params == shared | {"optimizer.lr": "0.001", "seed": "1"}
    for run in runs.values():
        assert run.data.tags["raysl.searched"] == "optimizer.lr"
        [entry] = run.inputs.dataset_inputs
        assert (entry.dataset.name, entry.dataset.digest) == ("digits", "2252c3b2")
    assert runs["s0:s0-t1-1"].data.metrics["seconds"] == 60
    note = runs["s0"].data.tags["mlflow.note.content"].replace("\\", "")
    for part in (
        "method**: semi",
        "labelled images**: 50",
        "test accuracy**: 0.9 ± 0",
        "results**: results/some_search",
    ):
        assert part in note
    assert "reason**: c0 has the lowest mean final loss" in note
    assert "tie set**: cannot be told from the best at 5 %: lr=0.01, lr=0.001; 2 of 2 configs" in note
    settings = tmp_path / "artifacts" / runs["s0"].info.run_id / "artifacts" / "settings.yaml"
    assert "optimizer.lr" not in settings.read_text(), "it is searched"
    assert "epochs: 3" in settings.read_text()


def test_a_config_has_curves_over_its_seeds_once_all_have_finished(make_search: Any, uri: str, logged: Dump) -> None:
    search = make_search(lrs=(0.01,), num_seeds=2)
    search.end(0)
    sync(search.tables(), uri, FOLDER)
    assert logged(uri)["s0:c0"].history == {}
    search.end(1)
    sync(search.tables(), uri, FOLDER)
    run = logged(uri)["s0:c0"]
    assert [(step, value) for step, _, value in run.history["loss/total"]] == [(0, 1.5), (1, 1.0), (2, 1 / 3 + 0.5)]
    assert next(value for *_, value in run.history["loss/total_minus_std"]) == pytest.approx(1.5 - 0.5**0.5)
    assert [value for *_, value in run.history["loss/supervised"]] == [0.75, 0.375, 0.25]
    assert len(run.history) <= 12
    search.end(1, started_at=1_700_005_000.0, finished_at=1_700_005_090.0, curve=search.rows["s0-t0-0"].curve)
    sync(search.tables(), uri, FOLDER)
    assert [value for *_, value in logged(uri)["s0:c0"].history["loss/total"]] == [1.0, 0.5, 1 / 3]


def test_a_failed_trial_says_why(search: Any, uri: str, logged: Dump) -> None:
    search.end(0, status="failed", reason="CUDA out of memory", final_loss=None, curve=())
    sync(search.tables(), uri, FOLDER)
    assert logged(uri)["s0:s0-t0-0"].tags["mlflow.note.content"] == "failed: CUDA out of memory"


def test_runs_of_an_earlier_version_are_written_anew(
    search: Any, uri: str, logged: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    search.end(0)
    with monkeypatch.context() as patch:
        patch.setattr("raysl.tracking.run_writer._SOURCE", {"mlflow.source.name": "raysl tune"})
        patch.setattr("raysl.tracking.facts.VERSION", 2)
        sync(search.tables(), uri, FOLDER)
        before = logged(uri)
    assert sync(search.tables(), uri, FOLDER) == SyncReport(created=0, updated=3, unchanged=0)
    after = logged(uri)
    assert after.keys() == before.keys()
    assert {run.tags["raysl.format"] for run in after.values()} == {str(VERSION)}
    assert after["s0:s0-t0-0"].history == before["s0:s0-t0-0"].history


def test_a_new_database_has_no_empty_experiment(search: Any, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    search.end(0)
    uri = f"sqlite:///{tmp_path}/new.db"
    for _ in range(2):
        sync(search.tables(), uri, FOLDER)
    assert [one.name for one in MlflowClient(tracking_uri=uri).search_experiments()] == ["rotation_semi"]


def test_configs_say_whether_they_are_in_the_tie_set_once_one_is_selected(
    make_search: Any, uri: str, logged: Dump
) -> None:
    search = make_search(lrs=(0.01, 0.001, 0.1), num_seeds=3).end_all()
    losses = {0: (1.0, 1.3, 0.9), 1: (1.2, 1.0, 1.1), 2: (99.0, 99.4, 99.1)}
    for place in range(9):
        search.end(place, final_loss=losses[place // 3][place % 3])
    sync(search.tables(), uri, FOLDER)
    assert "raysl.in_tie_set" not in logged(uri)["s0:c0"].tags
    search.select()
    sync(search.tables(), uri, FOLDER)
    runs = logged(uri)
    assert [runs[f"s0:c{place}"].tags["raysl.in_tie_set"] for place in range(3)] == ["true", "true", "false"]
    note = runs["s0"].tags["mlflow.note.content"].replace("\\", "")
    assert "**tie set**: cannot be told from the best at 5 %: lr=0.01, lr=0.001; 2 of 3 configs (paired t tests" in note


def test_a_config_has_intervals_of_its_means_as_tags_once_all_its_trials_have_ended(
    make_search: Any, uri: str, logged: Dump
) -> None:
    def intervals(config_id: str) -> dict[str, str]:
        tags = logged(uri)[f"s0:{config_id}"].tags
        return {tag: text for tag, text in tags.items() if tag.endswith("_interval")}

    search = make_search(lrs=(0.01, 0.001), num_seeds=2)
    for place in range(3):
        search.end(place, final_loss=1.0 + place, probe={"accuracy": 0.9 + 0.1 * place}, criteria={"lidar": 7.0})
    sync(search.tables(), uri, FOLDER)
    # 1.5 -+ 12.706 / 2 and, of a fraction, 0.95 -+ 0.6353: Student's t with one degree of freedom.
    first = {
        "raysl.final_loss_interval": "-4.853 to 7.853",
        "raysl.probe_accuracy_interval": "0.3147 to 1",
        "raysl.lidar_interval": "7 to 7",
    }
    assert intervals("c0") == first
    assert intervals("c1") == {}, "one of its trials is missing"
    charts = logged(uri)["s0:c0"].history
    assert not [name for name in charts if "interval" in name], "each metric is a chart"
    search.end(3, status="failed", reason="no memory", final_loss=None, curve=())
    sync(search.select().score().tables(), uri, FOLDER)
    assert intervals("c1") == {}, "no mean leaves a seed out"
    assert intervals("c0") == first | {"raysl.test_accuracy_interval": "0.9 to 0.9"}


def test_a_single_seed_and_the_cells_of_a_design_have_no_interval(make_search: Any, uri: str, logged: Dump) -> None:
    crossed = make_search(lrs=(0.01,), num_seeds=2, design=SeedDesign(("labels", "init"), "crossed")).end_all()
    alone = make_search(lrs=(0.01,), num_seeds=1, stage_id="s1", labels=40).end_all()
    sync(crossed.tables(alone), uri, FOLDER)
    runs = logged(uri)
    assert runs["s0:c0"].history["final/loss_std"], "it has a deviation"
    assert {"s0:c0", "s1:c0"} <= runs.keys()
    assert not [tag for run in runs.values() for tag in run.tags if tag.endswith("_interval")]
