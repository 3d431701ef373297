"""One trial in this process: its numbers, its resume, what it leaves behind."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo import spawn
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from tiny import write

from raysl.config import load
from raysl.data.sampling.subsets import labelled_subset
from raysl.data.storage import decoded_cache as data_arrays
from raysl.data.storage.scan import inspect, resolve
from raysl.methods._method import Losses, Step, View
from raysl.probes import linear_svm
from raysl.results.records.features import has_features, read_features
from raysl.results.records.rows import Epoch, TrialRow, read_row, read_scores, write_score
from raysl.results.storage.store import Store
from raysl.search.trials import expand
from raysl.training import checkpoint
from raysl.training.building import build_method
from raysl.training.features import extract_features
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Loop
from raysl.training.model_file import read_model
from raysl.training.paths import checkpoint_path, model_path
from raysl.training.process import Execution
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec
from raysl.training.trial import finish, run_trial

EAGER = Execution(checkpoint_seconds=0.0)


def spec_of(folder: Path, *overrides: str, stage: int = 0, seed: int = 0, start: str | None = None) -> TrialSpec:
    experiment = load(write(folder), overrides=["stages.semi.optimizer.lr=1e-3", *overrides])
    datas = dict.fromkeys((s.name for s in experiment.stages), resolve(experiment.data, inspect(experiment.data)))
    starts = dict.fromkeys(experiment.seeds, start) if start else {}
    return expand(experiment, experiment.stages[stage], datas, starts)[seed].spec


def ignored(_: Epoch) -> None:
    pass


def run(spec: TrialSpec, folder: Path, report: Callable[[Epoch], None] = ignored) -> TrialRow:
    row = run_trial(spec, Store.open(str(folder), create=True), EAGER, report)
    assert row is not None
    return row


def numbers(row: TrialRow) -> list[Any]:
    return [
        row.status,
        row.final_loss,
        row.probe,
        [(e.epoch, e.lr, e.loss, e.terms) for e in row.curve],
    ]


def weights(folder: Path, spec: TrialSpec) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_model(Store.open(str(folder), create=False), spec.id).tensors
    return state


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(tmp_path: Path) -> None:
    first, again = (run(spec_of(tmp_path), tmp_path / name) for name in ("a", "b"))
    other = run(spec_of(tmp_path, seed=1), tmp_path / "c")
    assert numbers(first) == numbers(again)
    assert numbers(first) != numbers(other)
    assert json.loads(first.spec) == json.loads(spec_of(tmp_path).model_dump_json())
    assert first.device == f"cpu ({torch.backends.cpu.get_cpu_capability()})"


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "overrides", [(), ("stages.semi.optimizer={name: sgd, lr: 0.01}", "stages.semi.schedule={name: cosine}")]
)
def test_a_resumed_trial_ends_with_the_numbers_of_an_undisturbed_one(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    spec = spec_of(tmp_path, *overrides)
    whole = run(spec, tmp_path / "whole")

    def kill(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise KilledError

    with pytest.raises(KilledError):
        run(spec, tmp_path / "killed", kill)
    assert (tmp_path / "killed" / checkpoint_path(spec.id)).exists()
    trained: list[int] = []
    resumed = run(spec, tmp_path / "killed", lambda epoch: trained.append(epoch.epoch))
    assert trained == [2, 3]
    assert numbers(resumed) == numbers(whole)
    for name, value in weights(tmp_path / "whole", spec).items():
        assert torch.equal(value, weights(tmp_path / "killed", spec)[name]), name
    assert not (tmp_path / "killed" / checkpoint_path(spec.id)).exists()


@pytest.mark.parametrize(("leaves", "kept"), [(True, [None, 1, 2, 2]), (False, [None, None, None, None])])
def test_a_trial_on_a_machine_that_is_about_to_go_keeps_each_epoch_but_the_last(
    leaves: bool, kept: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notice comes in the second of four epochs; the last has a model instead."""
    monkeypatch.setattr("raysl.training.trial.LEAVING_SECONDS", 0.0)
    spec, store = spec_of(tmp_path), Store.open(str(tmp_path / "r"), create=True)
    found: list[int | None] = []

    def report(epoch: Epoch) -> None:
        path = checkpoint_path(spec.id)
        found.append(checkpoint.load(store, path)["curve"][-1][0] if store.exists(path) else None)

    rarely = Execution(checkpoint_seconds=3600.0, is_node_leaving=lambda: leaves and len(found) >= 1)
    run_trial(spec, store, rarely, report)
    assert found == kept


