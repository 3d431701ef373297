"""A results folder whose trials an earlier version of raysl named: they stay, and are not taken for today's."""

from pathlib import Path

import pytest
from tiny import here, inline, write

import raysl
from raysl.training import spec

SHORT = ("seeds=1", "stages.semi.epochs=1", "stages.semi.optimizer.lr=1e-2", "stages.finetune.epochs=1")
TRIMIX = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: 16}
seeds: 1
stages:
  pretrain:
    method: {name: trimix, projector: 24, min_crop: 0.5}
    epochs: 1
    batch_size: 32
    optimizer: {name: adam, lr: 1e-2}
"""


@pytest.mark.slow
def test_trials_of_an_earlier_version_stay_and_are_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["tune", write(tmp_path), "--results", tmp_path / "r"]
    command += [part for change in SHORT for part in ("--set", change)]
    with monkeypatch.context() as earlier:
        earlier.setattr(spec, "IDENTITY_VERSION", 1)
        assert inline(*command).returncode == 0
    old = {row["trial_id"]: row for row in raysl.read(str(tmp_path / "r")).trials.to_pylist()}
    again = inline(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    rows = {row["trial_id"]: row for row in raysl.read(str(tmp_path / "r")).trials.to_pylist()}
    assert len(rows) == 2 * len(old) == 4
    assert {(row["trial_id"] in old, row["current"]) for row in rows.values()} == {(True, False), (False, True)}
    assert all(rows[trial_id] | {"current": True} == row for trial_id, row in old.items())
    shown = here("show", tmp_path / "r")
    assert shown.returncode == 0
    assert not any(trial_id in shown.stdout for trial_id in old)


ATTACKED = TRIMIX.replace("trimix, projector: 24, min_crop: 0.5", "supervised").replace(
    "unlabelled: 128", "attack: {name: one_pixel}"
)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "picture"), [(TRIMIX, "--mixing"), (ATTACKED, "--attack")])
def test_a_picture_of_such_a_trial_says_why_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, picture: str
) -> None:
    command = ["show", tmp_path / "r", picture, "--output", tmp_path / "m.png"]
    with monkeypatch.context() as earlier:
        earlier.setattr(spec, "IDENTITY_VERSION", 1)
        assert inline("tune", write(tmp_path, text), "--results", tmp_path / "r").returncode == 0
        assert here(*command).returncode == 0
    refused = here(*command)
    assert refused.returncode == 2
    assert "earlier version" in refused.stderr
    assert "Traceback" not in refused.stderr
