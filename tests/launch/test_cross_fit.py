"""A cross-fitted stage as its user runs it: alone, killed between its rounds, beside another rule, and shared."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import Finished, check_two_drivers_share, here, inline, tables_of

import raysl as package
from raysl.reports.page.leaderboard import leaderboard
from raysl.reports.pairs import pairs
from raysl.reports.regrets import obstacle, regrets_of_rules
from raysl.reports.seeds_needed import best_two
from raysl.reports.stages import Searched, read_stages
from raysl.reports.times import cost
from raysl.results.records.stages import StageRecord
from raysl.results.storage.store import Store

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 64}
model: {backbone: small_resnet, features: 16}
seeds: 2
resources: {checkpoint_seconds: 0}
stages:
  semi:
    method: {name: semi, pretext: {name: rotation}}
    epochs: 2
    batch_size: 32
    optimizer: {name: adam, lr: {grid: [1e-6, 1e-2]}}
    select: {cross_fit: 2}
  finetune:
    method: {name: supervised}
    start_from: semi
    epochs: 1
    batch_size: 20
    optimizer: {name: sgd, lr: 0.01}
    probe: classifier
"""
OTHER = "stages.semi.select=train_loss"
Rows = list[dict[str, Any]]


@pytest.fixture
def fitted(finished: Callable[..., Finished]) -> Finished:
    return finished(EXPERIMENT, "--backend", "inline", tracked=True)


def of_stage(results: Path, table: str, stage: str = "semi") -> Rows:
    rows = getattr(package.read(str(results)).current(), table).to_pylist()
    return [row for row in rows if row["stage"] == stage]


def searched(results: Path) -> Searched:
    return next(one for one in read_stages([str(results)]) if one.stage == "semi")


def names_in(results: Path, folder: str) -> set[str]:
    return {path.name.partition(".")[0] for path in (results / folder).glob("*")}


def ids(results: Path) -> tuple[set[str], set[str], set[str]]:
    """Return the ids of the folds, and those with all labels of the selected config and of the other."""
    trials = of_stage(results, "trials")
    folds = {name for trial in trials for name in trial["folds"]}
    chosen = {trial["trial_id"] for trial in trials if trial["selected"]}
    return folds, chosen, {trial["trial_id"] for trial in trials} - chosen


def test_only_the_selected_config_is_trained_with_all_labels_scored_and_kept(fitted: Finished) -> None:
    folds, chosen, other = ids(fitted.results)
    assert (len(folds), len(chosen), len(other)) == (8, 2, 2)
    after = {trial["trial_id"] for trial in of_stage(fitted.results, "trials", "finetune")}
    assert names_in(fitted.results, "rows") == folds | chosen | after
    for folder in ("scores", "features", "models"):
        assert names_in(fitted.results, folder) == chosen | after
    listed = json.loads(here("models", fitted.results, "--format", "json").stdout)
    assert {one["trial_id"] for one in listed} == chosen | after
    refused = here("export", fitted.results, "--stage", "semi", "--config", "lr=1e-6")
    assert refused.returncode == 2
    assert "not trained yet with all labels; beside its folds, a config is if it is selected" in refused.stderr
    starts = {json.loads(trial["spec"])["start"] for trial in of_stage(fitted.results, "trials", "finetune")}
    assert starts == chosen


