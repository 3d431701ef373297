"""The models that a trial keeps on its way, and the trials that start from them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from raysl.results.records.rows import TrialRow, read_row
from raysl.results.storage.checkpoint_checksums import is_whole
from raysl.results.storage.store import Store
from raysl.training.loop import Loop
from raysl.training.model_file import read_model
from raysl.training.paths import checkpoint_path, model_path
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
Kill = Callable[..., None]


def weights(store: Store, trial_id: str, epoch: int | None = None) -> Mapping[str, torch.Tensor]:
    return read_model(store, trial_id, epoch).tensors


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_milestone_is_the_model_as_it_is_after_so_many_epochs(
    make_spec: MakeSpec, store: Store, train: Train
) -> None:
    spec = make_spec()
    loop = Loop(spec, store, Execution())
    train(spec, store, 0, 1, 3, 4, 9)
    assert same(weights(store, spec.id, 0), loop.method.state_dict())
    for epoch in (1, 2, 3):
        loop.train_epoch(loop.wrapped())
        if epoch != 2:
            assert same(weights(store, spec.id, epoch), loop.method.state_dict())
    assert not same(weights(store, spec.id, 3), weights(store, spec.id))
    # That of the last epoch is the trial's model itself.
    assert store.list("models", "") == sorted(f"{spec.id}{end}.safetensors" for end in ("", "@0", "@1", "@3"))


def test_milestones_change_no_number(make_spec: MakeSpec, store: Store, train: Train, tmp_path: Path) -> None:
    spec, other = make_spec(), Store.open(str(tmp_path / "other"), create=True)
    rows = train(spec, store, 1, 2, 3), train(spec, other)
    assert rows[0].final_loss == rows[1].final_loss
    assert rows[0].probe.get("accuracy") == rows[1].probe.get("accuracy")
    assert same(weights(store, spec.id), weights(other, spec.id))


def test_a_kill_loses_no_milestone(make_spec: MakeSpec, store: Store, train: Train, kill: Kill) -> None:
    spec = make_spec()
    kill(spec, store, 2, 1, 3)
    first = (Path(store.uri) / model_path(spec.id, 1)).read_bytes()
    seen: list[int] = []
    train(spec, store, 1, 3, seen=seen)
    assert seen == [2, 3]
    assert (Path(store.uri) / model_path(spec.id, 1)).read_bytes() == first
    assert is_whole(store, model_path(spec.id, 3))


def test_the_milestone_stands_before_the_checkpoint_that_is_past_it(
    make_spec: MakeSpec, store: Store, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, written = make_spec(), []
    write = Store.write
    monkeypatch.setattr(Store, "write", lambda self, path, content: (written.append(path), write(self, path, content)))
    train(spec, store, 2)
    models = [path for path in written if path.endswith((".pt", ".safetensors"))]
    assert models == [
        checkpoint_path(spec.id),
        model_path(spec.id, 2),
        checkpoint_path(spec.id),
        checkpoint_path(spec.id),
        model_path(spec.id),
    ]


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_checkpoint_past_a_lost_milestone_is_left(
    make_spec: MakeSpec, store: Store, train: Train, kill: Kill, damage: str
) -> None:
    spec = make_spec()
    kill(spec, store, 2, 1)
    path = Path(store.uri) / model_path(spec.id, 1)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])
    seen: list[int] = []
    row = train(spec, store, 1, seen=seen)
    assert seen == [0, 1, 2, 3]
    assert row.status == "finished"
    assert is_whole(store, model_path(spec.id, 1))


def test_a_checkpoint_at_a_milestone_that_has_no_model_is_left(
    make_spec: MakeSpec, store: Store, train: Train, kill: Kill
) -> None:
    """As of one that was named after the kill: nothing else would write it."""
    spec = make_spec()
    kill(spec, store, 2)
    seen: list[int] = []
    train(spec, store, 2, seen=seen)
    assert seen == [0, 1, 2, 3]
    assert is_whole(store, model_path(spec.id, 2))


def test_a_checkpoint_before_a_milestone_is_gone_on_from(
    make_spec: MakeSpec, store: Store, train: Train, kill: Kill
) -> None:
    spec = make_spec()
    kill(spec, store, 2)
    seen: list[int] = []
    train(spec, store, 3, seen=seen)
    assert seen == [2, 3]


def test_a_finished_trial_is_trained_again_as_far_as_a_lost_milestone(
    make_spec: MakeSpec, store: Store, train: Train
) -> None:
    spec = make_spec()
    row = train(spec, store, 1, 2)
    model = (Path(store.uri) / model_path(spec.id)).read_bytes()
    kept = weights(store, spec.id, 2)
    store.delete(model_path(spec.id, 2))
    seen: list[int] = []
    assert train(spec, store, 1, 2, seen=seen) == row
    assert seen == [0, 1]
    assert same(weights(store, spec.id, 2), kept)
    assert (Path(store.uri) / model_path(spec.id)).read_bytes() == model
    assert read_row(store, spec.id) == row
    assert not store.exists(checkpoint_path(spec.id))
    # And once more, nothing is left to do.
    assert train(spec, store, 1, 2, seen=seen) == row
    assert seen == [0, 1]


def test_of_several_lost_milestones_the_last_is_trained_for(make_spec: MakeSpec, store: Store, train: Train) -> None:
    spec = make_spec("stages.semi.epochs=3")
    train(spec, store)
    seen: list[int] = []
    assert train(spec, store, 1, 2, seen=seen).epochs == 3
    assert seen == [0, 1]
    assert all(is_whole(store, model_path(spec.id, epoch)) for epoch in (1, 2))


def test_a_finished_trial_without_model_and_milestone_is_trained_to_its_end(
    make_spec: MakeSpec, store: Store, train: Train
) -> None:
    spec = make_spec()
    row = train(spec, store, 2)
    for epoch in (None, 2):
        store.delete(model_path(spec.id, epoch))
    assert train(spec, store, 2) == row
    assert is_whole(store, model_path(spec.id))
    assert is_whole(store, model_path(spec.id, 2))


def test_a_lost_milestone_of_the_beginning_is_made_again(
    make_spec: MakeSpec, store: Store, train: Train, kill: Kill
) -> None:
    spec = make_spec()
    kill(spec, store, 2, 0)
    first = Path(store.uri) / model_path(spec.id, 0)
    expected = first.read_bytes()
    first.unlink()
    seen: list[int] = []
    train(spec, store, 0, seen=seen)  # the checkpoint is past it
    assert seen == [0, 1, 2, 3]
    first.unlink()
    train(spec, store, 0, seen=seen)  # the trial is finished: nothing else is trained
    assert len(seen) == 4
    assert first.read_bytes() == expected


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_trial_starts_from_a_milestone(make_spec: MakeSpec, store: Store, train: Train, epoch: int) -> None:
    first = make_spec()
    train(first, store, epoch)
    early = make_spec(stage="finetune", start=first.id, start_epoch=epoch)
    late = make_spec(stage="finetune", start=first.id)
    assert early.id != late.id
    for spec, start in ((early, epoch), (late, None)):
        encoder = Loop(spec, store, Execution()).method.encoder.state_dict()
        trained = weights(store, first.id, start)
        assert all(torch.equal(value, trained[f"encoder.{name}"]) for name, value in encoder.items())
