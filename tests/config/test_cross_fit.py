"""What a stage with `select: {cross_fit: K}` may be, and what its mistakes are told."""

from pathlib import Path

import pytest
from tiny import of_stages, write

from raysl.config import load
from raysl.config.document import ConfigError
from raysl.data.settings import TrialData
from raysl.errors import UserError
from raysl.search.experiment import Experiment
from raysl.search.preflight import cautions, check

CROSS_FIT = "stages.semi.select={cross_fit: 4}"
GRID = "stages.semi.optimizer.lr={grid: [1e-4, 1e-3, 1e-2]}"
DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)


def loaded(folder: Path, *overrides: str) -> Experiment:
    return load(write(folder), overrides=[CROSS_FIT, GRID, *overrides])


def test_each_config_and_seed_counts_once_for_a_fold_and_the_selected_once_more(tmp_path: Path) -> None:
    experiment = loaded(tmp_path, "seeds=3")
    semi, finetune = experiment.stages
    assert (semi.select, semi.folds, finetune.folds) == ("cross_fit(4)", 4, None)
    assert experiment.num_trials == 3 * (3 * 4 + 1) + 3
    assert experiment.num_epochs == 3 * (3 * 4 + 1) * 4 + 3 * 3
    assert semi.compared_metrics == []
    with pytest.raises(ConfigError, match=r"seeds: 1,000 seeds of 2,002 trials are 2,002,000 trials; at most 50,000"):
        loaded(tmp_path, "seeds=1000", f"stages.semi.optimizer.lr={{grid: {[1 + i / 1e3 for i in range(500)]}}}")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages.semi.select={cross_fit: 1}", ["stages.semi.select.cross_fit: must be greater than or equal to 2"]),
        ("stages.semi.select={cross_fit: 21}", ["stages.semi.select.cross_fit: must be less than or equal to 20"]),
        ("stages.semi.select={cross_fit: half}", ["stages.semi.select.cross_fit", "integer, not 'half'"]),
        ("stages.semi.select={cross_fit: 4, folds: 4}", ["select.folds: unknown key; choices: cross_fit"]),
        ("stages.semi.select={crossfit: 4}", ["or {vote: ...} or {cross_fit: ...}, not {'crossfit': 4}"]),
        ("stages.semi.select=cross_fit", ["or {vote: ...} or {cross_fit: ...}, not 'cross_fit'"]),
        ("stages.semi.search={race: {}}", ["stages.semi.search.race: ", "{cross_fit: 4}", "leave race out"]),
        ("stages.semi.search={extend: true}", ["stages.semi.search.extend: ", "leave extend out"]),
        (
            "stages.semi.search={algorithm: optuna, num_configs: 3}",
            ["stages.semi.search.algorithm: ", "; grid or random"],
        ),
        (
            "stages.semi.search={objectives: [train_loss, seconds]}",
            ["stages.semi.search.objectives: ", "leave objectives out"],
        ),
        ("stages.semi.method={name: rotation}", ["stages.semi.select: rotation sees no labels", "; probe_accuracy is"]),
        ("stages.semi.probe=clustering", ["stages.semi.probe: 'clustering'", "choices: linear_svm, knn, classifier"]),
        (
            "stages.semi={method: {name: segmentation}, probe: segmentation}",
            ["stages.semi.probe: 'segmentation'", "choices: linear_svm, knn, classifier"],
        ),
    ],
)
def test_a_mistake_is_refused_in_one_message(tmp_path: Path, override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, override)
    assert "\n" not in str(refused.value), refused.value
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize("override", ["stages.semi.select={vote: [rankme, ami]}", "stages.semi.select=probe_accuracy"])
def test_another_rule_takes_its_place_as_a_whole(tmp_path: Path, override: str) -> None:
    assert loaded(tmp_path, override).stages[0].folds is None
    vote = "stages.semi.select={vote: [rankme, ami]}"
    assert load(write(tmp_path), overrides=[vote, CROSS_FIT]).stages[0].select == "cross_fit(4)"


