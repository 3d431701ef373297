"""A trial that takes the weights of another has the models, row and scores that its training would have given."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from gloo import spawn

from raysl.results.records.rows import TrialRow, read_row, write_row
from raysl.results.storage.checkpoint_checksums import checked_metadata
from raysl.results.storage.store import Store
from raysl.training import measuring
from raysl.training.model_file import read_model, write_model
from raysl.training.paths import model_path
from raysl.training.process import Execution
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec
from raysl.training.trial import run_trial

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
ROTATION = "stages.semi.method={name: rotation}"
OTHERWISE = ("started_at", "finished_at", "seconds", "weights_of", "curve", "other_seconds")


def taking(spec: TrialSpec, store: Store, donor: TrialSpec, *milestones: int) -> tuple[TrialRow, list[int]]:
    """Run a trial that may take the weights of another; return its row and the epochs that it has trained."""
    epochs: list[int] = []
    execution = Execution(checkpoint_seconds=0.0, milestones=milestones)
    row = run_trial(spec, store, execution, lambda epoch: epochs.append(epoch.epoch), weights_of=donor.id)
    assert row is not None
    return row, epochs


def same(one: TrialRow, other: TrialRow) -> bool:
    untimed = [replace(row, **dict.fromkeys(OTHERWISE)) for row in (one, other)]
    return untimed[0] == untimed[1] and [e.loss for e in one.curve] == [e.loss for e in other.curve]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "elsewhere"), create=True)


@pytest.mark.parametrize(
    "change",
    [
        ["probes.linear_svm.C=1e-4"],
        ["stages.semi.probe=knn", "probes.knn.k=1"],
        ["data.labels=60"],
        ["data.draw=uniform"],
    ],
    ids=lambda change: change[0].partition("=")[0],
)
def test_it_is_as_if_it_had_been_trained(
    change: list[str], make_spec: MakeSpec, store: Store, elsewhere: Store, train: Train
) -> None:
    first, spec = make_spec(ROTATION), make_spec(ROTATION, *change)
    donor = train(first, store, 2)
    row, epochs = taking(spec, store, first, 2)
    expected = train(spec, elsewhere, 2)
    assert epochs == []
    assert same(row, expected)
    assert row.probe.get("accuracy") != donor.probe.get("accuracy")
    assert (row.weights_of, expected.weights_of) == (first.id, None)
    assert read_row(store, spec.id) == row
    for epoch in (None, 2):
        kept, trained = (read_model(each, spec.id, epoch).tensors for each in (store, elsewhere))
        torch.testing.assert_close(kept, trained, rtol=0, atol=0)
        files = [each.read(model_path(spec.id, epoch)) for each in (store, elsewhere)]
        assert files[0] == files[1]
        assert checked_metadata(files[0], model_path(spec.id, epoch), "")["trial_id"] == spec.id
    store.delete(model_path(first.id))
    scores = [score_trial(spec, each, Execution()).metrics["accuracy"] for each in (store, elsewhere)]
    assert scores[0] == scores[1]


def test_a_chain_names_the_one_that_was_trained(make_spec: MakeSpec, store: Store, train: Train) -> None:
    first, second, third = (make_spec(ROTATION, f"data.labels={count}") for count in (40, 50, 60))
    train(first, store)
    taking(second, store, first)
    row, epochs = taking(third, store, second)
    assert (row.weights_of, epochs) == (first.id, [])


def test_a_milestone_that_the_other_has_not_is_trained_for(
    make_spec: MakeSpec, store: Store, elsewhere: Store, train: Train
) -> None:
    first, spec = make_spec(ROTATION), make_spec(ROTATION, "data.labels=50")
    train(first, store)
    row, epochs = taking(spec, store, first, 2)
    assert epochs == [0, 1]
    expected = train(spec, elsewhere, 2)
    assert same(row, expected)
    kept, trained = (read_model(each, spec.id, 2).tensors for each in (store, elsewhere))
    torch.testing.assert_close(kept, trained, rtol=0, atol=0)


@pytest.mark.parametrize("damage", [bytes.upper, lambda content: content[:-9], None], ids=["mark", "cut", "gone"])
def test_a_model_that_is_damaged_or_gone_is_not_taken(
    damage: Callable[[bytes], bytes] | None, make_spec: MakeSpec, store: Store, train: Train
) -> None:
    first, spec = make_spec(ROTATION), make_spec(ROTATION, "data.labels=50")
    donor = train(first, store)
    if damage is None:
        store.delete(model_path(first.id))
    else:
        store.write(model_path(first.id), damage(store.read(model_path(first.id))))
    row, epochs = taking(spec, store, first)
    assert epochs == [0, 1, 2, 3]
    assert (row.final_loss, row.weights_of) == (donor.final_loss, None)


def test_a_model_that_does_not_fit_is_not_taken(make_spec: MakeSpec, store: Store, train: Train) -> None:
    """As of a version whose parameters had other names."""
    first, spec = make_spec(ROTATION), make_spec(ROTATION, "data.labels=50")
    train(first, store)
    state = read_model(store, first.id)
    write_model(
        store, first, None, state._replace(tensors={f"old_{key}": value for key, value in state.tensors.items()})
    )
    row, epochs = taking(spec, store, first)
    assert (row.status, epochs, row.weights_of) == ("finished", [0, 1, 2, 3], None)


def test_a_kill_between_the_models_and_the_row_loses_nothing(
    make_spec: MakeSpec, store: Store, elsewhere: Store, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, spec = make_spec(ROTATION), make_spec(ROTATION, "data.labels=50")
    train(first, store, 2)
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "write_row", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            taking(spec, store, first, 2)
    store.delete(model_path(first.id, 2))
    row, epochs = taking(spec, store, first, 2)
    assert epochs == []
    assert same(row, train(spec, elsewhere, 2))


def test_a_row_that_could_not_be_probed_is_when_there_is_a_model(
    make_spec: MakeSpec, store: Store, elsewhere: Store, train: Train
) -> None:
    first, spec = make_spec(ROTATION), make_spec(ROTATION, "data.labels=50")
    donor = train(first, store)
    expected = train(spec, elsewhere)
    bare = donor.for_another(spec.id, spec.model_dump_json())
    assert bare.is_unprobed
    write_row(store, bare)
    retrained = train(spec, store)
    assert same(retrained, expected)
    store.delete(model_path(spec.id))
    write_row(store, bare)
    row, epochs = taking(spec, store, first)
    assert epochs == []
    assert same(row, expected)


def test_weights_that_are_no_number_end_it(make_spec: MakeSpec, store: Store, train: Train) -> None:
    first, spec = make_spec(ROTATION), make_spec(ROTATION, "data.labels=50")
    train(first, store)
    state = read_model(store, first.id)
    for value in state.tensors.values():
        if value.is_floating_point():
            value.fill_(float("nan"))
    write_model(store, first, None, state)
    row, _ = taking(spec, store, first)
    assert (row.status, row.reason) == ("diverged", "non-finite features after the last step")
    assert (row.final_loss, row.probe.get("accuracy")) == (None, None)


def _rank(spec: str, donor: str, folder: str) -> list[int]:
    epochs: list[int] = []
    store = Store.open(folder, create=False)
    trial = TrialSpec.model_validate_json(spec)
    run_trial(trial, store, Execution(), lambda epoch: epochs.append(epoch.epoch), weights_of=donor)
    return epochs


def test_of_two_ranks_one_measures(make_spec: MakeSpec, store: Store, elsewhere: Store, train: Train) -> None:
    first, spec = make_spec(ROTATION), make_spec(ROTATION, "data.labels=50")
    train(first, store)
    assert spawn(_rank, spec.model_dump_json(), first.id, store.uri) == [[], []]
    row = read_row(store, spec.id)
    assert row is not None
    assert row.weights_of == first.id
    assert same(row, train(spec, elsewhere))
