"""What decides a trial's weights, and which trained trial saves another its training."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import of_stages, write

from raysl.config import load
from raysl.data.settings import TrialData
from raysl.results.records.code import Code
from raysl.results.records.rows import Epoch, Status, TrialRow, write_row
from raysl.results.storage.store import Store
from raysl.search.shared_weights import SharedWeights
from raysl.search.trials import Trial, expand
from raysl.sources import deciding, method_names
from raysl.training.model_file import ModelState, write_model
from raysl.training.paths import model_path
from raysl.training.spec import TrialSpec

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)
PRETEXT = ["stages.semi.method={name: rotation}"]

# Of each field of a spec, and of its data: other values.  What a field of neither list is, a test asks for.
MEASURED: dict[str, Any] = {"probe": "knn", "probes": {"linear_svm": {"C": 10.0}}}
UNSEEN: dict[str, Any] = {"labels": 50, "draw": "uniform", "attack": {"name": "one_pixel"}}
DECIDING: dict[str, Any] = {
    "model": {"backbone": "small_resnet", "features": 32},
    "method": {"name": "simclr", "projector": 8, "tau": 0.5},
    "optimizer": {"name": "adam", "lr": 0.5},
    "schedule": {"name": "cosine"},
    "epochs": 5,
    "batch_size": 16,
    "steps_per_epoch": 3,
    "unlabelled_ratio": 2,
    "precision": "bf16",
    "start": "f" * 16,
    "start_epoch": 1,
    "freeze": "backbone",
    "fold": {"number": 1, "of": 4},
    "seed": 7,
    "streams": {"split": 3},
}
SEEN: dict[str, Any] = {
    "image_size": 16,
    "channels": 3,
    "train_fraction": 0.5,
    "unlabelled": 100,
    "digest": "e" * 32,
    "num_classes": 9,
    "decoding": 2,
    "masks": True,
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., list[Trial]]:
    """Return what gives the trials of the tiny experiment's first stage, of one config and two seeds."""

    def made(*overrides: str, extreme: bool = False) -> list[Trial]:
        experiment = load(write(tmp_path), overrides=["stages.semi.optimizer.lr=1e-3", *overrides])
        stage = experiment.stages[0]
        configs = stage.extremes[:1] if extreme else None
        return list(expand(experiment, stage, of_stages(experiment, DATA), {}, configs))

    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "results"), create=True)


def proposed(make: Callable[..., list[Trial]], *overrides: str) -> Trial:
    """Return a trial of a search that proposes its configs."""
    return make(*overrides, "stages.semi.optimizer.lr={loguniform: [1e-4, 1e-2]}", extreme=True)[0]


def row_of(trial: Trial, status: Status = "finished", **changes: Any) -> TrialRow:
    """Return the row of a trial that this code has trained."""
    code = Code(dict(deciding(method_names(trial.spec.method))), None).digest
    row = TrialRow(
        trial_id=trial.spec.id, status=status, reason="", method=str(trial.spec.method["name"]), seed=trial.spec.seed,
        final_loss=0.5, probe={"accuracy": 0.25}, epochs=4, num_parameters=1, seconds=1.0, started_at=0.0,
        finished_at=1.0, workers=1, device="cpu", raysl_version="", torch_version="", curve=(),
        spec=trial.spec.model_dump_json(),
        code=code,
    )  # fmt: skip
    return replace(row, **changes)


def trained(store: Store, trial: Trial, status: Status = "finished", *, model: bool = True) -> TrialRow:
    row = row_of(trial, status)
    if model:
        write_model(store, trial.spec, None, ModelState({}, "encoder"))
    write_row(store, row)
    return row


def changed(spec: TrialSpec, key: str, value: Any) -> TrialSpec:
    facts = spec.model_dump()
    (facts["data"] if key in UNSEEN | SEEN else facts)[key] = value
    return TrialSpec.model_validate(facts)


@pytest.mark.parametrize("key", [*MEASURED, *UNSEEN, *DECIDING, *SEEN])
@pytest.mark.parametrize("sees_labels", [False, True])
def test_every_field_decides_the_weights_or_does_not(
    key: str, sees_labels: bool, make: Callable[..., list[Trial]]
) -> None:
    spec = make(*([] if sees_labels else PRETEXT))[0].spec
    other = changed(spec, key, (MEASURED | UNSEEN | DECIDING | SEEN)[key])
    start = "0" * 16 if key == "start" else None
    is_same = key in MEASURED or (key in UNSEEN and not sees_labels)
    assert other.id != spec.id
    assert (other.weights_id(start) == spec.weights_id(None)) is is_same


def test_no_field_is_left_out() -> None:
    assert {*MEASURED, *DECIDING, "data"} == set(TrialSpec.model_fields)
    assert {*UNSEEN, *SEEN, "source"} == set(TrialData.model_fields)


