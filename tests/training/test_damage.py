"""What a trial makes of a checkpoint or a model that is not what it left there: nothing, and the same numbers."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raysl.errors import CheckpointError
from raysl.results.records.rows import TrialRow
from raysl.results.storage.checkpoint_checksums import add_checksum, is_whole
from raysl.results.storage.store import Store
from raysl.training import checkpoint
from raysl.training.paths import checkpoint_path, earlier_model_path, model_path
from raysl.training.process import Execution
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
Kill = Callable[..., None]


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def sealed(state: Any, path: str) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return add_checksum(buffer.getvalue(), path)


def numbers(row: TrialRow) -> tuple[Any, ...]:
    return row.trial_id, row.status, row.final_loss, row.probe.get("accuracy"), [(e.loss, e.terms) for e in row.curve]


@pytest.mark.parametrize("harm", ["truncated", "bomb", "other trial's", "misfit"])
def test_a_wrong_checkpoint_starts_the_trial_again(
    make_spec: MakeSpec, store: Store, train: Train, kill: Kill, tmp_path: Path, harm: str
) -> None:
    spec, other = make_spec(), make_spec(seed=1)
    kill(spec, store, 2)
    kill(other, store, 3)
    path = checkpoint_path(spec.id)
    state = checkpoint.load(store, path)
    harmed = {
        "truncated": store.read(path)[:-100],
        "bomb": sealed(state | {"more": Bomb(tmp_path / "executed")}, path),
        "other trial's": store.read(checkpoint_path(other.id)),
        # As of a version that had another parameter.
        "misfit": sealed(state | {"method": state["method"] | {"scale": torch.ones(1)}}, path),
    }
    store.write(path, harmed[harm])
    seen: list[int] = []
    row = train(spec, store, seen=seen)
    assert seen == [0, 1, 2, 3]
    assert not (tmp_path / "executed").exists()
    undisturbed = train(spec, Store.open(str(tmp_path / "undisturbed"), create=True))
    assert numbers(row) == numbers(undisturbed)


@pytest.mark.parametrize("harm", ["bomb", "earlier bomb", "other trial's", "other epoch's", "truncated", "short"])
def test_nothing_starts_from_a_wrong_model_or_is_scored_with_it(
    make_spec: MakeSpec, store: Store, train: Train, tmp_path: Path, harm: str
) -> None:
    short = ("stages.semi.epochs=2",)
    first, other = make_spec(*short), make_spec(*short, seed=1)
    for spec in (first, other):
        train(spec, store, 1)
    path = model_path(first.id)
    harmed = {
        "bomb": sealed({"id": first.id, "method": Bomb(tmp_path / "executed")}, path),
        "earlier bomb": sealed({"id": first.id, "method": Bomb(tmp_path / "executed")}, earlier_model_path(first.id)),
        "truncated": store.read(path)[:-100],
        "short": store.read(path)[:12],
        "other trial's": store.read(model_path(other.id)),
        "other epoch's": store.read(model_path(first.id, 1)),
    }
    if harm == "earlier bomb":
        store.delete(path)
        path = earlier_model_path(first.id)
    store.write(path, harmed[harm])
    with pytest.raises(CheckpointError, match=rf"{path}: (damaged|refused)"):
        train(make_spec(stage="finetune", start=first.id), store)
    with pytest.raises(CheckpointError, match=rf"{path}: (damaged|refused)"):
        score_trial(first, store, Execution())
    assert not (tmp_path / "executed").exists()
    assert store.list("scores", "") == []
    if harm != "earlier bomb":  # what is not whole is trained again
        train(first, store, 1)
        assert is_whole(store, path)
        score_trial(first, store, Execution())