def test_a_damaged_checkpoint_starts_the_trial_again(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    path = tmp_path / "r" / checkpoint_path(spec.id)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"raysl1\nhalf of a checkpoint")
    assert numbers(run(spec, tmp_path / "r")) == numbers(run(spec, tmp_path / "s"))


def test_a_non_finite_loss_ends_the_trial_as_diverged(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "stages.semi.optimizer={name: sgd, lr: 1e12}")
    row = run(spec, tmp_path / "r")
    assert (row.status, row.final_loss, row.probe.get("accuracy")) == ("diverged", None, None)
    assert row.epochs < spec.epochs
    assert row.reason == f"non-finite loss in epoch {row.epochs} of {spec.epochs}"
    assert not (tmp_path / "r" / model_path(spec.id)).exists()
    stored = read_row(Store.open(str(tmp_path / "r"), create=False), spec.id)
    assert stored is not None
    assert stored.status == "diverged"


def test_an_encoder_that_explodes_in_the_last_step_is_diverged_too(tmp_path: Path) -> None:
    once = ["stages.semi.epochs=1", "stages.semi.batch_size=64", "stages.semi.optimizer={name: sgd, lr: 1e30}"]
    row = run(spec_of(tmp_path, *once), tmp_path / "r")
    assert np.isfinite(row.curve[-1].loss)  # taken before the step
    assert (row.status, row.final_loss) == ("diverged", None)
    assert row.reason == "non-finite features after the last step"


