"""A shipped experiment on real images, at reduced length; the README's command on digits is in test_readme."""

import os
from collections import Counter
from pathlib import Path

import pytest
from tiny import inline

import raysl as package

SPACES = Path(__file__).parents[2] / "search_spaces"

pytestmark = pytest.mark.slow


@pytest.mark.alike
@pytest.mark.skipif("RAYSL_DATA" not in os.environ, reason="RAYSL_DATA names no folder of real images")
@pytest.mark.parametrize(
    ("source", "more", "chance"),
    [
        ("fashion_mnist", ["data.labels=200"], 0.1),
        ("malaria", ["data.labels=137", "data.train_fraction=0.5", "data.image_size=32"], 0.5),
    ],
)
def test_real_images_end_to_end(tmp_path: Path, source: str, more: list[str], chance: float) -> None:
    short = ["data.unlabelled=1000", "seeds=2", "stages.semi.epochs=3", "stages.semi.optimizer.lr={grid: [1e-2, 1e-3]}"]
    overrides = [part for key in (f"data.source={source}", *more, *short) for part in ("--set", key)]
    done = inline("tune", SPACES / "rotation_semi.yaml", "--results", tmp_path / "r", *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = package.read(str(tmp_path / "r")).trials.to_pylist()
    assert Counter(trial["status"] for trial in trials) == {"finished": 4}
    scores = [trial["test_accuracy"] for trial in trials if trial["selected"]]
    assert len(scores) == 2
    assert min(scores) > chance + 0.05
