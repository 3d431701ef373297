"""Label-free rules in an experiment's YAML."""

import json
from pathlib import Path

import pytest
from tiny import write

from raysl.config import load
from raysl.config.document import ConfigError
from raysl.data.settings import TrialData
from raysl.results.criteria import CRITERION_NAMES
from raysl.search.trials import expand

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)


def stage_of(folder: Path, *overrides: str):  # type: ignore[no-untyped-def]
    experiment = load(write(folder), overrides=list(overrides))
    return experiment, experiment.stages[0]


@pytest.mark.parametrize(
    ("overrides", "rule", "measured"),
    [
        ([], "train_loss", ()),
        (["stages.semi.select=rankme"], "rankme", ("rankme",)),
        (["stages.semi.select={vote: [ami, rankme]}"], "vote(rankme, ami)", ("rankme", "ami")),
        (["stages.semi.criteria=[ami, lidar]"], "train_loss", ("lidar", "ami")),
        (["stages.semi.search.objectives=[uniformity, seconds]"], "train_loss", ("uniformity",)),
    ],
)
def test_what_is_compared_is_measured_of_every_trial(
    tmp_path: Path, overrides: list[str], rule: str, measured: tuple[str, ...]
) -> None:
    experiment, stage = stage_of(tmp_path, *overrides)
    assert (stage.select, stage.criteria) == (rule, measured)
    trials = expand(experiment, stage, {one.name: DATA for one in experiment.stages}, {})
    assert {trial.criteria for trial in trials} == {measured}
    assert not any(trial.needs_probe for trial in trials)


def test_no_rule_and_no_criterion_changes_a_trials_or_a_configs_id(tmp_path: Path) -> None:
    ids = set()
    for overrides in ([], ["stages.semi.select=ami"], [f"stages.semi.criteria={json.dumps(CRITERION_NAMES)}"]):
        experiment, stage = stage_of(tmp_path, *overrides)
        trials = expand(experiment, stage, {one.name: DATA for one in experiment.stages}, {})
        ids.add(tuple((trial.spec.id, trial.config_id) for trial in trials))
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages.semi.select=rank_me", ["stages.semi.select", "'rank_me'", "'rankme'"]),
        ("stages.semi.select={vote: [rankme]}", ["select.vote: must have at least 2 items, not 1: ['rankme']"]),
        ("stages.semi.select={vote: [rankme, rankme]}", ["select.vote: names each once, not ['rankme', 'rankme']"]),
        ("stages.semi.select={vote: [ami, rankme, ami]}", ["stages.semi.select.vote: names each once"]),
        ("stages.semi.criteria=[ami, ami]", ["stages.semi.criteria: names each once, not ['ami', 'ami']"]),
        ("stages.semi.milestones=[1, 2, 1]", ["stages.semi.milestones: names each once, not [1, 2, 1]"]),
        (
            "stages.semi.select=[rankme, ami]",
            ["'ami' or {vote: ...} or {cross_fit: ...}, not [", "; write {vote: [rankme, ami]}"],
        ),
        ("stages.semi.select=rankmee", ["'ami' or {vote: ...} or {cross_fit: ...}, not 'rankmee'"]),
        ("stages.semi.select=[[1], 2]", ["'ami' or {vote: ...} or {cross_fit: ...}, not [[1], 2]"]),
        ("stages.semi.select={vote: [rankme, train_loss]}", ["vote", "'train_loss'", "'alpha_req'"]),
        ("stages.semi.select={votes: [rankme, ami]}", ["votes"]),
        ("stages.semi.criteria=[rankme, accuracy]", ["stages.semi.criteria", "'accuracy'", "'lidar'"]),
        (
            "stages.semi.search={algorithm: optuna, num_configs: 3}",
            ["stages.semi.search.objectives", "must be given", "[rankme]"],
        ),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_the_choices(tmp_path: Path, override: str, words: list[str]) -> None:
    vote = ["stages.semi.select={vote: [rankme, ami]}"] if "optuna" in override else []
    with pytest.raises(ConfigError) as refused:
        load(write(tmp_path), overrides=[*vote, override])
    assert "\n" not in str(refused.value), refused.value
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_stage_that_trains_nothing_takes_no_criterion(tmp_path: Path) -> None:
    frozen = "stages.finetune={method: {name: frozen}, epochs: null, batch_size: null, optimizer: null, freeze: null"
    for key in ("select: rankme", "criteria: [rankme]"):
        with pytest.raises(ConfigError, match=r"train_loss|trains nothing|probe_accuracy"):
            load(write(tmp_path), overrides=[f"{frozen}, {key}}}"])