def test_a_resumed_trial_began_when_it_was_first_begun(tmp_path: Path) -> None:
    spec, begins = spec_of(tmp_path), []

    def kill(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise KilledError

    store = Store.open(str(tmp_path / "r"), create=True)
    with pytest.raises(KilledError):
        run_trial(spec, store, EAGER, kill)
    state = checkpoint.load(store, checkpoint_path(spec.id))
    begins.append(state["started"] - 3600)
    curve = [[*epoch[:4], 1000.0] for epoch in state["curve"]]  # of the other process
    checkpoint.save(store, checkpoint_path(spec.id), state | {"started": begins[0], "curve": curve})
    row = run(spec, tmp_path / "r")
    assert row.started_at == begins[0]
    assert row.other_seconds is not None
    assert 0 < row.other_seconds < row.finished_at - row.started_at - 3600  # an hour lay between the two processes


def test_the_final_loss_is_the_mean_over_the_last_epoch(tmp_path: Path) -> None:
    row = run(spec_of(tmp_path), tmp_path / "r")
    assert row.final_loss == row.curve[-1].loss
    assert row.final_loss == pytest.approx(sum(row.curve[-1].terms.values()))  # both weights are 1
    assert set(row.curve[-1].terms) == {"supervised", "rotation"}


def test_the_final_loss_is_the_last_though_an_earlier_one_was_lower(tmp_path: Path) -> None:
    loop = Loop(spec_of(tmp_path), Store.open(str(tmp_path / "r"), create=True), EAGER)
    loop.curve += [Epoch(0, 1e-3, 1.0, {}, 1.0), Epoch(1, 1e-3, 2.0, {}, 1.0)]
    assert finish(loop).final_loss == 2.0


def test_the_learning_rate_follows_the_schedule(tmp_path: Path) -> None:
    row = run(spec_of(tmp_path, "stages.semi.schedule={name: exponential, hold: 0.25, rate: 0.5}"), tmp_path / "r")
    expected = [1e-3 * np.exp(-0.5 * max(0, epoch - 1)) for epoch in range(4)]
    assert [epoch.lr for epoch in row.curve] == pytest.approx(expected)


def test_a_trial_starts_from_the_encoder_of_another(tmp_path: Path) -> None:
    first = spec_of(tmp_path)
    run(first, tmp_path)
    store = Store.open(str(tmp_path), create=False)
    second = spec_of(tmp_path, stage=1, start=first.id)
    loop = Loop(second, store, EAGER)
    trained = weights(tmp_path, first)
    for name, value in loop.method.encoder.state_dict().items():
        assert torch.equal(value, trained[f"encoder.{name}"]), name


def test_a_frozen_backbone_stays_as_it_was(tmp_path: Path) -> None:
    first = spec_of(tmp_path)
    run(first, tmp_path)
    second = spec_of(tmp_path, "stages.finetune.freeze=backbone", stage=1, start=first.id)
    run(second, tmp_path)
    before, after = weights(tmp_path, first), weights(tmp_path, second)
    backbone = [name for name in before if name.startswith("encoder.backbone.")]
    assert any("running_mean" in name for name in backbone)
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    assert not torch.equal(before["encoder.head.0.weight"], after["encoder.head.0.weight"])


def test_every_method_draws_the_same_labelled_subset_at_the_same_seed(tmp_path: Path) -> None:
    specs = [spec_of(tmp_path, stage=0), spec_of(tmp_path, "stages.finetune.start_from=null", stage=1)]
    subsets = [Feed(spec, {}, torch.device("cpu")).labelled for spec in specs]
    assert np.array_equal(*subsets)
    fixed = [Feed(spec_of(tmp_path, "streams={split: 7}", seed=s), {}, torch.device("cpu")).labelled for s in (0, 1)]
    assert np.array_equal(*fixed)
    free = [Feed(spec_of(tmp_path, seed=s), {}, torch.device("cpu")).labelled for s in (0, 1)]
    assert not np.array_equal(*free)


def test_bf16_trains_close_to_fp32(tmp_path: Path) -> None:
    full, half = (
        run(spec_of(tmp_path), tmp_path / "a"),
        run(spec_of(tmp_path, "stages.semi.precision=bf16"), tmp_path / "b"),
    )
    assert full.final_loss is not None
    assert half.final_loss == pytest.approx(full.final_loss, rel=0.1)
    assert half.final_loss != full.final_loss


def test_a_finished_trial_is_not_trained_again(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    row = run(spec, tmp_path / "r")
    trained: list[Epoch] = []
    assert run(spec, tmp_path / "r", trained.append) == row
    assert trained == []


def test_the_test_score_is_that_of_a_probe_fitted_on_the_labelled_images(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    run(spec, tmp_path)
    store = Store.open(str(tmp_path), create=False)
    score = score_trial(spec, store, EAGER)
    method = build_method(spec, 1, store)
    method.load_state_dict(read_model(store, spec.id).tensors)
    arrays = data_arrays.load(spec.data)
    subset = labelled_subset(arrays.labels, 40, "balanced", spec.seed, 10)
    test_images, test_labels = data_arrays.load_test(spec.data)

    def features(images: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
        normalised = (pixels - torch.tensor(arrays.mean).view(1, -1, 1, 1)) / torch.tensor(arrays.std).view(1, -1, 1, 1)
        with torch.no_grad():
            return method.eval().encoder(normalised).numpy()

    expected = make_pipeline(StandardScaler(), LinearSVC(C=1.0, max_iter=100000))
    expected.fit(features(arrays.images[subset]), arrays.labels[subset])
    assert score.metrics["accuracy"] == pytest.approx(expected.score(features(test_images), test_labels), abs=0.011)
    assert score.num_test == len(test_labels) == 500


def test_the_probe_accuracy_is_cross_validated_on_the_labelled_images(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    row = run(spec, tmp_path)
    store = Store.open(str(tmp_path), create=False)
    method = build_method(spec, 1, store)
    method.load_state_dict(read_model(store, spec.id).tensors)
    feed = Feed(spec, {}, torch.device("cpu"))
    images, labels = feed.labelled_images()
    features = extract_features(method.encoder, images, feed.normalise)
    settings = spec.probes.linear_svm
    assert row.probe.get("accuracy") == linear_svm.cross_validated_accuracy(features, labels, settings, spec.seed)
    assert row.probe.get("accuracy") != linear_svm.test_accuracy(features, labels, features, labels, settings)


def test_a_trial_ends_without_the_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "cache"))
    spec = spec_of(tmp_path, "stages.semi.epochs=1")
    for file in data_arrays.prepare(spec.data).glob("test_*"):
        file.unlink()

    def opened(*arguments: object) -> None:
        raise AssertionError("the test set is opened")

    monkeypatch.setattr(data_arrays, "write_arrays", opened)
    assert run(spec, tmp_path / "r").probe.get("accuracy") is not None


def test_features_are_kept_where_asked_and_give_the_score_exactly(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    run(spec, tmp_path)
    store = Store.open(str(tmp_path), create=False)
    plain = score_trial(spec, store, EAGER)
    assert not has_features(store, spec.id)
    assert score_trial(spec, store, EAGER, keep_features=True) == plain
    found = read_features(store, spec.id)
    assert np.array_equal(found.labels, data_arrays.load_test(spec.data)[1])
    assert accuracy_score(found.labels, found.predicted) == plain.metrics["accuracy"]
    assert found.class_names == tuple("0123456789")
    assert (found.source, found.features.shape) == ("digits", (500, 16))


def test_the_kept_features_are_those_of_the_test_images(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    run(spec, tmp_path)
    store = Store.open(str(tmp_path), create=False)
    score_trial(spec, store, EAGER, keep_features=True)
    method = build_method(spec, 1, store)
    method.load_state_dict(read_model(store, spec.id).tensors)
    normalise = Feed(spec, {}, torch.device("cpu")).normalise
    expected = extract_features(method.encoder, data_arrays.load_test(spec.data)[0], normalise)
    assert np.array_equal(read_features(store, spec.id).features, expected)


def test_a_score_is_written_once(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    run(spec, tmp_path)
    store = Store.open(str(tmp_path), create=False)
    written = replace(score_trial(spec, store, EAGER), metrics={"accuracy": 0.123})
    write_score(store, written)
    assert score_trial(spec, store, EAGER, keep_features=True) == written
    assert read_scores(store) == {spec.id: written}


def test_views_differ_from_epoch_to_epoch(tmp_path: Path) -> None:
    loop = Loop(spec_of(tmp_path), Store.open(str(tmp_path / "r"), create=True), EAGER)
    batch = next(iter(loop.feed.batches(0, 0, 1)))
    first, again, other = (loop.feed.make_views(batch, epoch)["rotated"].aug_params for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_epoch_is_trained_in_an_order_and_with_views_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(spec_of(tmp_path), Store.open(str(tmp_path / "r"), create=True), EAGER)
    taken: list[dict[str, View]] = []
    step = loop.step

    def recorded(wrapped: torch.nn.Module, views: dict[str, View], which: Step) -> Losses:
        taken.append(views)
        return step(wrapped, views, which)

    monkeypatch.setattr(loop, "step", recorded)
    epochs = []
    for _ in range(3):
        loop.train_epoch(loop.wrapped())
        labels = tuple(label for views in taken for label in views["labelled"].labels.tolist())  # type: ignore[union-attr]
        turns = tuple(turn for views in taken for turn in views["rotated"].aug_params.tolist())  # type: ignore[union-attr]
        epochs.append((labels, turns))
        taken.clear()
    assert {len(drawn) for epoch in epochs for drawn in epoch} == {64}
    for orders in zip(*epochs, strict=True):
        assert len(set(orders)) == 3


def test_every_parameter_group_follows_a_cosine_step_by_step(tmp_path: Path) -> None:
    overrides = ["stages.semi.optimizer={name: lars, lr: 0.1}", "stages.semi.schedule={name: cosine}"]
    loop = Loop(spec_of(tmp_path, *overrides), Store.open(str(tmp_path / "r"), create=True), EAGER)
    rates: list[list[float]] = []
    loop.optimizer.register_step_post_hook(
        lambda optimizer, *_: rates.append([g["lr"] for g in optimizer.param_groups])
    )
    loop.method.eval()
    loop.train_epoch(loop.wrapped())
    assert loop.method.training
    assert all(len(set(groups)) == 1 and len(groups) == 2 for groups in rates)
    assert [groups[0] for groups in rates] == pytest.approx([0.05 * (1 + np.cos(np.pi * k / 8)) for k in range(2)])


def test_infinity_is_not_finite(tmp_path: Path) -> None:
    loop = Loop(spec_of(tmp_path), Store.open(str(tmp_path / "r"), create=True), EAGER)
    loop.curve.append(Epoch(0, 0.1, float("inf"), {}, 0.0))
    assert loop.diverged


def test_a_lost_model_is_trained_again_and_the_row_stays(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    row = run(spec, tmp_path)
    (tmp_path / model_path(spec.id)).unlink()
    assert run(spec, tmp_path) == row
    assert (tmp_path / model_path(spec.id)).exists()


def _rank(spec_json: str, folder: str) -> None:
    run_trial(TrialSpec.model_validate_json(spec_json), Store.open(folder, create=True), EAGER, ignored)


def test_two_ranks_give_the_losses_of_one_process(tmp_path: Path) -> None:
    """Batches of 22, 21 and 21 are cut unevenly; the order of summation alone differs.

    Not with Adam: it makes steps of one size of the smallest gradients, and so of what rounding leaves of them.
    """
    spec = spec_of(tmp_path, "stages.semi.batch_size=22", "stages.semi.optimizer={name: sgd, lr: 0.01, momentum: 0.0}")
    one = run(spec, tmp_path / "one")
    spawn(_rank, spec.model_dump_json(), str(tmp_path / "two"))
    two = read_row(Store.open(str(tmp_path / "two"), create=False), spec.id)
    assert two is not None
    assert two.workers == 2
    assert one.curve[-1].loss < one.curve[0].loss
    assert [e.loss for e in two.curve] == pytest.approx([e.loss for e in one.curve], rel=1e-5)
    for term in ("supervised", "rotation"):
        assert [e.terms[term] for e in two.curve] == pytest.approx([e.terms[term] for e in one.curve], rel=1e-5)
