"""What is probed, scored, kept and started from is what a method says: here, averaged weights beside trained ones."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from raysl.data.storage import decoded_cache as data_arrays
from raysl.methods import supervised
from raysl.methods._method import Evaluation, Step
from raysl.methods.supervised import Supervised
from raysl.models.ema import Buffers, average_of, update_average
from raysl.models.encoder import Encoder
from raysl.probes import linear_svm
from raysl.results.records.features import read_features
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.training import checkpoint
from raysl.training.building import build_method, trained_method
from raysl.training.input_pipeline import Feed
from raysl.training.model_file import read_model
from raysl.training.paths import earlier_model_path, model_path
from raysl.training.process import Execution
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
MOMENTUM = 0.75
CLASSIFIER = {"probe": "classifier"}
NOTHING: Mapping[str, Any] = {"epochs": 0, "batch_size": 0, "optimizer": None, "method": {"name": "frozen"}}


class Averaged(Supervised):
    """Supervised training that is evaluated by averages of its weights."""

    buffers: ClassVar[Buffers] = "averaged"
    trained: ClassVar[list[dict[str, Tensor]]] = []  # the state after each step, before the average moves

    def __init__(self, encoder: Encoder, num_classes: int, *, views: Any = "none") -> None:
        super().__init__(encoder, num_classes, views=views)
        self.average, self.average_classifier = average_of(encoder), average_of(self.classifier)

    def evaluation(self) -> Evaluation:
        return Evaluation(self.average, self.average_classifier)

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.trained.append({key: value.detach().clone() for key, value in self.state_dict().items()})
        averages, modules = (self.average, self.average_classifier), (self.encoder, self.classifier)
        update_average(averages, modules, 1 - MOMENTUM, self.buffers)


@pytest.fixture(autouse=True)
def averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    Averaged.trained.clear()
    monkeypatch.setattr(supervised, "Supervised", Averaged)


@pytest.fixture
def spec(make_spec: MakeSpec) -> TrialSpec:
    """Return a trial of three epochs of two steps."""
    return make_spec("stages.finetune.optimizer.lr=0.1", stage="finetune", start=None)


def weights(store: Store, spec: TrialSpec, epoch: int | None = None) -> dict[str, Tensor]:
    state: dict[str, Tensor] = read_model(store, spec.id, epoch).tensors
    return state


def part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def by_hand(store: Store, spec: TrialSpec, images: np.ndarray, *, trained: bool = False) -> tuple[Tensor, Tensor]:
    """Return the features and logits of a kept model's averaged weights, or of those that were trained."""
    method = build_method(spec.model_copy(update={"start": None}), 1, store)
    assert isinstance(method, Averaged)
    names = ("encoder", "classifier") if trained else ("average", "average_classifier")
    for module, name in zip((method.encoder, method.classifier), names, strict=True):
        module.load_state_dict(part(weights(store, spec), name))
    normalise = Feed(spec, {}, torch.device("cpu")).normalise
    with torch.no_grad():
        features = method.eval().encoder(normalise(normalise.to_float(np.array(images))))
        return features, method.classifier(features)


def test_the_average_is_of_the_weights_that_were_trained(spec: TrialSpec, store: Store, train: Train) -> None:
    train(spec, store)
    assert len(Averaged.trained) == 6
    kept, seen = weights(store, spec), Averaged.trained
    for name, average in (("encoder", "average"), ("classifier", "average_classifier")):
        for key, value in part(kept, average).items():
            past = [state[f"{name}.{key}"] for state in seen]
            if not value.is_floating_point():
                assert torch.equal(value, past[-1])
                continue
            # w'_n = m^n w'_0 + (1 - m) sum_k m^(n - k) w_k
            expected = MOMENTUM ** len(past) * seen[0][f"{average}.{key}"]
            expected = expected + sum((1 - MOMENTUM) * MOMENTUM ** (5 - k) * weight for k, weight in enumerate(past))
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)
            assert not torch.equal(value, past[-1])


def test_the_classifier_that_is_scored_is_the_averaged_one(spec: TrialSpec, store: Store, train: Train) -> None:
    spec = spec.model_copy(update=CLASSIFIER)
    train(spec, store)
    score = score_trial(spec, store, Execution(), keep_features=True)
    images, labels = data_arrays.load_test(spec.data)
    features, logits = by_hand(store, spec, images)
    found = read_features(store, spec.id)
    np.testing.assert_allclose(found.features, features.numpy(), rtol=1e-4, atol=1e-5)
    assert np.mean(found.predicted == logits.argmax(1).numpy()) > 0.99
    assert score.metrics["accuracy"] == np.mean(found.predicted == labels)
    raw, others = by_hand(store, spec, images, trained=True)
    assert not np.allclose(found.features, raw.numpy(), rtol=0.01, atol=0.01)
    assert np.mean(found.predicted == others.argmax(1).numpy()) < 0.99