def test_what_it_starts_from_decides_by_its_weights(store: Store, make: Callable[..., list[Trial]]) -> None:
    first, same, other = make()[0], make("probes.linear_svm.C=10")[0], make("stages.semi.epochs=5")[0]
    for trial in (first, same, other):
        trained(store, trial)
    weights = SharedWeights(store)
    later = [make()[0].spec.model_copy(update={"start": trial.spec.id}) for trial in (first, same, other)]
    names = [weights.id_of(spec) for spec in later]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("status", "losses", "lasts"),
    [
        ("finished", [0.5], True),
        ("collapsed", [0.5], True),
        ("diverged", [0.5, math.inf], True),
        ("diverged", [0.5, math.nan], True),
        ("diverged", [0.5], False),  # what it was measured by was no number
        ("diverged", [], False),
        ("stopped", [0.5], False),
        ("failed", [], False),
    ],
)
def test_what_would_end_so_again_is_taken(
    status: Status, losses: list[float], lasts: bool, store: Store, make: Callable[..., list[Trial]]
) -> None:
    curve = tuple(Epoch(number, 0.1, loss, {}, 1.0) for number, loss in enumerate(losses))
    write_row(store, row_of(make()[0], status, curve=curve))
    found = SharedWeights(store).donor(make("probes.linear_svm.C=10")[0])
    assert (found is not None) is lasts


def test_milestones_are_taken_or_trained_for_by_the_same_code(store: Store, make: Callable[..., list[Trial]]) -> None:
    donor = trained(store, make()[0])
    wanted = make("probes.linear_svm.C=10", "stages.semi.milestones=[1, 2]")[0]
    needing = replace(wanted, needs_probe=True)
    assert SharedWeights(store).donor(needing) is not None
    write_row(store, replace(donor, code="0" * 16))
    for trial in (wanted, needing):
        assert SharedWeights(store).donor(trial) is None
    for epoch in (1, 2):
        write_model(store, make()[0].spec, epoch, ModelState({}, "encoder"))
    assert SharedWeights(store).donor(needing) is not None
    assert SharedWeights(store, own_code=True).donor(needing) is None
    store.delete(model_path(donor.trial_id))
    assert SharedWeights(store).donor(wanted) is None


def test_a_model_is_needed_where_the_probe_accuracy_is(store: Store, make: Callable[..., list[Trial]]) -> None:
    first, second = make()[0], make("probes.linear_svm.C=10")[0]
    trained(store, first, model=False)
    wanted = make("probes.linear_svm.C=100")[0]
    assert not wanted.needs_probe
    assert make("stages.semi.select=probe_accuracy")[0].needs_probe
    search = "{algorithm: optuna, num_configs: 2, objectives: [train_loss, probe_accuracy]}"
    assert proposed(make, f"stages.semi.search={search}").needs_probe
    assert not proposed(make, "stages.semi.search={algorithm: optuna, num_configs: 2}").needs_probe
    assert SharedWeights(store).donor(wanted) is not None
    assert SharedWeights(store).donor(replace(wanted, needs_probe=True)) is None
    trained(store, second)
    for trial in (wanted, replace(wanted, needs_probe=True)):
        found = SharedWeights(store).donor(trial)
        assert found is not None
        assert found.trial_id == second.spec.id


def test_its_own_row_another_seed_and_what_may_be_stopped_early_are_no_help(
    store: Store, make: Callable[..., list[Trial]]
) -> None:
    first, seed = make()
    trained(store, first)
    weights = SharedWeights(store)
    assert weights.donor(first) is None
    assert weights.donor(seed) is None
    raced = make("probes.linear_svm.C=10", "stages.semi.stop={scheduler: asha}")[0]
    assert weights.donors(raced.spec)
    assert weights.donor(raced) is None


def test_rows_of_an_earlier_version_or_of_nothing_are_no_help(store: Store, make: Callable[..., list[Trial]]) -> None:
    first, wanted = make()[0], make("probes.linear_svm.C=10")[0]
    lost = first.spec.model_copy(update={"method": {"name": "gone"}})
    unknown = first.spec.model_copy(update={"method": {}})
    for spec in (
        "{}",
        "no json",
        lost.model_dump_json(),
        unknown.model_dump_json(),
        first.spec.model_copy(update={"epochs": 9}).model_dump_json(),
    ):
        write_row(store, row_of(first, spec=spec))
        assert SharedWeights(store).donor(wanted) is None


def test_a_start_of_a_method_that_is_gone_is_no_fault(store: Store, make: Callable[..., list[Trial]]) -> None:
    first = make()[0]
    lost = first.spec.model_copy(update={"method": {"name": "gone"}})
    write_row(store, replace(row_of(first), trial_id=lost.id, spec=lost.model_dump_json(), method="gone"))
    later = replace(first, spec=first.spec.model_copy(update={"start": lost.id}))
    write_row(store, row_of(later))
    assert SharedWeights(store).donor(make("probes.linear_svm.C=10")[0]) is None
    assert SharedWeights(store).donors(later.spec.model_copy(update={"probe": "knn"})) != []


def test_what_ends_meanwhile_is_seen(store: Store, make: Callable[..., list[Trial]]) -> None:
    first, wanted = make()[0], make("probes.linear_svm.C=10")[0]
    weights = SharedWeights(store)
    assert weights.donor(wanted) is None
    row = trained(store, first)
    assert weights.donor(wanted) is None
    weights.add([row])
    assert weights.donor(wanted) == row
    store.delete(f"rows/{first.spec.id}.parquet")
    weights.refresh()
    assert weights.donor(wanted) is None
