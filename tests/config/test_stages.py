"""Spaces, searches, milestones and rules of an experiment's stages: what is read, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from raysl import methods
from raysl.config import load
from raysl.config.document import ConfigError
from raysl.results.records.stages import Race
from raysl.search.space import Choice, Grid, IntRange, Range
from raysl.search.trials import config_id, experiment_digest

EXPERIMENT = """\
name: example
data: {source: digits, labels: 50}
seeds: 2
stages:
  pretrain:
    method: {name: sidae, w: 0.5}
    epochs: 20
    milestones: [5, 10]
    batch_size: 64
    optimizer: {name: sgd, lr: 0.1}
    select: probe_accuracy
  linear:
    method: {name: supervised}
    data: {labels: all}
    start_from: pretrain
    start_epoch: 10
    freeze: backbone
    probe: classifier
    epochs: 5
    batch_size: 50
    optimizer: {name: sgd, lr: 0.05}
"""
OPTUNA = "stages.pretrain.search={algorithm: optuna, num_configs: 4}"
W = "stages.pretrain.method.w={uniform: [0, 1]}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.yaml"
    path.write_text(EXPERIMENT)
    return path


def test_each_kind_of_dimension_is_read(file: Path) -> None:
    overrides = [
        OPTUNA, W, "stages.pretrain.optimizer.lr={loguniform: [1e-3, 1]}", "stages.pretrain.epochs={int: [11, 30]}",
        "stages.pretrain.batch_size={choice: [32, 64]}", "stages.pretrain.method.min_crop={grid: [0.2, 0.5]}",
    ]  # fmt: skip
    stage = load(file, overrides=overrides).stages[0]
    assert stage.space == {
        "method.w": Range(0.0, 1.0),
        "method.min_crop": Grid((0.2, 0.5)),
        "epochs": IntRange(11, 30),
        "batch_size": Choice((32, 64)),
        "optimizer.lr": Range(1e-3, 1.0, log=True),
    }
    assert stage.adaptive
    assert stage.configs == ()
    assert len(stage.extremes) == 2**5 + 18  # all ends, and each whole number between those of epochs
    config = stage.configure(
        {"method.w": 0.3, "method.min_crop": 0.2, "epochs": 12, "batch_size": 32, "optimizer.lr": 0.5}
    )
    assert (config.settings.method["w"], config.settings.epochs, config.settings.optimizer.lr) == (0.3, 12, 0.5)


def test_a_range_replaces_a_grid_of_the_file_whole(file: Path) -> None:
    grid = "stages.pretrain.method.w={grid: [0, 1]}"
    assert load(file, overrides=[OPTUNA, grid, W]).stages[0].space == {"method.w": Range(0.0, 1.0)}


def test_a_random_search_is_known_beforehand_and_the_same_each_time(file: Path) -> None:
    random = "stages.pretrain.search={algorithm: random, num_configs: 3, seed: 1}"
    first, again = (load(file, overrides=[random, W]).stages[0] for _ in range(2))
    assert [config.params for config in first.configs] == [config.params for config in again.configs]
    assert len({config_id(config) for config in first.configs}) == 3
    assert all(0 <= config.settings.method["w"] <= 1 for config in first.configs)


def test_a_stage_has_the_experiment_s_data_but_for_what_it_says(file: Path) -> None:
    pretrain, linear = load(file, overrides=["data.image_size=16"]).stages
    assert (pretrain.data.labels, linear.data.labels) == (50, "all")
    assert pretrain.data.image_size == linear.data.image_size == 16


def test_a_search_can_be_taken_back(file: Path) -> None:
    stage = load(file, overrides=[OPTUNA, W, "stages.pretrain.method.w=0.3", "stages.pretrain.search=null"]).stages[0]
    assert (stage.adaptive, len(stage.configs)) == (False, 1)


def test_objectives_are_the_rule_s_unless_others_are_given(file: Path) -> None:
    assert load(file).stages[0].objectives == ("probe_accuracy",)
    two = "stages.pretrain.search={algorithm: optuna, num_configs: 4, objectives: [probe_accuracy, seconds]}"
    assert load(file, overrides=[W, two]).stages[0].objectives == ("probe_accuracy", "seconds")


REFUSED: dict[str, tuple[list[str], str]] = {
    "a range in a grid search": (
        [W], "stages.pretrain.method.w: 0 to 1: no grid, and algorithm grid takes nothing else"),
    "no number of configs": ([W, "stages.pretrain.search={algorithm: optuna}"], "search.num_configs: must be given"),
    "a number of configs for a grid": (["stages.pretrain.search={num_configs: 3}"], "search.num_configs: a grid has"),
    "nothing to draw": ([OPTUNA], "search.algorithm: optuna has nothing to draw"),
    "an unknown algorithm": (["stages.pretrain.search={algorithm: tpe}"], "'grid', 'random' or 'optuna'"),
    "an unknown sampler": (
        [W, "stages.pretrain.search={algorithm: optuna, num_configs: 4, sampler: {name: TPE}}"],
        "stages.pretrain.search.sampler.name: 'TPE' is no sampler; choices: ",
    ),
    "an unknown option": (
        [W, "stages.pretrain.search={algorithm: optuna, num_configs: 4, sampler: {name: TPESampler, gama: 1}}"],
        "stages.pretrain.search.sampler.gama: is no option of TPESampler; did you mean 'gamma'?",
    ),
    "an unknown objective": (
        ["stages.pretrain.search={objectives: [speed]}"], "stages.pretrain.search.objectives",
    ),
    "ends the wrong way round": ([OPTUNA, "stages.pretrain.method.w={uniform: [1, 0]}"], "with low below high"),
    "one end": ([OPTUNA, "stages.pretrain.method.w={uniform: [1]}"], "is [low, high], two numbers of"),
    "a logarithm of 0": ([OPTUNA, "stages.pretrain.optimizer.lr={loguniform: [0, 1]}"], "with low above 0, not 0"),
    "halves of whole numbers": ([OPTUNA, "stages.pretrain.epochs={int: [10, 20.5]}"], "two whole numbers of"),
    "an end that the setting refuses": (
        [OPTUNA, "stages.pretrain.method.w={uniform: [0, 2]}"], "method.w: must be less"),
    "fractions of epochs": ([OPTUNA, "stages.pretrain.epochs={uniform: [5, 20]}"], "stages.pretrain.epochs"),
    "whole numbers of which some are no choice": (
        ["stages.pretrain.method={name: rotation, copies: {int: [1, 4]}}", OPTUNA],
        "copies: must be one of 1 or 4, not",
    ),
    "whole numbers of which some are no milestone": (
        ["stages.linear.start_epoch={int: [5, 10]}", "stages.linear.search={algorithm: optuna, num_configs: 4}"],
        "6 is no milestone of pretrain",
    ),
    "a value far behind in a large space": (
        [
            OPTUNA, f"stages.pretrain.batch_size={{choice: {[*range(100, 140), 0.5]}}}",
            f"stages.pretrain.epochs={{choice: {[*range(100, 140)]}}}",
        ],
        "stages.pretrain.batch_size: must be a valid integer, not 0.5",
    ),
    "no value among values": (["stages.linear.start_epoch={grid: [5, null]}"], "a grid cannot hold null"),
    "an end beyond all floats": ([OPTUNA, f"stages.pretrain.method.w={{uniform: [0, {10**99}]}}"], "at most 1e+15"),
    "an end that is no number": ([OPTUNA, "stages.pretrain.method.w={uniform: [.nan, 1]}"], "of at most 1e+15"),
    "an objective twice": (
        [OPTUNA, W, "stages.pretrain.search.objectives=[seconds, seconds]"], "objectives: names each once"),
    "two kinds at once": (
        [OPTUNA, "stages.pretrain.method.w={uniform: [0, 1], grid: [0]}"], "a grid stands alone, without 'uniform'",
    ),
    "a range on what is not searchable": (["data.labels={int: [1, 50]}"], "an int on a key that is not searchable"),
    "training loss over w": (
        ["stages.pretrain.method.w={grid: [0, 1]}", "stages.pretrain.select=train_loss"],
        "stages.pretrain.select: train_loss cannot choose over 'method.w'",
    ),
    "training loss over w among objectives": (
        ["stages.pretrain.method.w={grid: [0, 1]}", "stages.pretrain.search={objectives: [train_loss, seconds]}"],
        "stages.pretrain.search.objectives: train_loss cannot choose over 'method.w'",
    ),
    "early ending over w": (
        ["stages.pretrain.method.w={grid: [0, 1]}", "stages.pretrain.stop={scheduler: median}"],
        "stages.pretrain.stop: median cannot choose over 'method.w'",
    ),
    "an unknown scheduler": (["stages.pretrain.stop={scheduler: hyperband}"], "choices: asha, median"),
    "a classifier that is not there": (["stages.pretrain.probe=classifier"], "sidae has no classifier"),
    "selecting by a classifier on D_l": (["stages.linear.select=probe_accuracy"], "has been trained on all labelled"),
    "a classifier that its start has not": (
        ["stages.knn={method: {name: frozen}, start_from: pretrain, probe: classifier}"],
        "stages.knn.probe: 'classifier': pretrain (sidae) has no classifier; linear_svm, knn or clustering, or",
    ),
    "a classifier of given weights": (
        [
            "model.weights=imagenet", "model.backbone=resnet18",
            "stages.knn={method: {name: frozen}, probe: classifier}",
        ],
        "stages.knn.probe: 'classifier': model.weights has no classifier",
    ),
    "a classifier of other classes": (
        [
            "stages.knn={method: {name: frozen}, start_from: linear, probe: classifier, "
            "data: {source: fashion_mnist, image_size: 8}}"
        ],
        "that of linear was trained on digits, and this stage has fashion_mnist",
    ),
    "an epoch that is no milestone": (
        ["stages.linear.start_epoch=7"], "7 is no milestone of pretrain, whose model is kept after 5, 10, 20 epochs",
    ),
    "an epoch that is the end of some configs and the middle of others": (
        ["stages.pretrain.epochs={grid: [10, 20]}", "stages.linear.start_epoch=10"],
        "10 is no milestone of pretrain, whose model is kept after 5 epochs",
    ),
    "an epoch of a stage without milestones whose epochs are searched": (
        ["stages.pretrain.milestones=[]", "stages.pretrain.epochs={grid: [10, 20]}", "stages.linear.start_epoch=10"],
        "whose model is kept after the last epoch only",
    ),
    "a milestone after the end": (
        ["stages.pretrain.milestones=[5, 21]"], "21 is after the end of 20 epochs; at most 20"),
    "a milestone after the end of some configs": (
        ["stages.pretrain.epochs={grid: [6, 20]}", "stages.pretrain.milestones=[10]", "stages.linear.start_epoch=null"],
        "10 is after the end of 6 epochs; at most 6",
    ),
    "more workers than the smallest batch has images": (
        ["stages.pretrain.batch_size={grid: [64, 2]}", "resources.workers=4"], "--set resources.workers=4"),
    "an epoch of nothing": (["stages.pretrain.start_epoch=5"], "stages.pretrain.start_epoch: there is no stage"),
    "a stage's unknown data": (
        ["stages.linear.data={lables: all}"], "stages.linear.data.lables: unknown key; did you mean"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_refused_with_its_place(file: Path, kind: str) -> None:
    overrides, expected = REFUSED[kind]
    with pytest.raises(ConfigError) as caught:
        load(file, overrides=overrides)
    message = str(caught.value)
    assert expected in message, message
    assert message.startswith("--set "), message


@pytest.mark.parametrize(
    ("sampler", "line", "expected"),
    [
        (["name: TPESampler", "n_startup_trials: 2", "gama: 1"], 17, ".gama: is no option"),
        (["n_startup_trials: 2", "name: TPE"], 16, ".name: 'TPE' is no sampler"),
        (["n_startup_trials: x", "name: TPESampler"], 15, ".n_startup_trials: must be int"),
        (["name: NSGAIISampler", "population_size: 1"], 14, ": NSGAIISampler does not take"),
        (["name: CmaEsSampler"], 14, ": CmaEsSampler cannot search this space"),
    ],
)
def test_a_sampler_s_mistake_has_the_line_of_its_option(
    file: Path, sampler: list[str], line: int, expected: str
) -> None:
    above, linear, below = EXPERIMENT.partition("  linear:")
    search = ["search:", "  algorithm: optuna", "  sampler:", *(f"    {line}" for line in sampler), "  num_configs: 4"]
    objectives = "  objectives: [probe_accuracy, seconds]"
    text = "".join(f"    {line}\n" for line in [*search, objectives])
    file.write_text(above.replace("w: 0.5", "w: {uniform: [0, 1]}") + text + linear + below)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert f"example.yaml:{line}: stages.pretrain.search.sampler{expected}" in str(caught.value)


def test_the_last_epoch_is_a_milestone_and_names_no_other_trial(file: Path) -> None:
    from raysl.data.settings import TrialData
    from raysl.search.trials import expand

    sizes: Any = {"image_size": 8, "channels": 1, "digest": "d", "num_classes": 10, "labels": 50, "unlabelled": 100}
    data = TrialData(source="digits", **sizes)

    def ids(*overrides: str) -> list[str]:
        experiment = load(file, overrides=list(overrides))
        datas = {stage.name: data for stage in experiment.stages}
        return [trial.spec.id for trial in expand(experiment, experiment.stages[1], datas, {0: "a", 1: "b"})]

    assert ids("stages.linear.start_epoch=20") == ids("stages.linear.start_epoch=null")
    assert not set(ids()) & set(ids("stages.linear.start_epoch=null"))
    assert not set(ids()) & set(ids("stages.linear.probe=linear_svm"))


def test_what_a_search_does_is_part_of_what_an_experiment_says(file: Path) -> None:
    found = [load(file, overrides=[OPTUNA, W, *more]) for more in ([], ["stages.pretrain.search.seed=1"])]
    wider = load(file, overrides=[OPTUNA, "stages.pretrain.method.w={uniform: [0, 0.5]}"])
    milestone = load(file, overrides=["stages.linear.start_epoch=5"])
    assert len({experiment_digest(e) for e in (*found, wider, milestone, load(file))}) == 5


def test_numbers_that_came_to_be_others_are_those_of_another_experiment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paper's table keeps cells of an earlier search while their experiments say the same."""
    before = experiment_digest(load(file))
    monkeypatch.setattr("raysl.search.trials.IDENTITY_VERSION", 1)
    assert experiment_digest(load(file)) != before


