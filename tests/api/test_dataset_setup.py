"""The data of an experiment's stages: shared where they say nothing, their own where they do."""

from pathlib import Path

import pytest
from tiny import EXPERIMENT, write

from raysl.api.dataset_setup import resolve_data
from raysl.api.observer import Observer, Silent
from raysl.config import load
from raysl.errors import UserError

WITHOUT_LABELS = EXPERIMENT.replace("labels: 40, ", "")
FREEZE = "stages.finetune.freeze=backbone"


def test_a_stage_has_its_own_data_and_the_others_do_not(tmp_path: Path) -> None:
    experiment = load(write(tmp_path), overrides=["stages.finetune.data={labels: all, draw: uniform}", FREEZE])
    datas = resolve_data(experiment, Silent())
    assert (datas["semi"].labels, datas["finetune"].labels) == (40, 1297)
    assert datas["semi"].digest == datas["finetune"].digest


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("stages.finetune.data={labels: 5000}", "--set stages.finetune.data"),
        ("data.labels=5000", "--set data.labels"),
        ("stages.finetune.data={source: 'parquet:nowhere.parquet'}", "--set stages.finetune.data"),
    ],
)
def test_what_the_data_cannot_give_is_named_where_it_was_asked_for(tmp_path: Path, override: str, place: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_data(load(write(tmp_path), overrides=[override]), Silent())
    assert str(caught.value).startswith(place), caught.value


def test_a_stage_on_images_of_other_channels_cannot_take_over_the_encoder(tmp_path: Path) -> None:
    experiment = load(write(tmp_path), overrides=["stages.finetune.data={channels: 3}"])
    with pytest.raises(
        UserError, match=r"stages\.finetune\.data: images with 3 channel\(s\).*data\.channels: 1 would do"
    ):
        resolve_data(experiment, Silent())


@pytest.mark.parametrize(
    ("text", "overrides", "said"),
    [
        (EXPERIMENT, [], ""),
        (WITHOUT_LABELS, ["data.labels=30"], ""),
        (WITHOUT_LABELS, ["stages.semi.data={labels: 30}", "stages.finetune.data={labels: 30}"], ""),
        (WITHOUT_LABELS, ["stages.semi.data={labels: 30}", "data.draw=uniform", "data.unlabelled=null"], "finetune"),
        (WITHOUT_LABELS, ["data.unlabelled=null"], "semi, finetune"),
    ],
)
def test_labels_that_nobody_has_given_are_named(tmp_path: Path, text: str, overrides: list[str], said: str) -> None:
    notes: list[str] = []

    class Noting(Observer):
        def noted(self, text: str) -> None:
            notes.append(text)

    resolve_data(load(write(tmp_path, text), overrides=overrides), Noting())
    expected = f"tiny: data.labels: not given, so 0.01 of the unlabelled images have labels (stages {said}); "
    assert [note.startswith(expected) for note in notes] == [True] * bool(said)
