"""The trials of stages that train nothing, and what they must agree on with their data."""

from pathlib import Path

import pytest
from tiny import of_stages, write

from raysl.config import load
from raysl.data.settings import TrialData, TrialOnePixel
from raysl.errors import UserError
from raysl.probes.settings import KNN, Clustering, LinearSVM, ProbesSettings
from raysl.results.records.rows import TrialRow
from raysl.search.preflight import check
from raysl.search.selection import select
from raysl.search.trials import Trial, config_id, expand, experiment_digest, member, stage_id, stage_record
from raysl.training.spec import TrialSpec

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: 16}
seeds: 2
stages:
  pretrain:
    method: {name: rotation}
    epochs: 6
    milestones: [2]
    batch_size: 32
    optimizer: {name: adam, lr: 1e-3}
  knn: {method: {name: frozen}, start_from: pretrain, probe: knn}
  clustering: {method: {name: frozen}, start_from: pretrain, probe: clustering}
  svm: {method: {name: frozen}, start_from: pretrain}
"""
DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)
ATTACKED = DATA.model_copy(update={"attack": TrialOnePixel(name="one_pixel")})
STAGES = ("pretrain", "knn", "clustering", "svm")


def trials(folder: Path, stage: str, *overrides: str, data: TrialData = DATA) -> tuple[Trial, ...]:
    experiment = load(write(folder, EXPERIMENT), overrides=list(overrides))
    starts = {} if stage == "pretrain" else {0: "first", 1: "second"}
    return expand(experiment, experiment.stages[STAGES.index(stage)], of_stages(experiment, data), starts)


def ids(folder: Path, stage: str, *overrides: str, data: TrialData = DATA) -> list[str]:
    return [trial.spec.id for trial in trials(folder, stage, *overrides, data=data)]


def test_a_trial_that_trains_nothing_is_named_by_its_start_and_its_probe(tmp_path: Path) -> None:
    found = trials(tmp_path, "knn")
    assert [(trial.spec.start, trial.spec.epochs, trial.spec.trains) for trial in found] == [
        ("first", 0, False), ("second", 0, False),
    ]  # fmt: skip
    assert len({name for stage in STAGES for name in ids(tmp_path, stage)}) == 8
    assert all(TrialSpec.model_validate_json(trial.spec.model_dump_json()) == trial.spec for trial in found)


def test_a_trial_holds_the_settings_of_its_own_probe_alone(tmp_path: Path) -> None:
    given = ["probes.knn.k=7", "probes.linear_svm.C=3.0"]
    held = {stage: trials(tmp_path, stage, *given)[0].spec.probes for stage in STAGES}
    assert held == {
        "pretrain": ProbesSettings(linear_svm=LinearSVM(C=3.0)),
        "knn": ProbesSettings(knn=KNN(k=7)),
        "clustering": ProbesSettings(clustering=Clustering()),
        "svm": ProbesSettings(linear_svm=LinearSVM(C=3.0)),
    }


@pytest.mark.parametrize("stage", STAGES)
def test_the_settings_of_its_own_probe_name_a_trial_and_those_of_others_do_not(tmp_path: Path, stage: str) -> None:
    own = {"probes.knn.k=7": "knn", "probes.clustering.restarts=3": "clustering", "probes.linear_svm.C=3.0": "svm"}
    for change, probe in own.items():
        is_own = stage == probe or (stage, probe) == ("pretrain", "svm")
        assert (ids(tmp_path, stage) == ids(tmp_path, stage, change)) is not is_own, change


def test_defaults_that_are_written_out_name_the_same_trials(tmp_path: Path) -> None:
    assert ids(tmp_path, "knn") == ids(tmp_path, "knn", "probes.knn={k: 200, temperature: 0.1, folds: 5}")
    assert ids(tmp_path, "clustering") == ids(tmp_path, "clustering", "probes.clustering={restarts: 10}")


def test_names_of_before_there_were_other_probes_stay(tmp_path: Path) -> None:
    """Written down once; where they change, result tables out there lose their trials."""
    experiment = load(write(tmp_path, EXPERIMENT[: EXPERIMENT.index("  knn:")]))
    [stage], datas = experiment.stages, of_stages(experiment, DATA)
    first = expand(experiment, stage, datas, {})[0]
    found = (first.spec.id, first.config_id, stage_id(experiment, stage, datas, {}), experiment_digest(experiment))
    assert found == ("84c0dbea2f4a6e2c", "2e5dcbc6", "9853fcc99142", "595d1cf08efdb0a3")


def test_an_experiment_that_says_nothing_of_a_new_probe_has_the_digest_that_it_had(tmp_path: Path) -> None:
    plain, other = (load(write(tmp_path, EXPERIMENT), overrides=more) for more in ([], ["probes.knn.k=7"]))
    assert experiment_digest(plain) != experiment_digest(other)
    assert '"knn"' not in plain.probes.model_dump_json(exclude_none=True)


def test_configs_of_different_probes_have_names_of_their_own(tmp_path: Path) -> None:
    experiment = load(write(tmp_path, EXPERIMENT))
    assert len({config_id(stage.configs[0]) for stage in experiment.stages}) == 4


def test_an_attack_is_seen_where_the_start_has_seen_it(tmp_path: Path) -> None:
    assert ids(tmp_path, "knn", data=ATTACKED) == ids(tmp_path, "knn")
    supervised = "stages.pretrain.method={name: supervised}"
    attacked = trials(tmp_path, "knn", supervised, data=ATTACKED)
    assert attacked[0].spec.data.attack == ATTACKED.attack
    assert [trial.spec.id for trial in attacked] != ids(tmp_path, "knn", supervised)


def test_what_trains_nothing_has_no_batch_that_could_be_too_small(tmp_path: Path) -> None:
    experiment = load(write(tmp_path, EXPERIMENT), overrides=["resources.workers=8"])
    check(experiment, of_stages(experiment, DATA))


@pytest.mark.parametrize(("stage", "other"), [("knn", "probe: clustering"), ("svm", "probe: clustering")])
def test_a_cross_validation_needs_two_labels_of_each_class(tmp_path: Path, stage: str, other: str) -> None:
    experiment = load(write(tmp_path, EXPERIMENT))
    datas = of_stages(experiment, DATA) | {stage: DATA.model_copy(update={"labels": 19})}
    with pytest.raises(UserError, match=rf"stages\.{stage}\.select: .*, and 19 labels give .* 20 labels, or {other}"):
        check(experiment, datas)


def test_clustering_needs_one_label(tmp_path: Path) -> None:
    experiment = load(write(tmp_path, EXPERIMENT))
    check(experiment, of_stages(experiment, DATA) | {"clustering": DATA.model_copy(update={"labels": 10})})
    trained = load(write(tmp_path, EXPERIMENT), overrides=["stages.pretrain.select=probe_accuracy"])
    few = of_stages(trained, DATA) | {"pretrain": DATA.model_copy(update={"labels": 10})}
    with pytest.raises(UserError, match="or select: train_loss"):
        check(trained, few)


def test_the_epoch_of_the_best_probe_accuracy_is_selected_without_any_loss(tmp_path: Path) -> None:
    experiment = load(write(tmp_path, EXPERIMENT), overrides=["stages.knn.start_epoch={grid: [2, 6]}"])
    stage, datas, starts = experiment.stages[1], of_stages(experiment, DATA), {0: "first", 1: "second"}
    record = stage_record(experiment, stage, datas, starts, 0.0)
    found = expand(experiment, stage, datas, starts)
    assert record.members == tuple(map(member, found))
    accuracies = dict(zip((trial.spec.id for trial in found), (0.6, 0.8, 0.5, 0.8), strict=True))
    rows = {i: _row(i, accuracy) for i, accuracy in accuracies.items()}
    selection = select(record, rows, 0.0)
    assert selection.params == {"start_epoch": 2}
    expected = "highest mean probe accuracy on the labelled training images over the seeds: 0.7 (next: 0.65)"
    assert selection.reason == expected


def _row(trial_id: str, accuracy: float) -> TrialRow:
    facts = {"seed": 0, "epochs": 0, "num_parameters": 1, "seconds": 0.0, "started_at": 0.0, "finished_at": 0.0}
    texts = dict.fromkeys(("reason", "method", "device", "raysl_version", "torch_version", "spec"), "")
    return TrialRow(
        trial_id=trial_id, status="finished", final_loss=None, probe={"accuracy": accuracy}, workers=1, curve=(),
        **facts, **texts,  # type: ignore[arg-type]
    )  # fmt: skip