@pytest.mark.parametrize(
    ("one", "other"),
    [("{uniform: [1, 4]}", "{int: [1, 4]}"), ("{uniform: [0.1, 0.1234567]}", "{uniform: [0.1, 0.1234568]}")],
)
def test_another_range_is_another_search(file: Path, one: str, other: str) -> None:
    """The proposals of one would be taken up as the other's."""
    spaces = [load(file, overrides=[OPTUNA, f"stages.pretrain.optimizer.lr={text}"]) for text in (one, other)]
    assert len({str(experiment.stages[0].space["optimizer.lr"]) for experiment in spaces}) == 2
    assert len({experiment_digest(experiment) for experiment in spaces}) == 2


def method_keys(name: str) -> set[str]:
    return set(methods.describe(name).hyperparameters)


ATTACK = "data.attack={name: one_pixel}"
VIEWS = "stages.linear.method.views="


@pytest.mark.parametrize(
    "overrides",
    [
        [VIEWS + "crop_flip"],
        [VIEWS + "distorted"],
        [VIEWS + "{grid: [none, crop_flip]}", "stages.linear.probe=linear_svm", "stages.linear.select=probe_accuracy"],
        [VIEWS + "{choice: [none, distorted]}", "stages.linear.search={algorithm: random, num_configs: 2, seed: 1}",
         "stages.linear.probe=linear_svm", "stages.linear.select=probe_accuracy"],
    ],
    ids=["crop_flip", "distorted", "grid", "choice"],
)  # fmt: skip
def test_an_attacked_pixel_is_never_cropped_away(file: Path, overrides: list[str]) -> None:
    load(file, overrides=overrides)
    for attack in (ATTACK, "stages.linear.data.attack={name: one_pixel, value: per_class}"):
        with pytest.raises(ConfigError) as caught:
            load(file, overrides=[*overrides, attack])
        message = str(caught.value)
        assert message.startswith("--set stages.linear.method.views=")
        assert ": stages.linear.method.views: '" in message
        assert "may cut off the pixel that data.attack writes" in message
    load(file, overrides=[ATTACK, VIEWS + "none"])


