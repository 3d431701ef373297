"""The class reports are scikit-learn's on what the probe took the test images for."""

import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from sklearn.metrics import classification_report

from raysl.reports import class_report
from raysl.reports.stages import Searched, read_selected
from raysl.results import read
from raysl.results.records.features import Features
from raysl.training.spec import TrialSpec

Run = Callable[..., tuple[str, str]]


def stage_of(results: str, name: str = "semi") -> Searched:
    return read_selected([results], name)[0]


def features_of(stage: Searched) -> list[Features]:
    return [stage.features(trial) for trial in stage.selected]


def sklearns(features: Features) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = classification_report(
        features.labels, features.predicted, target_names=list(features.class_names), output_dict=True, zero_division=0
    )
    return found


def test_values_are_sklearns_averaged_over_the_seeds(results: str) -> None:
    stage = stage_of(results)
    report = class_report.report(stage.selected, features_of(stage))
    expected = [sklearns(features) for features in features_of(stage)]
    assert len(expected) == 2
    for place, name in enumerate(report.class_names):
        for column, words in enumerate(class_report.COLUMNS):
            mean = statistics.fmean(one[name][words] for one in expected)
            assert report.values[place, column] == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("name", ["semi", "finetune"])
def test_accuracies_are_exactly_the_test_scores(results: str, name: str) -> None:
    stage = stage_of(results, name)
    report = class_report.report(stage.selected, features_of(stage))
    trials = {trial["trial_id"]: trial["test_accuracy"] for trial in read(results).trials.to_pylist()}
    assert report.accuracies == tuple(trials[trial["trial_id"]] for trial in stage.selected)
    assert report.otherwise_scored == ()


def test_a_score_that_is_not_that_of_the_features_is_named(results: str) -> None:
    stage = stage_of(results)
    rescored = [{**stage.selected[0], "test_accuracy": 0.5}, stage.selected[1]]
    report = class_report.report(rescored, features_of(stage))
    assert report.otherwise_scored == (stage.selected[0]["trial_id"],)
    assert stage.selected[0]["trial_id"] in class_report.table("title", [("semi", report)]).notes[-1]


def test_the_spread_over_the_classes_is_a_sample_one(results: str) -> None:
    stage = stage_of(results)
    report = replace(
        class_report.report(stage.selected, features_of(stage)),
        class_names=("uninfected", "parasitised"),
        values=np.array([[0.58, 0.87, 0.69], [0.75, 0.37, 0.49]]),  # Cavallari & Ponti 2021, Table IX
    )
    spread = class_report.table("title", [("semi", report)]).rows[-2]
    assert spread == ("mean ± std", "0.67 ± 0.12", "0.62 ± 0.35", "0.59 ± 0.14")  # as printed there, but for 0.66


def test_a_class_that_is_never_predicted_is_named(results: str) -> None:
    stage = stage_of(results)
    without = [replace(one, predicted=np.where(one.predicted == 3, 4, one.predicted)) for one in features_of(stage)]
    report = class_report.report(stage.selected, without)
    assert report.values[3].tolist() == [0, 0, 0]
    assert report.unpredicted == ("3",)


def test_each_selected_config_has_a_table(results: str, run: Run, tmp_path: Path) -> None:
    printed, said = run(class_report.main, results)
    assert [line for line in printed.splitlines() if line.startswith("Linear SVM")] == [
        "Linear SVM on test images: tiny/semi, digits, 40 labels",
        "Linear SVM on test images: tiny/finetune, digits, 40 labels",
    ]
    assert (tmp_path / "out" / "class_report.txt").read_text() == printed
    assert "class_report.txt" in said


def test_one_seed_alone(results: str, run: Run) -> None:
    printed, _ = run(class_report.main, results, "--stages", "semi", "--seed", 1)
    features = features_of(stage_of(results))[1]
    expected = sklearns(features)["8"]
    row = next(line.split() for line in printed.splitlines() if line.startswith("8 "))
    assert row[1:] == [f"{expected[column]:.2f}" for column in class_report.COLUMNS]
    assert f"{np.mean(features.labels == features.predicted):.3f}" in printed


def test_two_stages_stand_side_by_side(results: str, run: Run) -> None:
    printed, _ = run(class_report.main, results, "--stages", "tiny/semi,finetune", "--format", "latex")
    expected = r" & \multicolumn{3}{c}{tiny/semi} & \multicolumn{3}{c}{tiny/finetune} \\"
    assert expected in printed.splitlines()
    semi, finetune = (
        class_report.report(s.selected, features_of(s)) for s in read_selected([results], "semi,finetune")
    )
    values = (*semi.values[5], *finetune.values[5])
    assert " & ".join(["5", *(f"{value:.2f}" for value in values)]) + r" \\" in printed.splitlines()
    assert re.search(r"accuracy &  & 0\.\d{3} \$\\pm\$ 0\.\d{3} &  &  & 0\.\d{3} \$\\pm\$ 0\.\d{3} &  \\\\", printed)
    for rule in (r"\toprule", r"\bottomrule", r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}"):
        assert rule in printed.splitlines()


def test_the_title_names_the_probe_that_scored(made: Callable[..., str]) -> None:
    own = ("linear", [{}], lambda params, seed: {"spec": '{"probe": "classifier"}'})
    svm = ("semi", [{}], lambda params, seed: {"spec": '{"probe": null}'})
    linear, semi = read_selected([made(own, svm)], "linear,semi")
    assert class_report._title([linear]) == "Trained classifier on test images"
    assert class_report._title([semi]) == "Linear SVM on test images"
    assert class_report._title([linear, semi]) == "Trained classifier or Linear SVM on test images"


def test_every_probe_has_its_words() -> None:
    literal, _ = get_args(TrialSpec.model_fields["probe"].annotation)
    assert set(class_report.PROBES) == {"linear_svm", *get_args(literal)}