def test_probes_measure_the_features_of_the_average(spec: TrialSpec, store: Store, train: Train) -> None:
    row = train(spec, store)
    images, labels = Feed(spec, {}, torch.device("cpu")).labelled_images()
    settings, seed = spec.probes.linear_svm, spec.stream_seed("split")
    accuracies = [
        linear_svm.cross_validated_accuracy(features.numpy(), labels, settings, seed)
        for features, _ in (by_hand(store, spec, images), by_hand(store, spec, images, trained=True))
    ]
    assert row.probe.get("accuracy") == accuracies[0]
    score = score_trial(spec, store, Execution())
    tests, truth = data_arrays.load_test(spec.data)
    fitted = linear_svm.predictions(
        by_hand(store, spec, images)[0].numpy(), labels, by_hand(store, spec, tests)[0].numpy(), settings
    )
    assert score.metrics["accuracy"] == pytest.approx(float(np.mean(fitted == truth)), abs=0.0041)


@pytest.mark.parametrize("epoch", [None, 2])
def test_a_later_trial_starts_from_the_average(
    spec: TrialSpec, make_spec: MakeSpec, store: Store, train: Train, epoch: int | None
) -> None:
    train(spec, store, 2)
    kept = weights(store, spec, epoch)
    changes: list[dict[str, Any]] = [{}, {**NOTHING}, {"freeze": "backbone"}]
    for more in changes:
        later = make_spec(stage="finetune", start=spec.id, start_epoch=epoch, **more)
        found = dict(build_method(later, 1, store).encoder.state_dict())
        torch.testing.assert_close(found, part(kept, "average"), rtol=0, atol=0)
    assert not torch.equal(kept["average.head.0.weight"], kept["encoder.head.0.weight"])


def test_a_trial_that_trains_nothing_measures_the_average(spec: TrialSpec, store: Store, train: Train) -> None:
    row = train(spec, store)
    frozen = TrialSpec.model_validate(spec.model_copy(update={**NOTHING, "start": spec.id}).model_dump())
    assert train(frozen, store).probe.get("accuracy") == row.probe.get("accuracy")
    scores = [score_trial(each, store, Execution()).metrics["accuracy"] for each in (spec, frozen)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("buffers", ["own", "copied", "averaged"])
def test_a_killed_trial_goes_on_with_its_average(
    spec: TrialSpec,
    tmp_path: Path,
    train: Train,
    kill: Callable[..., None],
    buffers: Buffers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Averaged, "buffers", buffers)
    whole, killed = (Store.open(str(tmp_path / name), create=True) for name in ("whole", "killed"))
    undisturbed = train(spec, whole)
    kill(spec, killed, 2)
    resumed = train(spec, killed)
    assert (resumed.final_loss, resumed.probe) == (
        undisturbed.final_loss,
        undisturbed.probe,
    )
    torch.testing.assert_close(weights(killed, spec), weights(whole, spec), rtol=0, atol=0)


def test_a_frozen_backbone_is_that_of_the_average_too(
    spec: TrialSpec, make_spec: MakeSpec, store: Store, train: Train
) -> None:
    train(spec, store)
    later = make_spec(stage="finetune", start=spec.id, freeze="backbone", **CLASSIFIER)
    train(later, store)
    before, after = part(weights(store, spec), "average"), weights(store, later)
    for name in ("encoder", "average"):
        kept = {key: value for key, value in part(after, name).items() if key.startswith("backbone.")}
        torch.testing.assert_close(kept, {key: before[key] for key in kept}, rtol=0, atol=0)
    assert not torch.equal(after["average_classifier.weight"], after["classifier.weight"])


def test_weights_that_are_no_number_end_the_trial(spec: TrialSpec, store: Store, train: Train) -> None:
    assert spec.optimizer is not None
    wild = spec.optimizer.model_copy(update={"lr": 1e38})
    row = train(spec.model_copy(update={"optimizer": wild, "epochs": 1, "batch_size": 40}), store)
    assert math.isfinite(row.curve[-1].loss)
    assert (row.status, row.reason) == ("diverged", "non-finite features after the last step")


def test_models_that_do_not_say_what_is_evaluated_are_started_from_as_they_were(
    spec: TrialSpec, make_spec: MakeSpec, store: Store, train: Train
) -> None:
    train(spec, store)
    state = {"id": spec.id, "method": read_model(store, spec.id).tensors}
    store.delete(model_path(spec.id))
    checkpoint.save(store, earlier_model_path(spec.id), state)
    found = build_method(make_spec(stage="finetune", start=spec.id), 1, store).encoder.state_dict()
    torch.testing.assert_close(dict(found), part(state["method"], "encoder"), rtol=0, atol=0)


def test_a_kept_model_is_evaluated_as_it_was_trained(spec: TrialSpec, store: Store, train: Train) -> None:
    train(spec, store)
    method = trained_method(spec, store)
    torch.testing.assert_close(dict(method.evaluation().encoder.state_dict()), part(weights(store, spec), "average"))
