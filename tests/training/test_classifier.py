"""A linear classifier on a frozen backbone: computed once, and scored by itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysl.data.augment.views import identity
from raysl.data.storage import decoded_cache as data_arrays
from raysl.methods._method import Method, ViewSpec
from raysl.methods.supervised import Supervised
from raysl.probes import linear_svm
from raysl.results.records.features import read_features
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.training import classification
from raysl.training.building import build_method
from raysl.training.features import extract_features, pooled_features
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Loop
from raysl.training.model_file import read_model
from raysl.training.paths import model_path
from raysl.training.process import Execution
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec
from raysl.training.step_benchmark import measure

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]

FROZEN: dict[str, Any] = {"freeze": "backbone", "probe": "classifier"}


@pytest.fixture
def pretrained(make_spec: MakeSpec, store: Store, train: Train) -> str:
    """Return the id of a trial whose batch normalisation has statistics worth keeping."""
    spec = make_spec("stages.semi.epochs=2")
    train(spec, store)
    return spec.id


@pytest.fixture
def spec(make_spec: MakeSpec, pretrained: str) -> TrialSpec:
    return make_spec("data.attack={name: one_pixel}", stage="finetune", start=pretrained, **FROZEN)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the sizes of the batches that any backbone sees."""
    from raysl.models.encoder import Encoder

    seen: list[int] = []
    make = Encoder.__init__

    def counted(self: Encoder, backbone: Any, *arguments: Any, **options: Any) -> None:
        make(self, backbone, *arguments, **options)
        backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))

    monkeypatch.setattr(Encoder, "__init__", counted)
    return seen


def trained(store: Store, spec: TrialSpec) -> Method:
    method = build_method(spec, 1, store)
    method.load_state_dict(read_model(store, spec.id).tensors)
    return method.eval()


def in_pixels(spec: TrialSpec, images: np.ndarray) -> torch.Tensor:
    """Return images as a trained network takes them, normalised by hand."""
    arrays = data_arrays.load(spec.data)
    mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (arrays.mean, arrays.std))
    return (torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255 - mean) / std


def test_a_frozen_backbone_is_passed_once_and_gives_the_same_numbers(
    spec: TrialSpec, store: Store, train: Train, passes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = train(spec, store)
    assert passes == [40, 40]  # D_l for the three epochs, and for the check of the end
    other = Store.open(str(tmp_path / "other"), create=True)
    other.write(model_path(str(spec.start)), store.read(model_path(str(spec.start))))
    passes.clear()
    view = ViewSpec("labelled", lambda images, draw: identity(images, draw))
    monkeypatch.setattr(Supervised, "views", lambda self: {"labelled": view})
    slow = train(spec, other)
    assert passes == [20] * 6 + [40]
    assert [epoch.loss for epoch in row.curve] == pytest.approx([epoch.loss for epoch in slow.curve], rel=1e-4)
    fast, kept = (read_model(each, spec.id).tensors for each in (store, other))
    for name, value in kept.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-5)


def test_the_whole_stage_leaves_the_backbone_as_it_was(spec: TrialSpec, store: Store, train: Train) -> None:
    train(spec, store)
    before, after = (read_model(store, str(i)).tensors for i in (spec.start, spec.id))
    backbone = [name for name in before if name.startswith("encoder.backbone.")]
    assert any("running_var" in name for name in backbone)
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    assert not torch.equal(before["encoder.head.0.weight"], after["encoder.head.0.weight"])


def test_what_is_computed_once_is_of_the_images_that_are_trained_on(spec: TrialSpec, store: Store) -> None:
    """In eval mode, attacked, and image by image beside its own label."""
    loop = Loop(spec, store, Execution())
    loop.train_epoch(loop.wrapped())
    images, labels = loop.feed.labelled_images()
    with torch.no_grad():
        expected = loop.method.encoder.backbone.eval()(in_pixels(spec, images))
    assert loop.feed.pooled is not None
    torch.testing.assert_close(loop.feed.pooled, expected, rtol=1e-4, atol=1e-5)
    assert loop.feed.pooled.dtype == torch.float32
    batch = next(iter(loop.feed.batches(1, 0, 1)))
    (view,) = loop.feed.make_views(batch, 1).values()
    rows = batch.rows["labelled"]
    torch.testing.assert_close(view.images, expected[rows], rtol=1e-4, atol=1e-5)
    assert view.labels is not None
    assert view.labels.tolist() == labels[rows].tolist()