def test_the_labelled_images_of_a_semi_supervised_stage_are_not_cropped_under_attack_either(file: Path) -> None:
    semi = "stages.linear.method={name: semi, pretext: {name: barlow_twins}, views: crop_flip}"
    assert load(file, overrides=[semi]).stages[1].settings.method["views"] == "crop_flip"
    with pytest.raises(ConfigError, match=r"stages.linear.method.views: 'crop_flip' may cut off the pixel"):
        load(file, overrides=[semi, ATTACK])
    load(file, overrides=[semi, ATTACK, VIEWS + "none"])  # views of its unlabelled images are cropped all the same


@pytest.mark.parametrize("name", [name for name in methods.classifiers() if "views" not in method_keys(name)])
def test_methods_that_move_the_pixel_are_refused_with_an_attack(file: Path, name: str) -> None:
    learner = f"stages.linear.method={{name: {name}}}"
    load(file, overrides=[learner])
    with pytest.raises(ConfigError, match=rf"stages.linear.method.name: '{name}' augments labelled images"):
        load(file, overrides=[learner, ATTACK])


def test_unknown_views_name_the_choices(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"stages.linear.method.views: must be one of 'none', 'crop_flip' or 'dist"):
        load(file, overrides=[VIEWS + "crop"])


def test_training_losses_are_not_compared_over_views(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"train_loss cannot choose over 'method.views'"):
        load(file, overrides=[VIEWS + "{grid: [none, crop_flip]}"])


