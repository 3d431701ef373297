"""Learners of labelled and unlabelled images as trials: killed and resumed, with all that their state holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raysl import methods
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.training.model_file import read_model
from raysl.training.process import Execution
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec

LEARNERS = [
    name
    for name in methods.classifiers()
    if "unlabelled" in methods.describe(name).streams and not methods.describe(name).nested
]
SURE = {
    "tau": 0.12,
    "threshold": 0.12,
    "queue": 4,
}  # of ten classes, so that pseudo-labels count from the first epoch on


def numbers(row: TrialRow) -> list[Any]:
    return [row.status, row.final_loss, [(epoch.loss, epoch.terms) for epoch in row.curve]]


def settings(name: str, **given: Any) -> dict[str, Any]:
    """Return a method's settings: those given, and the defaults."""
    return methods.settings_model(name)(name=name, **given).model_dump()


@pytest.mark.parametrize("name", [*LEARNERS, "byol"])
def test_a_killed_trial_ends_in_the_same_digits(
    name: str,
    make_spec: Callable[..., TrialSpec],
    tmp_path: Path,
    train: Callable[..., TrialRow],
    kill: Callable[..., None],
) -> None:
    given = {key: value for key, value in SURE.items() if key in methods.describe(name).hyperparameters}
    if name == "byol":  # in target pre-training, where it is held to the weights that it began with
        spec = make_spec(method=settings(name, l2_start=0.1, hidden=32, projector=16, min_crop=0.5))
    else:
        steps = {"batch_size": 8, "unlabelled_ratio": 2, "steps_per_epoch": 3}
        spec = make_spec(method=settings(name, **given), probe="classifier", **steps)
    whole, killed = (Store.open(str(tmp_path / folder), create=True) for folder in ("whole", "killed"))
    undisturbed = train(spec, whole)
    kill(spec, killed, 2)
    resumed = train(spec, killed)
    assert undisturbed.status == "finished"
    assert numbers(resumed) == numbers(undisturbed)
    shares = [epoch.terms.get("confident") for epoch in undisturbed.curve]
    assert None in shares or any(shares)
    expected, found = (read_model(store, spec.id).tensors for store in (whole, killed))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert score_trial(spec, killed, Execution()) == score_trial(spec, whole, Execution())