def test_bf16_computes_the_backbone_in_fp32(spec: TrialSpec, store: Store) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        loop = Loop(spec.model_copy(update={"precision": precision}), store, Execution())
        losses.append(loop.train_epoch(loop.wrapped()).loss)
        assert loop.feed.pooled is not None
        assert loop.feed.pooled.dtype == torch.float32
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize("case", ["not frozen", "augmented", "unlabelled"])
def test_other_trials_pass_the_backbone_in_every_epoch(
    spec: TrialSpec, make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    if case == "not frozen":
        spec = spec.model_copy(update={"freeze": "none"})
    elif case == "unlabelled":
        spec = make_spec(freeze="backbone")
    else:
        view = ViewSpec("labelled", lambda images, draw: (images + draw.normal().view(-1, 1, 1, 1), None))
        monkeypatch.setattr(Supervised, "views", lambda self: {"labelled": view})
    loop = Loop(spec, store, Execution())
    loop.train_epoch(loop.wrapped())
    assert loop.feed.pooled is None
    batch = next(iter(loop.feed.batches(0, 0, 1)))
    assert all(view.images.dim() == 4 for view in loop.feed.make_views(batch, 0).values())


@pytest.mark.parametrize("views", ["crop_flip", "distorted"])
def test_a_frozen_backbone_passes_new_crops_in_every_epoch_in_eval_mode(
    make_spec: MakeSpec, pretrained: str, store: Store, train: Train, passes: list[int], views: str
) -> None:
    """Nothing is computed once, the backbone learns nothing, and its classifier is scored on whole images."""
    spec = make_spec(f"stages.finetune.method.views={views}", stage="finetune", start=pretrained, **FROZEN)
    train(spec, store)
    assert passes == [20] * 6 + [40]
    before, after = (read_model(store, str(i)).tensors for i in (pretrained, spec.id))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("encoder.backbone."))
    loop = Loop(spec, store, Execution())
    batches = [next(iter(loop.feed.batches(0, 0, 1))), next(iter(loop.feed.batches(0, 0, 1)))]
    first, second = (loop.feed.make_views(batch, epoch)["labelled"] for epoch, batch in enumerate(batches))
    assert not torch.equal(first.images, second.images)
    assert first.labels is not None
    assert second.labels is not None
    assert torch.equal(first.labels, second.labels)
    images, labels = loop.feed.labelled_images()
    rows = batches[0].rows["labelled"]
    assert torch.equal(first.labels, torch.from_numpy(labels[rows]))
    assert not torch.equal(first.images, in_pixels(spec, images[rows]))
    tests, truth = data_arrays.load_test(spec.data)
    with torch.no_grad():
        predicted = trained(store, spec).classify(in_pixels(spec, tests)).argmax(1).numpy()
    score = score_trial(spec, store, Execution())
    assert score.metrics["accuracy"] == pytest.approx(float(np.mean(predicted == truth)), abs=0.0021)


def test_a_rank_without_images_has_features_of_none(spec: TrialSpec, store: Store) -> None:
    loop = Loop(spec, store, Execution())
    images, _ = loop.feed.labelled_images()
    width = pooled_features(loop.method.encoder, images[:2], loop.feed.normalise).shape[1]
    assert pooled_features(loop.method.encoder, images[:0], loop.feed.normalise).shape == (0, width)


def test_a_frozen_trial_costs_few_passes(spec: TrialSpec, store: Store, passes: list[int]) -> None:
    loop_steps = 2
    cost = measure(spec, store, Execution(), loop_steps)
    assert (cost.steps, len(passes)) == (2, 2)
    assert cost.seconds > 0


@pytest.mark.parametrize("freeze", ["backbone", "none"])
def test_the_classifier_is_scored_by_itself(spec: TrialSpec, store: Store, train: Train, freeze: str) -> None:
    spec = spec.model_copy(update={"epochs": 30, "freeze": freeze})
    row = train(spec, store)
    assert (row.status, row.probe.get("accuracy")) == ("finished", None)
    score = score_trial(spec, store, Execution(), keep_features=True)
    assert score.probe == '{"classifier": true}'
    images, labels = data_arrays.load_test(spec.data)
    method = trained(store, spec)
    with torch.no_grad():
        predicted = method.classify(in_pixels(spec, images)).argmax(1).numpy()
    assert score.num_test == len(labels) == 500
    assert score.metrics["accuracy"] == pytest.approx(float(np.mean(predicted == labels)), abs=0.0021)
    assert score.metrics["accuracy"] > 0.15
    found = read_features(store, spec.id)
    assert float(np.mean(found.predicted == found.labels)) == score.metrics["accuracy"]
    normalise = Feed(spec, {}, torch.device("cpu")).normalise
    assert np.array_equal(found.features, extract_features(method.encoder, images, normalise))


def test_the_classifier_is_no_svm(spec: TrialSpec, store: Store, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    train(spec, store)

    def fitted(*arguments: object) -> None:
        raise AssertionError("an SVM is fitted")

    monkeypatch.setattr(linear_svm, "_fit", fitted)
    assert score_trial(spec, store, Execution()).probe == '{"classifier": true}'


def test_features_are_not_taken_to_end_a_classifier(
    spec: TrialSpec, store: Store, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*arguments: object) -> None:
        raise AssertionError("features are taken")

    monkeypatch.setattr(classification, "extract_features", taken)
    assert train(spec, store).status == "finished"


def test_the_check_of_the_end_leaves_a_fine_tuned_model_as_it_was(spec: TrialSpec, store: Store, train: Train) -> None:
    spec = spec.model_copy(update={"freeze": "none"})
    train(spec, store)
    loop = Loop(spec, store, Execution())
    for _ in range(spec.epochs):
        loop.train_epoch(loop.wrapped())
    kept = read_model(store, spec.id).tensors
    torch.testing.assert_close(dict(loop.method.state_dict()), dict(kept), rtol=0, atol=0)


def test_a_classifier_that_explodes_in_the_last_step_is_diverged(spec: TrialSpec, store: Store, train: Train) -> None:
    wild = spec.optimizer.model_copy(update={"lr": 1e38})
    row = train(spec.model_copy(update={"optimizer": wild, "epochs": 1, "batch_size": 40}), store)
    assert np.isfinite(row.curve[-1].loss)
    assert (row.status, row.final_loss, row.reason) == ("diverged", None, "non-finite logits after the last step")
    assert not store.exists(model_path(spec.id))