RACE = "stages.pretrain.search={race: {error: 0.1}}"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([RACE], "race.first: 2 of 2 seeds are given to every config, so no race is left"),
        (
            ["seeds=5", W, OPTUNA, "stages.pretrain.search.race={}", "stages.pretrain.search.objectives=[seconds]"],
            "by probe_accuracy (select) alone",
        ),
        (
            [
                *("seeds=5", W, OPTUNA, "stages.pretrain.search.race={}"),
                *("stages.pretrain.select={vote: [ami, rankme]}", "stages.pretrain.search.objectives=[ami]"),
            ],
            "a vote ranks configs against one another",
        ),
        ([W, OPTUNA, "stages.pretrain.search.race={}"], "race.first: 2 of 2 seeds"),
        (["seeds=5", RACE, "stages.pretrain.search.objectives=[seconds]"], "by probe_accuracy (select) alone"),
        (["seeds=5", RACE, "stages.pretrain.select={vote: [ami, rankme]}"], "select: ami would do"),
        (["seeds=5", RACE, "stages.pretrain.search.race.first=1"], "stages.pretrain.search.race.first"),
        (["seeds=5", RACE, "stages.pretrain.search.race.error=0"], "stages.pretrain.search.race.error"),
    ],
)
def test_a_race_that_cannot_be_is_refused_with_its_place(file: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides=overrides)
    assert said in str(caught.value)
    assert "stages.pretrain.search.race" in str(caught.value)


