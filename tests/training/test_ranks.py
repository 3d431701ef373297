"""What two ranks must agree on: milestones, features computed once, and where a trial is stopped."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gloo import spawn

from raysl import collectives
from raysl.results.records.rows import TrialRow, read_row
from raysl.results.storage.store import Store
from raysl.training import trial
from raysl.training.early_stopping import EarlyStoppingCohort
from raysl.training.loop import Loop
from raysl.training.model_file import read_model
from raysl.training.paths import checkpoint_path, cohort_path
from raysl.training.process import Execution
from raysl.training.settings import Asha
from raysl.training.spec import TrialSpec
from raysl.training.trial import run_trial

RULE = Asha(scheduler="asha", grace=1, reduction=2)


def _rank(raced_json: str, first_json: str, frozen_json: str, folder: str) -> dict[str, object]:
    raced, first, frozen = map(TrialSpec.model_validate_json, (raced_json, first_json, frozen_json))
    store = Store.open(folder, create=True)
    execution = Execution(checkpoint_seconds=0.0, milestones=(1,))
    epochs: list[int] = []
    run_trial(
        raced, store, execution, lambda epoch: epochs.append(epoch.epoch), EarlyStoppingCohort(store, "s0-0", RULE)
    )
    run_trial(first, store, execution, lambda epoch: None)
    run_trial(frozen, store, execution, lambda epoch: None)
    loop = Loop(frozen, store, execution)
    loop.train_epoch(loop.wrapped())
    return {"epochs": epochs, "pooled": loop.feed.pooled}


def _leaving_rank(spec_json: str, folder: str) -> list[bool]:
    """The second rank's machine is about to go; the first writes the checkpoints."""
    trial.LEAVING_SECONDS = 0.0
    spec, store = TrialSpec.model_validate_json(spec_json), Store.open(folder, create=True)
    saved: list[bool] = []
    execution = Execution(checkpoint_seconds=3600.0, is_node_leaving=lambda: collectives.rank() == 1)
    run_trial(spec, store, execution, lambda epoch: saved.append(store.exists(checkpoint_path(spec.id))))
    return saved


@pytest.mark.slow
def test_the_first_rank_writes_a_checkpoint_when_the_machine_of_another_is_about_to_go(
    make_spec: Callable[..., TrialSpec], tmp_path: Path
) -> None:
    spec = make_spec("stages.semi.epochs=2")
    [saved, _] = spawn(_leaving_rank, spec.model_dump_json(), str(tmp_path / "two"))
    assert saved[0]


@pytest.mark.slow
def test_two_ranks_do_as_one(
    make_spec: Callable[..., TrialSpec], store: Store, train: Callable[..., TrialRow], tmp_path: Path
) -> None:
    raced = make_spec(seed=1)
    first = make_spec("stages.semi.epochs=2", "stages.semi.optimizer={name: sgd, lr: 0.01}")
    changes = {"freeze": "backbone", "probe": "classifier", "batch_size": 15}  # 40 images: 14, 13 and 13
    frozen = make_spec(stage="finetune", start=first.id, start_epoch=1, **changes)
    two = Store.open(str(tmp_path / "two"), create=True)
    two.write(cohort_path("s0-0", "peer"), b"[0.0]")
    found = spawn(_rank, *(spec.model_dump_json() for spec in (raced, first, frozen)), two.uri)
    train(first, store, 1)
    row = train(frozen, store)

    # Rank 0 decides, and both stop.
    assert [each["epochs"] for each in found] == [[0], [0]]
    stopped = read_row(two, raced.id)
    assert stopped is not None
    assert (stopped.status, stopped.epochs) == ("stopped", 1)
    assert stopped.reason.startswith("asha: loss ")

    # Both have all features, and train as one process does.
    assert torch.equal(found[0]["pooled"], found[1]["pooled"])
    loop = Loop(frozen, store, Execution())
    loop.train_epoch(loop.wrapped())
    torch.testing.assert_close(found[0]["pooled"], loop.feed.pooled, rtol=1e-2, atol=1e-3)
    other = read_row(two, frozen.id)
    assert other is not None
    assert other.workers == 2
    assert [e.loss for e in other.curve] == pytest.approx([e.loss for e in row.curve], rel=1e-3)

    for name, value in read_model(store, first.id, 1).tensors.items():
        kept = read_model(two, first.id, 1).tensors[name]
        torch.testing.assert_close(kept, value, rtol=1e-3, atol=1e-4)
