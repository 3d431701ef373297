"""Criteria are measured of trained weights on unlabelled training images alone, with one rank and two, once."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gloo import spawn

from raysl.criteria.criterion_dispatch import OF_VIEWS, value
from raysl.data.augment.siamese import distorted
from raysl.data.augment.views import Draw
from raysl.data.storage import decoded_cache
from raysl.data.storage.decoded_cache import load
from raysl.results.criteria import CRITERION_NAMES
from raysl.results.records.rows import TrialRow, read_row, read_rows, write_row
from raysl.results.storage.store import Store
from raysl.training import label_free
from raysl.training.building import trained_method
from raysl.training.features import extract_features
from raysl.training.input_pipeline import Feed
from raysl.training.label_free import MOST_VIEWED, VIEWS, measure
from raysl.training.model_file import read_model, write_model
from raysl.training.paths import model_path
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec
from raysl.training.trial import run_trial

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
SIMCLR = "stages.semi.method={name: simclr, projector: 8}"
ALL = Execution(criteria=CRITERION_NAMES)
CPU = torch.device("cpu")


def run(spec: TrialSpec, store: Store, execution: Execution = ALL, **options: Any) -> tuple[TrialRow, list[int]]:
    """Run a trial; return its row and the epochs that it has trained."""
    epochs: list[int] = []
    row = run_trial(spec, store, execution, lambda epoch: epochs.append(epoch.epoch), **options)
    assert row is not None
    return row, epochs


def measured(spec: TrialSpec, store: Store, feed: Feed | None = None) -> Mapping[str, float | None]:
    method = trained_method(spec, store)
    method.to(CPU, memory_format=torch.channels_last)  # type: ignore[call-overload]  # which decides the rounding
    ending, found = measure(method, feed or Feed(spec, method.views(), CPU), CRITERION_NAMES)
    assert ending is None
    return found


def test_all_are_measured_and_kept_in_the_row(make_spec: MakeSpec, store: Store) -> None:
    spec = make_spec(SIMCLR)
    row, _ = run(spec, store)
    assert list(row.criteria) == list(CRITERION_NAMES)
    assert all(isinstance(found, float) and np.isfinite(found) for found in row.criteria.values())
    assert read_row(store, spec.id) == row == read_rows(store)[spec.id]
    assert measured(spec, store) == row.criteria  # of the evaluation weights that are kept


def test_features_are_those_of_the_encoder_on_unlabelled_images(make_spec: MakeSpec, store: Store) -> None:
    spec = make_spec(SIMCLR)
    row, _ = run(spec, store)
    method = trained_method(spec, store)
    feed = Feed(spec, method.views(), CPU)
    unlabelled = feed.arrays.unlabelled[feed.unlabelled]
    features = extract_features(method.evaluation().encoder, unlabelled, feed.normalise)
    for name in ("rankme", "alpha_req", "uniformity"):  # whatever the order of images
        assert row.criteria[name] == pytest.approx(value(name, features, 10), rel=1e-4)


def test_the_time_to_measure_is_that_of_all_images_and_views(
    make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that counts images: each of the plain and of the distorted ones takes a second."""
    spec = make_spec(SIMCLR)
    run(spec, store)
    method = trained_method(spec, store)
    feed = Feed(spec, method.views(), CPU)
    clock = [0.0]

    def counted(image: torch.nn.Module, images: tuple[torch.Tensor, ...], *_: object) -> None:
        clock[0] += len(images[0])

    method.evaluation().encoder.register_forward_hook(counted)
    monkeypatch.setattr(label_free.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(label_free, "FEATURE_BATCH", 32)
    assert len(label_free._images(feed)) == 64
    for names in (("rankme",), CRITERION_NAMES):
        before = clock[0]
        measure(method, feed, names)
        needed = clock[0] - before
        before = clock[0]
        assert label_free.seconds_to_measure(method, feed, names) == pytest.approx(needed)
        assert clock[0] - before <= 32 * 3, "of one batch"


def test_no_label_and_no_test_image_is_read(make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(SIMCLR)
    run(spec, store)
    expected = measured(spec, store)
    method = trained_method(spec, store)
    feed = Feed(spec, method.views(), CPU)

    def sealed(*_: object) -> None:
        raise AssertionError("the test set is read")

    for name in ("load_test", "load_test_masks"):
        monkeypatch.setattr(decoded_cache, name, sealed)
    labels = np.random.default_rng(0).permutation(feed.arrays.labels)
    assert (labels != feed.arrays.labels).any()
    permuted = replace(feed.arrays, labels=labels)
    assert measured(spec, store, Feed(spec, method.views(), CPU, permuted)) == expected
    images = feed.arrays.unlabelled.copy()
    images[feed.unlabelled[::2]] //= 3
    other = measured(spec, store, Feed(spec, method.views(), CPU, replace(feed.arrays, unlabelled=images)))
    assert all(other[name] != expected[name] for name in CRITERION_NAMES if name != "ami")


@pytest.mark.parametrize("change", ["data.labels=60", "stages.semi.probe=knn"])
def test_other_labels_and_another_probe_change_nothing(make_spec: MakeSpec, store: Store, change: str) -> None:
    first, other = make_spec(SIMCLR), make_spec(SIMCLR, change)
    assert run(first, store)[0].criteria == run(other, store)[0].criteria


def test_views_are_of_each_image_and_the_same_for_other_weights(make_spec: MakeSpec, store: Store) -> None:
    spec = make_spec(SIMCLR)
    seen = []

    class Seen(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images.flatten(1)

    run(spec, store)
    method = trained_method(spec, store)
    feed = Feed(spec, method.views(), CPU)
    images = label_free._images(feed)
    features = label_free._view_features(Seen(), images, feed)  # type: ignore[arg-type]
    assert features.shape == (VIEWS, 64, 64)  # of 64 images, each of 64 pixels
    draw = Draw(spec.stream_seed("augmentation"), 0, 3, "criteria", np.arange(64), 64)
    views, _ = distorted(feed.normalise.to_float(images), draw, min_crop=0.2, saturation=0.4, p_blur=0, p_solarise=0)
    assert features[3] == pytest.approx(feed.normalise(views).flatten(1).numpy(), abs=1e-6)
    assert not np.allclose(features[0], features[1])


def test_images_are_drawn_by_the_seed_and_at_most_so_many(
    make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_VIEWED <= label_free.MOST_IMAGES == 2048
    monkeypatch.setattr(label_free, "MOST_IMAGES", 50)
    found = {}
    for seed in (0, 1):
        spec = make_spec(SIMCLR, seed=seed)
        feed = Feed(spec, {}, CPU)
        found[seed] = label_free._images(feed)
        rows = {bytes(image) for image in feed.arrays.unlabelled[feed.unlabelled]}
        assert len(found[seed]) == 50
        assert {bytes(image) for image in found[seed]} <= rows
        assert (found[seed] == label_free._images(Feed(spec, {}, CPU))).all()
    assert (found[0] != found[1]).any()


def test_a_finished_trial_is_measured_without_training(make_spec: MakeSpec, store: Store) -> None:
    spec = make_spec(SIMCLR)
    plain, _ = run(spec, store, Execution())
    assert plain.criteria == {}
    part, epochs = run(spec, store, Execution(criteria=("ami",)))
    whole, more = run(spec, store)
    assert (epochs, more) == ([], [])
    assert replace(whole, criteria={}) == plain
    assert part.criteria == {"ami": whole.criteria["ami"]}
    assert whole.criteria == measured(spec, store)
    assert read_row(store, spec.id) == whole
    assert run(spec, store, Execution(criteria=("ami",))) == (whole, [])  # none is lost


def test_a_value_that_is_there_is_not_measured_again(make_spec: MakeSpec, store: Store) -> None:
    spec = make_spec(SIMCLR)
    row, _ = run(spec, store)
    write_row(store, replace(row, criteria={"rankme": 7.0, "ami": None}))
    known, epochs = run(spec, store)
    assert (known.criteria["rankme"], known.criteria["ami"], epochs) == (7.0, None, [])
    assert known.criteria["lidar"] == row.criteria["lidar"]


def test_a_trial_whose_model_is_gone_is_trained_again_and_keeps_its_numbers(make_spec: MakeSpec, store: Store) -> None:
    spec = make_spec(SIMCLR)
    plain, _ = run(spec, store, Execution())
    store.delete(model_path(spec.id))
    row, epochs = run(spec, store)
    assert epochs == [0, 1, 2, 3]
    assert replace(row, criteria={}) == plain
    assert row.criteria == measured(spec, store)
    assert read_row(store, spec.id) == row


def test_a_trial_whose_model_does_not_fit_is_trained_again(make_spec: MakeSpec, store: Store) -> None:
    """As of a version whose parameters had other names."""
    spec = make_spec(SIMCLR)
    run(spec, store, Execution())
    state = read_model(store, spec.id)
    renamed = {f"old_{key}": tensor for key, tensor in state.tensors.items()}
    write_model(store, spec, None, state._replace(tensors=renamed))
    row, epochs = run(spec, store)
    assert epochs == [0, 1, 2, 3]
    assert row.criteria == measured(spec, store)


def test_a_trial_with_the_weights_of_another_has_its_criteria(make_spec: MakeSpec, store: Store) -> None:
    first, second, third = (make_spec(SIMCLR, f"data.labels={count}") for count in (40, 50, 60))
    donor, _ = run(first, store)
    row, epochs = run(second, store, weights_of=first.id)
    assert (row.criteria, epochs, row.weights_of) == (donor.criteria, [], first.id)
    write_row(store, replace(donor, criteria={}))
    assert run(third, store, weights_of=first.id)[0].criteria == donor.criteria  # measured anew


def test_features_that_are_no_numbers_end_a_trial_and_no_finished_one(make_spec: MakeSpec, store: Store) -> None:
    spec = make_spec(SIMCLR)
    plain, _ = run(spec, store, Execution())
    state = read_model(store, spec.id)
    for tensor in state.tensors.values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
    write_model(store, spec, None, state)
    method = trained_method(spec, store)
    ending, found = measure(method, Feed(spec, method.views(), CPU), CRITERION_NAMES)
    assert ending is not None
    assert (ending.status, found) == ("diverged", {})
    row, epochs = run(spec, store)
    assert (row, epochs) == (replace(plain, criteria=dict.fromkeys(CRITERION_NAMES)), [])


def test_nothing_is_measured_that_nobody_asks_for(
    make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_free, "extract_features", lambda *_: pytest.fail("features are extracted"))
    assert run(make_spec(SIMCLR), store, Execution())[0].status == "finished"
    monkeypatch.undo()
    monkeypatch.setattr(label_free, "_view_features", lambda *_: pytest.fail("views are made"))
    wanted = tuple(name for name in CRITERION_NAMES if name not in OF_VIEWS)
    assert set(run(make_spec(SIMCLR), store, Execution(criteria=wanted))[0].criteria) == {*wanted}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_in_any_precision_is_measured_in_full_precision(
    make_spec: MakeSpec, store: Store, precision: str
) -> None:
    spec = make_spec(SIMCLR, f"stages.semi.precision={precision}")
    row, _ = run(spec, store)
    features = extract_features(
        trained_method(spec, store).evaluation().encoder, load(spec.data).images[:8], Feed(spec, {}, CPU).normalise
    )
    assert features.dtype == np.float32
    assert row.criteria == measured(spec, store)


@pytest.mark.parametrize("method", ["supervised", "fixmatch", "mean_teacher", "byol"])
def test_trainings_with_labels_and_averaged_weights_are_measured_too(
    make_spec: MakeSpec, store: Store, method: str
) -> None:
    spec = make_spec(f"stages.semi.method={{name: {method}}}", "stages.semi.epochs=1")
    row, _ = run(spec, store)
    assert row.criteria == measured(spec, store)


def _rank(spec: str, folder: str, train: bool) -> dict[str, float]:
    store = Store.open(folder, create=False)
    trial = TrialSpec.model_validate_json(spec)
    execution = ALL if train else Execution()
    run_trial(trial, store, execution, lambda epoch: None)
    run_trial(trial, store, ALL, lambda epoch: pytest.fail("it is trained again"))
    row = read_row(store, trial.id)
    assert row is not None
    return dict(row.criteria)


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
def test_of_two_ranks_one_measures(make_spec: MakeSpec, store: Store, train: bool) -> None:
    spec = make_spec(SIMCLR)
    one, other = spawn(_rank, spec.model_dump_json(), store.uri, train)
    assert one == other == measured(spec, store)
