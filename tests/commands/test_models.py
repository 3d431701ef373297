"""`raysl models` lists each model that is there, with what it is of."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import Finished, here

import raysl

MILESTONES = "epochs: 4\n    milestones: [2]"


@pytest.fixture
def results(finished: Callable[..., Finished]) -> Path:
    return finished(finished().file.read_text().replace("epochs: 4", MILESTONES)).results


def test_every_model_is_listed_with_what_it_is_of(results: Path) -> None:
    done = here("models", results, "--format", "json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert {Path(model["path"]) for model in listed} == set((results / "models").iterdir())
    assert [(model["stage"], model["seed"], model["epoch"], model["is_milestone"]) for model in listed] == [
        ("semi", 0, 2, True),
        ("semi", 0, 4, False),
        ("semi", 1, 2, True),
        ("semi", 1, 4, False),
        ("finetune", 0, 3, False),
        ("finetune", 1, 3, False),
    ]
    for model in listed:
        assert model["size"] == Path(model["path"]).stat().st_size
        assert (model["is_selected"], model["is_current"], model["backbone"]) == (True, True, "small_resnet")
        epoch = model["epoch"] if model["is_milestone"] else None
        loaded = raysl.load_model(results, model["stage_id"], model["config_id"], model["seed"], epoch)
        assert loaded.trial_id == model["trial_id"]
        assert loaded.spec.method["name"] == model["method"]
    assert set(listed[0]["params"]) == {"optimizer.lr"}


def test_the_table_cuts_nothing(results: Path) -> None:
    done = here("models", results)
    assert done.returncode == 0, done.stderr
    for path in (results / "models").iterdir():
        assert path.name in done.stdout
    assert "2 (milestone)" in done.stdout
    assert "lr=0.01" in done.stdout


def test_models_of_no_stage_and_of_earlier_versions_are_listed_too(results: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "0123456789abcdef@3.pt").write_bytes(b"1234")
    [model] = json.loads(here("models", tmp_path, "--format", "json").stdout)
    assert (model["trial_id"], model["epoch"], model["is_milestone"]) == ("0123456789abcdef", 3, True)
    assert (model["stage"], model["method"], model["size"]) == (None, None, 4)
    assert "0123456789abcdef@3.pt" in here("models", tmp_path).stdout


def test_mistakes_are_one_message(results: Path, tmp_path: Path) -> None:
    for arguments, expected in (
        ((tmp_path / "nowhere",), "no such folder"),
        ((tmp_path,), "no models are here"),
        ((results, "--format", "csv"), "--format csv: choices: json, table"),
    ):
        done = here("models", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert expected in done.stderr