def test_tables_have_a_row_for_each_config_and_seed_with_the_mean_over_its_folds(fitted: Finished) -> None:
    trials, configs = of_stage(fitted.results, "trials"), of_stage(fitted.results, "configs")
    assert [trial["seed"] for trial in trials] == [0, 1, 0, 1]
    assert Counter(trial["status"] for trial in trials) == {"finished": 2, "cross_fitted": 2}
    for config in configs:
        own = [trial["cross_fit_accuracy"] for trial in trials if trial["config_id"] == config["config_id"]]
        assert config["cross_fit_accuracy_mean"] == pytest.approx(sum(own) / 2)
        assert (config["num_seeds"], config["num_finished"], config["eligible"]) == (2, 2, True)
    best = max(configs, key=lambda config: config["cross_fit_accuracy_mean"])
    assert best["selected"]
    assert [config["test_accuracy_mean"] is None for config in configs] == [not one["selected"] for one in configs]
    for trial in trials:
        spec = json.loads(trial["spec"])
        assert spec["fold"] is None
        assert spec["seed"] == trial["seed"]
        assert (trial["final_loss"] is None, trial["test_accuracy"] is None) == (not trial["selected"],) * 2
    curves = {row["trial_id"] for row in of_stage(fitted.results, "curves")}
    assert curves == ids(fitted.results)[1]
    assert of_stage(fitted.results, "selections")[0]["rule"] == "cross_fit(2)"


def test_no_seed_is_counted_twice_in_reports(fitted: Finished) -> None:
    stage = searched(fitted.results)
    assert cost(stage).num_trials == 8 + 2
    assert cost(stage).seconds == pytest.approx(
        sum((trial["seconds"] or 0) + trial["fold_seconds"] for trial in stage.trials)
    )
    [pair] = pairs(stage)
    assert len(pair.differences) == 2
    assert replace(best_two(stage), needed=5).num_trials == 3 * (2 * 2 + 1)  # 3 seeds more, each of 2 configs x 2 folds
    assert "cross-fitted accuracy (%)" in str(leaderboard(stage))
    assert "train_loss` trains them with all labels" in str(obstacle(stage))
    shown = here("show", fitted.results).stdout
    assert "cross-fitted accuracy %" in shown
    assert "2/2" in shown
    assert "not eligible" not in shown
    page = fitted.results.parent / "page.html"
    assert here("report", fitted.results, "--output", page).returncode == 0
    assert "did not finish" not in page.read_text()


def test_lines_name_folds_and_say_which_config_is_trained_with_all_labels(fitted: Finished) -> None:
    printed = fitted.printed
    assert "[1/10] optimizer.lr=1e-06 seed=0 fold=0 finished: final loss" in printed
    assert printed.count("probe accuracy on the fold") == 8
    assert "semi: (optimizer.lr=0.01) is chosen by its folds, mean cross-fitted accuracy (2 folds) " in printed
    assert "it is trained with all labels (2 seeds)" in printed
    assert "[10/10] optimizer.lr=0.01 seed=1 finished" in printed


def test_mlflow_has_a_run_for_each_seed_and_none_for_folds(fitted: Finished) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{fitted.results}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    assert {run.info.status for run in runs} == {"FINISHED"}
    stage_id = searched(fitted.results).stage_id
    own = [run for run in runs if run.data.tags["raysl.stage_id"] == stage_id]
    assert Counter(run.data.tags["raysl.kind"] for run in own) == {"stage": 1, "config": 2, "trial": 4}
    assert all("final/cross_fit_accuracy" in r.data.metrics for r in own if r.data.tags["raysl.kind"] == "trial")
    means = [r.data.metrics["final/cross_fit_accuracy_mean"] for r in own if r.data.tags["raysl.kind"] == "config"]
    assert sorted(means) == sorted(c["cross_fit_accuracy_mean"] for c in of_stage(fitted.results, "configs"))


def test_the_same_command_again_trains_nothing(fitted: Finished) -> None:
    before, rows = tables_of(fitted.results), names_in(fitted.results, "rows")
    again = inline("tune", fitted.file, "--results", fitted.results)
    assert again.returncode == 0, again.stderr
    assert "stage semi: 10 trials, 0 to train" in again.stdout
    assert (tables_of(fitted.results), names_in(fitted.results, "rows")) == (before, rows)


