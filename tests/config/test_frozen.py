"""Stages that train nothing: what they may say, and what they are refused."""

from pathlib import Path

import pytest

from raysl.config import load
from raysl.config.document import ConfigError
from raysl.config.paper_table import load_tables
from raysl.search.space import Grid
from raysl.search.stage_settings import FrozenStage

EXPERIMENT = """\
name: example
data: {source: digits, labels: 50}
seeds: 2
resources: {workers: 2}
stages:
  pretrain:
    method: {name: rotation}
    epochs: 20
    milestones: [5, 10]
    batch_size: 64
    optimizer: {name: sgd, lr: 0.1}
  knn:
    method: {name: frozen}
    start_from: pretrain
    probe: knn
  finetune:
    method: {name: supervised}
    start_from: pretrain
    epochs: 5
    batch_size: 50
    optimizer: {name: sgd, lr: 0.05}
profiles:
  early: {stages: {knn: {start_epoch: 5, probe: clustering, data: {labels: all}}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.yaml"
    path.write_text(EXPERIMENT)
    return path


def test_a_stage_that_trains_nothing_has_no_training_and_selects_by_its_probe(file: Path) -> None:
    pretrain, knn, _ = load(file).stages
    assert isinstance(knn.settings, FrozenStage)
    assert (knn.settings.epochs, knn.settings.batch_size, knn.settings.optimizer) == (0, 0, None)
    assert (knn.select, knn.settings.probe, knn.start_from) == ("probe_accuracy", "knn", "pretrain")
    assert [stage.trains for stage in load(file).stages] == [True, False, True]
    assert pretrain.settings.probe == "linear_svm"


def test_its_probe_is_the_linear_svm_if_nothing_is_said(file: Path) -> None:
    file.write_text(EXPERIMENT.replace("    probe: knn\n", ""))
    assert load(file).stages[1].settings.probe == "linear_svm"


def test_a_profile_may_give_it_another_start_probe_and_data(file: Path) -> None:
    knn = load(file, "early").stages[1]
    assert (knn.settings.start_epoch, knn.settings.probe, knn.data.labels) == (5, "clustering", "all")


def test_the_epoch_that_it_starts_from_can_be_searched(file: Path) -> None:
    stage = load(file, overrides=["stages.knn.start_epoch={grid: [5, 10, 20]}"]).stages[1]
    assert stage.space == {"start_epoch": Grid((5, 10, 20))}
    assert [config.settings.start_epoch for config in stage.configs] == [5, 10, 20]


def test_training_keys_that_a_profile_takes_back_are_not_given(file: Path) -> None:
    knn = load(file, overrides=["stages.knn.search=null", "stages.knn.stop=null"]).stages[1]
    assert knn.settings.stop is None


@pytest.mark.parametrize("probe", ["knn", "clustering"])
def test_stages_that_train_may_be_measured_by_each_probe_too(file: Path, probe: str) -> None:
    stage = load(file, overrides=[f"stages.pretrain.probe={probe}"]).stages[0]
    assert stage.settings.probe == probe


TRAINING = {
    "epochs": "5", "batch_size": "64", "optimizer": "{name: sgd, lr: 0.1}", "schedule": "{name: constant}",
    "precision": "fp32", "freeze": "none", "milestones": "[1]", "search": "{algorithm: random, num_configs: 2}",
    "stop": "{scheduler: asha}", "unlabelled_ratio": "7", "steps_per_epoch": "9",
}  # fmt: skip


@pytest.mark.parametrize("key", TRAINING)
def test_each_word_on_training_is_refused_with_its_place_and_its_value(file: Path, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides=[f"stages.knn.{key}={TRAINING[key]}"])
    message = str(caught.value)
    assert message.startswith(f"--set stages.knn.{key}={TRAINING[key]}: stages.knn.{key}: "), message
    assert message.endswith(": frozen trains nothing; leave it out")
    value = TRAINING[key].strip("{}[]").split(",")[0].split(": ")[-1]
    assert value in message.removeprefix(f"--set stages.knn.{key}={TRAINING[key]}")


def test_all_of_it_is_named_at_once_by_the_lines_of_the_file(file: Path) -> None:
    file.write_text(
        EXPERIMENT.replace("    probe: knn\n", "    probe: knn\n    epochs: 0\n    batch_size: {grid: [8, 9]}\n")
    )
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).splitlines() == [
        f"{file}:16: stages.knn.epochs: 0: frozen trains nothing; leave it out",
        f"{file}:17: stages.knn.batch_size: {{'grid': [8, 9]}}: frozen trains nothing; leave it out",
    ]


REFUSED = {
    "selecting by a training loss": (
        ["stages.knn.select=train_loss"],
        "stages.knn.select: 'train_loss': frozen trains nothing, so there is none; use probe_accuracy, the default",
    ),
    "a rule that is none": (
        ["stages.knn.select=knn"],
        "stages.knn.select: must be one of 'probe_accuracy' or 'probe_mean_iou', not 'knn'",
    ),
    "nothing to start from": (
        ["stages.knn.start_from=null"],
        "stages.knn.start_from: must be given: frozen trains nothing, and probes what an earlier stage has learnt "
        "(or model.weights); choices: pretrain",
    ),
    "a classifier that is not there": (
        ["stages.knn.probe=classifier"],
        "stages.knn.probe: 'classifier': pretrain (rotation) has no classifier; linear_svm, knn or clustering, or",
    ),
    "an unknown probe": (["stages.knn.probe=kmeans"], "stages.knn.probe: must be one of 'linear_svm', 'knn', 'clus"),
    "starting from what trains nothing": (
        ["stages.finetune.start_from=knn"],
        "stages.finetune.start_from: knn trains nothing and has no model of its own; start_from: pretrain, which it "
        "starts from itself",
    ),
    "an epoch that is no milestone": (
        ["stages.knn.start_epoch=7"], "stages.knn.start_epoch: 7 is no milestone of pretrain, whose model is kept"),
    "a search over a probe's settings": (
        ["stages.knn.probes={knn: {k: {grid: [5, 20]}}}"],
        "stages.knn.probes.knn.k: a grid on a key that is not searchable; choices: start_epoch",
    ),
    "a hyperparameter": (["stages.knn.method.k=5"], "stages.knn.method.k: unknown key"),
    "as a part of another method": (
        ["stages.finetune.method={name: semi, pretext: {name: frozen}}"],
        "stages.finetune.method.pretext: 'frozen' is no method that is allowed here",
    ),
    "no neighbours": (["probes.knn.k=0"], "probes.knn.k: must be greater than or equal to 1, not 0"),
    "no temperature": (["probes.knn.temperature=0.0"], "probes.knn.temperature: must be greater than 0"),
    "no folds": (["probes.knn.folds=1"], "probes.knn.folds: must be greater than or equal to 2"),
    "no restarts": (["probes.clustering.restarts=0"], "probes.clustering.restarts: must be greater than or equal to 1"),
    "a probe's unknown setting": (["probes.knn.metric=dot"], "probes.knn.metric: unknown key; choices: folds, k, temp"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_refused_with_its_place(file: Path, kind: str) -> None:
    overrides, expected = REFUSED[kind]
    with pytest.raises(ConfigError) as caught:
        load(file, overrides=overrides)
    message = str(caught.value)
    assert expected in message, message
    assert message.startswith("--set "), message


@pytest.mark.parametrize("key", ["epochs: 0", "batch_size: 1", "optimizer: null"])
def test_stages_that_train_must_say_how(file: Path, key: str) -> None:
    name, value = key.split(": ")
    with pytest.raises(
        ConfigError, match=rf"stages\.pretrain\.{name}: must be .*, not {'None' if value == 'null' else value}"
    ):
        load(file, overrides=[f"stages.pretrain.{name}={value}"])


TABLE = """\
name: example
source: Somebody 2020
profiles: {small: {digits: {}}}
tables:
  t1:
    title: A table
    data: digits
    experiment: example.yaml
    columns:
      knn: {title: KNN, stage: knn}
      attacked: {title: Attacked, stage: knn, set: {data.attack: {name: one_pixel}}}
    rows:
      rotation: {title: Rotation, set: {stages.pretrain.method: {name: rotation}}}
      supervised: {title: Supervised, set: {stages.pretrain.method: {name: supervised}}}
"""


def test_a_column_of_a_papers_table_may_be_a_stage_that_trains_nothing(file: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.yaml"
    table.write_text(TABLE)
    tables, searches = load_tables(table, None, [], [])
    assert [[stage.name for stage in search.experiment.stages] for search in searches] == [["pretrain", "knn"]] * 3
    assert [list(search.cells) for search in searches] == [
        ["t1/rotation/knn"], ["t1/supervised/knn"], ["t1/supervised/attacked"],
    ]  # fmt: skip
    # What an attack on D_l can do to features is done by the stage that learns them.
    assert tables.reasons == {
        "t1/rotation/attacked": "stage knn sees no labelled images, which are all that is attacked"
    }