def test_a_stage_may_have_the_name_of_a_rule(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text().replace("semi", "vote").replace("name: vote", "name: semi"))
    changed = load(file, overrides=["stages.vote.epochs=7"]).stages
    assert [stage.name for stage in changed] == ["vote", "finetune"]


@pytest.mark.parametrize("override", ["seeds={labels: 2, init: 2}", "stages.semi.stop={scheduler: median}", "seeds=1"])
def test_it_goes_with_typed_seeds_with_early_stopping_and_with_one_seed(tmp_path: Path, override: str) -> None:
    experiment = loaded(tmp_path, override)
    check(experiment, of_stages(experiment, DATA))


def test_configs_may_be_drawn(tmp_path: Path) -> None:
    search = "stages.semi.search={algorithm: random, num_configs: 5}"
    ranges = "stages.semi.optimizer.lr={loguniform: [1e-4, 1e-1]}"
    assert loaded(tmp_path, ranges, search).num_trials == 2 * (5 * 4 + 1) + 2


def refusal(experiment: Experiment, **changes: object) -> str:
    with pytest.raises(UserError) as refused:
        check(experiment, of_stages(experiment, DATA.model_copy(update=changes)))
    return str(refused.value)


def test_every_class_needs_an_image_for_each_fold(tmp_path: Path) -> None:
    experiment = loaded(tmp_path)
    check(experiment, of_stages(experiment, DATA))
    check(experiment, of_stages(experiment, DATA.model_copy(update={"labels": 39, "draw": "uniform"})))
    text = refusal(experiment, labels=39)
    assert text.startswith(f"--set {CROSS_FIT}: stages.semi.select: cross_fit(4): 39 labels give a class 3 ")
    assert text.endswith("; at most 3 folds, or at least 40 labels")
    assert refusal(experiment, labels=10).endswith("one for each fold; at least 40 labels")


def test_every_fold_needs_an_image_however_labels_are_drawn(tmp_path: Path) -> None:
    experiment = loaded(tmp_path, "stages.semi.select={cross_fit: 20}", "stages.semi.batch_size=3")
    assert refusal(experiment, labels=19, draw="uniform").endswith(
        "cross_fit(20): 19 labelled training images are fewer than one for each fold; at most 19 folds"
    )
    check(experiment, of_stages(experiment, DATA.model_copy(update={"labels": 20, "draw": "uniform"})))


def test_a_start_that_has_seen_the_labels_is_refused(tmp_path: Path) -> None:
    later = ["stages.semi.select=train_loss", "stages.finetune.select={cross_fit: 2}"]
    experiment = loaded(tmp_path, *later)
    assert "finetune, which starts from a model that semi has trained on all of them" in refusal(experiment)
    datas = of_stages(experiment, DATA)
    check(experiment, datas | {"semi": DATA.model_copy(update={"digest": "e" * 32})})
    pretext = loaded(tmp_path, *later, "stages.semi.method={name: rotation}")
    check(pretext, of_stages(pretext, DATA))


def test_no_batch_of_a_fold_has_a_single_image(tmp_path: Path) -> None:
    def supervised(batch_size: int) -> Experiment:
        return loaded(tmp_path, "stages.semi.method={name: supervised}", f"stages.semi.batch_size={batch_size}")

    datas = {"semi": DATA.model_copy(update={"labels": 42}), "finetune": DATA}
    check(supervised(3), datas)
    with pytest.raises(UserError, match="batch_size: 31 images in batches of at most 2 leave one of a single image"):
        check(supervised(2), datas)
    check(supervised(2), of_stages(supervised(2), DATA))  # 40, and 30 without a fold


def test_a_caution_about_probe_accuracy_names_it(tmp_path: Path) -> None:
    experiment = loaded(tmp_path, "stages.semi.select=probe_accuracy")
    [caution] = cautions(experiment, of_stages(experiment, DATA))
    assert "{cross_fit: 4}" in caution
    fitted = loaded(tmp_path)
    assert cautions(fitted, of_stages(fitted, DATA)) == []