def test_plan_and_dry_run_count_folds(fitted: Finished, tmp_path: Path) -> None:
    counted = "10 trials (2 configs x 2 seeds x 2 folds, then the selected config with all labels)"
    listed = inline("tune", fitted.file, "--dry-run").stdout
    assert f"stage semi: {counted}" in listed.replace("\n", " ")
    assert set(ids(fitted.results)[0]) == {line.split()[0] for line in listed.splitlines() if " fold=" in line}
    facts = json.loads(inline("tune", fitted.file, "--dry-run", "--format", "json").stdout)["experiments"][0]
    assert [trial["fold"] for trial in facts["stages"][0]["trials"]] == [0, 1] * 4
    assert facts["stages"][0]["least_trials"] == 10
    planned = here("plan", fitted.file, "--results", tmp_path / "none", "--steps", "1", "--format", "json")
    shapes = [one for one in json.loads(planned.stdout)["experiments"][0]["stages"] if one["stage"] == "semi"]
    assert [shape["num_trials"] for shape in shapes] == [8, 2]
    done = here("plan", fitted.file, "--results", fitted.results, "--steps", "1", "--format", "json")
    shapes = [one for one in json.loads(done.stdout)["experiments"][0]["stages"] if one["stage"] == "semi"]
    assert [shape["done"] for shape in shapes] == [8, 2]


class Stopping(package.Observer):
    """Ends the search when the folds have ended, the first time."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def folds_ended(self, record: StageRecord, config_id: str) -> None:
        self.seen.append(config_id)
        if len(self.seen) == 1:
            raise InterruptedError


@pytest.mark.slow
def test_killed_between_its_rounds_it_goes_on_to_the_same_tables(fitted: Finished, tmp_path: Path) -> None:
    results, observer = tmp_path / "results", Stopping()
    with pytest.raises(InterruptedError):
        package.tune(fitted.file, results=str(results), backend="inline", observer=observer)
    assert len(names_in(results, "rows")) == 8
    assert Counter(trial["status"] for trial in of_stage(results, "trials")) == {"cross_fitted": 4}
    package.tune(fitted.file, results=str(results), backend="inline", observer=observer)
    assert tables_of(results) == tables_of(fitted.results)
    assert observer.seen == [of_stage(fitted.results, "selections")[0]["config_id"]]  # round 2 was known


@pytest.mark.slow
def test_another_rule_shares_what_has_all_labels_and_then_every_config_is_scored(
    fitted: Finished, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    first = inline("tune", fitted.file, "--results", results, "--score", "all", "--set", OTHER)
    assert first.returncode == 0, first.stderr
    assert obstacle(searched(results)) is None
    then = inline("tune", fitted.file, "--results", results, "--score", "all")
    assert then.returncode == 0, then.stderr
    assert "stage semi: 12 trials, 8 to train, 4 taken" in then.stdout
    assert not names_in(results, "scores") & ids(results)[0]
    stage = searched(results)
    assert obstacle(stage) is None
    assert {"cross_fit(2)", "train_loss", "probe_accuracy"} <= {one.rule for one in regrets_of_rules(stage)}
    own, other = of_stage(fitted.results, "configs"), of_stage(results, "configs")
    values = [[one[f"cross_fit_accuracy_{of}"] for of in ("mean", "std")] for one in own]
    assert values == [[one[f"cross_fit_accuracy_{of}"] for of in ("mean", "std")] for one in other]


@pytest.mark.alike("two drivers")
@pytest.mark.slow
def test_two_drivers_share_one_and_train_each_trial_once(fitted: Finished, tmp_path: Path) -> None:
    check_two_drivers_share(fitted, tmp_path / "results")


def test_models_of_folds_are_not_listed_while_they_are_there(fitted: Finished, tmp_path: Path) -> None:
    import shutil

    results = shutil.copytree(fitted.results, tmp_path / "copy")
    folds, chosen, _ = ids(results)
    model = next((results / "models").glob(f"{next(iter(chosen))}.*"))
    shutil.copy(model, model.with_name(f"{next(iter(folds))}{model.suffix}"))
    assert names_in(results, "models") & folds
    listed = json.loads(here("models", results, "--format", "json").stdout)
    assert not {one["trial_id"] for one in listed} & folds
    assert Store.open(str(results), create=False)