EXTEND = "stages.pretrain.search={extend: true}"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([W, EXTEND, "stages.pretrain.search.algorithm=random"], "random has no grid"),
        (["seeds=5", W, EXTEND, "stages.pretrain.search.race={}"], "leave extend or race out"),
        (["stages.pretrain.batch_size={grid: [16, 32]}", EXTEND], "no key of the method or the optimizer has a grid"),
    ],
)
def test_a_grid_that_cannot_grow_is_refused_with_the_place_of_extend(
    file: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides=overrides)
    assert str(caught.value).startswith(f"--set {EXTEND}: stages.pretrain.search.extend: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(("algorithm", "num_configs"), [("random", None), ("optuna", 4)])
def test_random_and_adaptive_searches_race(file: Path, algorithm: str, num_configs: int | None) -> None:
    drawn = f"stages.pretrain.search={{algorithm: {algorithm}, num_configs: 4, race: {{first: 3}}}}"
    experiment = load(file, overrides=["seeds=5", W, drawn])
    assert experiment.race_of(experiment.stages[0]) == Race(0.05, 3, (0, 1, 2, 3, 4), num_configs)
    assert experiment.race_of(experiment.stages[1]) is None
    assert experiment_digest(experiment) != experiment_digest(
        load(file, overrides=["seeds=5", W, drawn, "stages.pretrain.search.race=null"])
    )


def test_a_race_of_proposed_configs_is_of_no_more_than_the_space_has(file: Path) -> None:
    four = ["stages.pretrain.optimizer.lr={grid: [0.1, 0.2]}", "stages.pretrain.method.w={grid: [0.3, 0.6]}"]
    search = "stages.pretrain.search={algorithm: optuna, num_configs: 9, race: {}}"
    experiment = load(file, overrides=["seeds=5", *four, search])
    race = experiment.race_of(experiment.stages[0])
    assert race is not None
    assert race.num_configs == experiment.stages[0].num_configs == 4
