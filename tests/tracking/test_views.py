"""The views that a sync leaves in the tags of its experiments."""

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from raysl.tracking import sync
from raysl.tracking.links import Link, best_link, links
from raysl.tracking.views import TAG

FOLDER = "f01dacc0"


def views(uri: str, experiment: str = "rotation_semi") -> dict[str, tuple[str, dict[str, Any]]]:
    """Return each view's name and state by its key."""
    from mlflow import MlflowClient

    found = MlflowClient(tracking_uri=uri).get_experiment_by_name(experiment)
    assert found is not None
    return {key.removeprefix(TAG): read(value) for key, value in found.tags.items() if key.startswith(TAG)}


def read(value: str) -> tuple[str, dict[str, Any]]:
    stored = json.loads(value)
    form, packed = stored["state"].split(";")
    assert form == "deflate"
    return stored["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def shown(uri: str, state: dict[str, Any]) -> list[str]:
    """Return the names of the runs that a view shows, in its order."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
    return [str(run.info.run_name) for run in client.search_runs(ids, state["searchFilter"], order_by=[order])]


def test_configs_are_shown_best_first_and_trials_by_config(search: Any, uri: str) -> None:
    sync(search.end_all().select().tables(), uri, FOLDER)
    found = views(uri)
    assert {key: name for key, (name, _) in found.items()} == {
        "raysl-f01dacc0-s0-configs": "semi: configs",
        "raysl-f01dacc0-s0-trials": "semi: trials",
    }
    _, configs = found["raysl-f01dacc0-s0-configs"]
    assert shown(uri, configs) == ["lr=0.01", "lr=0.001", "lr=0.0001"]
    assert configs["runsHiddenMode"] == "SHOW_ALL"
    _, trials = found["raysl-f01dacc0-s0-trials"]
    assert len(shown(uri, trials)) == 15
    assert trials["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "raysl.config"}]


def test_a_stage_selected_by_a_criterion_shows_it_with_its_interval(make_search: Any, uri: str, logged: Any) -> None:
    search = make_search(lrs=(0.01, 0.001), num_seeds=2)
    for place in range(4):
        search.end(place, criteria={"rankme": float(place)})
    search.selection = replace(search.select("c1").selection, rule="rankme")
    sync(search.tables(), uri, FOLDER)
    runs = logged(uri)
    assert {name: history[-1][-1] for name, history in runs["s0:c1"].history.items() if "rankme" in name} == {
        "criteria/rankme_mean": 2.5,
        "criteria/rankme_std": pytest.approx(0.5**0.5),
    }
    assert runs["s0:s0-t1-1"].history["criteria/rankme"][-1][-1] == 3
    # 2.5 -+ 12.706 / 2: Student's t with one degree of freedom.
    note = runs["s0"].tags["mlflow.note.content"].replace("\\", "")
    assert "RankMe**: 2.5 ± 0.707107, 95 % t interval -3.853 to 8.853" in note
    _, configs = views(uri)["raysl-f01dacc0-s0-configs"]
    assert shown(uri, configs) == ["lr=0.001", "lr=0.01"]


def test_each_metric_of_a_config_has_one_chart(search: Any, uri: str, logged: Any) -> None:
    """MLflow adds a chart for each metric that is the first one of no chart."""
    sync(search.end_all().select().score().tables(), uri, FOLDER)
    config = logged(uri)["s0:c0"]
    assert len(config.history) == 12
    _, state = views(uri)["raysl-f01dacc0-s0-configs"]
    charted = [chart["metricKey"] for chart in state["compareRunCharts"]]
    assert set(config.history) - set(charted) == {"loss/supervised", "loss/rotation"}
    assert len(set(charted)) == len(charted)
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(charted)


def test_the_interval_of_a_config_stands_beside_its_mean(search: Any, uri: str, logged: Any) -> None:
    sync(search.end_all().select().score().tables(), uri, FOLDER)
    columns = views(uri)["raysl-f01dacc0-s0-configs"][1]["selectedColumns"]
    for metric, tag in (("loss", "final_loss"), ("test_accuracy", "test_accuracy")):
        place = columns.index(f"metrics.`final/{metric}_mean`")
        assert columns[place + 1] == f"tags.`raysl.{tag}_interval`"
        assert f"raysl.{tag}_interval" in logged(uri)["s0:c0"].tags


def test_a_stage_that_weighs_two_keys_has_parallel_coordinates(make_search: Any, uri: str) -> None:
    search = make_search(more={"method.weight": (0.5, 1.0, 2.0)}, num_seeds=1).end_all()
    sync(search.tables(), uri, FOLDER)
    _, state = views(uri)["raysl-f01dacc0-s0-search"]
    parallel = state["compareRunCharts"][0]
    assert parallel["type"] == "PARALLEL"
    assert parallel["selectedParams"] == ["method.weight", "optimizer.lr"]
    assert parallel["selectedMetrics"] == ["final/loss_mean"]


def test_many_configs_are_not_all_drawn(make_search: Any, uri: str) -> None:
    sync(make_search(lrs=tuple(n / 1000 for n in range(1, 22)), num_seeds=1).end_all().tables(), uri, FOLDER)
    assert views(uri)["raysl-f01dacc0-s0-configs"][1]["runsHiddenMode"] == "FIRST_20_RUNS"


def test_views_are_written_once(search: Any, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    tables = search.end_all().select().tables()
    sync(tables, uri, FOLDER)
    before = views(uri)
    monkeypatch.setattr(MlflowClient, "set_experiment_tag", lambda *_: pytest.fail("written again"))
    sync(tables, uri, FOLDER)
    assert views(uri) == before


def test_a_store_that_refuses_views_has_the_runs(
    search: Any, uri: str, logged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refuse(*_: object) -> None:
        raise MlflowException("tags are too long")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    assert sync(search.end_all().tables(), uri, FOLDER).created == 19
    assert views(uri) == {}
    assert len(logged(uri)) == 19


def test_two_folders_have_views_of_their_own(search: Any, uri: str) -> None:
    sync(search.end_all().tables(), uri, FOLDER)
    sync(search.tables(), uri, "0ther000")
    found = views(uri)
    assert len(found) == 4
    for folder in (FOLDER, "0ther000"):
        assert len(shown(uri, found[f"raysl-{folder}-s0-configs"][1])) == 3


def test_a_superseded_search_is_in_no_view(make_search: Any, uri: str, logged: Any) -> None:
    old = make_search(lrs=(0.01,), num_seeds=1).end_all()
    sync(old.tables(), uri, FOLDER)
    new = make_search(lrs=(0.02, 0.002), num_seeds=1, stage_id="s1", created_at=2.0).end_all()
    sync(old.tables(new), uri, FOLDER)
    assert {key.split("-")[2] for key in views(uri)} == {"s1"}
    assert {run.tags["raysl.current"] for name, run in logged(uri).items() if name.startswith("s0")} == {"false"}
    assert {run.tags["raysl.current"] for name, run in logged(uri).items() if name.startswith("s1")} == {"true"}
    again = make_search(lrs=(0.01,), num_seeds=1, created_at=3.0).end_all()
    assert sync(again.tables(new), uri, FOLDER).unchanged == 0
    assert {key.split("-")[2] for key in views(uri)} == {"s0"}
    assert {run.tags["raysl.current"] for name, run in logged(uri).items() if name.startswith("s0")} == {"true"}


def test_stages_of_one_experiment_are_compared_by_what_tells_them_apart(make_search: Any, uri: str) -> None:
    few = make_search(lrs=(0.01,), num_seeds=1).end_all().select()
    many = make_search(lrs=(0.02,), num_seeds=1, stage_id="s1", labels=100).end_all().select()
    tables = few.tables(many)
    sync(tables, uri, FOLDER)
    name, state = views(uri)["raysl-f01dacc0-selected"]
    assert name == "selected configs of all stages"
    assert sorted(shown(uri, state)) == ["lr=0.01", "lr=0.02"]
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "raysl.stage_label"}]
    found = links(tables, FOLDER, uri, "http://127.0.0.1:5000/")
    assert [(link.experiment, link.name, link.num_configs) for link in found] == [
        ("rotation_semi", "selected configs", 0),
        ("rotation_semi", "semi 50", 1),
        ("rotation_semi", "semi 100", 1),
    ]
    assert all(link.url.startswith("http://127.0.0.1:5000/#/experiments/") for link in found)
    assert "viewStateShareKey=raysl-f01dacc0-s1-configs&" in found[2].url


@pytest.mark.parametrize("metric", ["accuracy", "mean_iou"])
def test_selected_configs_are_sorted_by_what_was_measured(make_search: Any, uri: str, metric: str) -> None:
    worse = make_search(lrs=(0.01,), num_seeds=1).end_all().select().score(0.2, metric)
    better = make_search(lrs=(0.02,), num_seeds=1, stage_id="s1", labels=100).end_all().select().score(0.4, metric)
    sync(worse.tables(better), uri, FOLDER)
    _, state = views(uri)["raysl-f01dacc0-selected"]
    assert state["orderByKey"] == f"metrics.`final/test_{metric}_mean`"
    assert shown(uri, state) == ["lr=0.02", "lr=0.01"]


def test_the_best_link_is_that_of_the_largest_stage() -> None:
    selected, pretext, last = (Link("one", name, number, "") for name, number in (("a", 0), ("b", 4), ("c", 4)))
    assert best_link([]) is None
    assert best_link([pretext]) is pretext
    assert best_link([selected, pretext, last]) is last
    assert best_link([selected, pretext, Link("two", "d", 9, "")]) is selected
