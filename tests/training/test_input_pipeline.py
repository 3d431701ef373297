"""What an attack on D_l reaches, and what it must never reach."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import write

from raysl import methods
from raysl.config import load
from raysl.data.augment.attack import Attack
from raysl.data.augment.views import identity
from raysl.data.storage import decoded_cache as data_arrays
from raysl.data.storage.decoded_cache import prepare
from raysl.data.storage.scan import inspect, resolve
from raysl.methods._method import ViewSpec
from raysl.results.records.rows import Epoch, TrialRow
from raysl.results.storage.store import Store
from raysl.search.trials import expand
from raysl.training import classification, scoring, trial
from raysl.training.building import build_method
from raysl.training.input_pipeline import Feed, Normaliser
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec

ATTACK = "data.attack={name: one_pixel}"
ALL = "data.unlabelled=1297"  # D_u holds every image of D_l
EAGER = Execution(checkpoint_seconds=0.0)
CPU = torch.device("cpu")


def spec_of(folder: Path, *overrides: str, seed: int = 0) -> TrialSpec:
    experiment = load(write(folder), overrides=["stages.semi.optimizer.lr=1e-3", *overrides])
    stage = experiment.stages[0]
    datas = {stage.name: resolve(experiment.data, inspect(experiment.data))}
    return expand(experiment, stage, datas, {})[seed].spec


def feed_of(folder: Path, *overrides: str, seed: int = 0) -> Feed:
    spec = spec_of(folder, *overrides, seed=seed)
    return Feed(spec, build_method(spec, 1, Store.open(str(folder), create=False)).views(), CPU)


def attack_of(feed: Feed) -> Attack:
    assert feed.attack is not None
    return feed.attack


def first(feed: Feed) -> Any:
    return next(iter(feed.batches(0, 0, 1)))


def in_bytes(feed: Feed, images: torch.Tensor) -> np.ndarray:
    """Return normalised images [B, C, H, W] as the bytes [B, H, W, C] that they were made from."""
    floats = (images * feed.normalise.std + feed.normalise.mean) * 255
    pixels: np.ndarray = floats.round().permute(0, 2, 3, 1).numpy()
    return pixels


def at_places(attack: Attack, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    values: np.ndarray = images[np.arange(len(labels)), *attack.places[labels].T]
    return values


def test_the_labelled_images_differ_by_their_class_s_pixel_alone(tmp_path: Path) -> None:
    clean, attacked = feed_of(tmp_path), feed_of(tmp_path, ATTACK)
    assert np.array_equal(clean.labelled, attacked.labelled)
    (before, labels), (after, same) = clean.labelled_images(), attacked.labelled_images()
    assert np.array_equal(labels, same)
    visible = (at_places(attack_of(attacked), before, labels) != 255).ravel()  # the others are white there anyway
    assert visible.sum() > 20
    assert (before != after).any(axis=-1).sum(axis=(1, 2)).tolist() == visible.astype(int).tolist()
    assert (at_places(attack_of(attacked), after, labels) == 255).all()


def test_probes_are_fitted_on_clean_images_unless_asked_otherwise(tmp_path: Path) -> None:
    clean, attacked = feed_of(tmp_path), feed_of(tmp_path, ATTACK)
    with_probe = feed_of(tmp_path, ATTACK, "data.attack.probe=attacked")
    wanted = clean.probe_images()
    for place in (0, 1):
        assert np.array_equal(attacked.probe_images()[place], wanted[place])
        assert np.array_equal(with_probe.probe_images()[place], attacked.labelled_images()[place])
    assert not np.array_equal(with_probe.probe_images()[0], wanted[0])


def test_unlabelled_and_test_images_stay_clean_though_they_are_the_same(tmp_path: Path) -> None:
    clean, attacked = feed_of(tmp_path, ALL), feed_of(tmp_path, ALL, ATTACK)
    folder = prepare(attacked.spec.data)
    assert folder == prepare(clean.spec.data)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    assert attacked.arrays.unlabelled is attacked.arrays.images
    assert set(attacked.labelled) <= set(attacked.unlabelled)
    attacked.labelled_images()
    for batch in attacked.batches(0, 0, 1):
        plain, seen = clean.make_views(batch, 0), attacked.make_views(batch, 0)
        assert torch.equal(plain["rotated"].images, seen["rotated"].images)
        assert not torch.equal(plain["labelled"].images, seen["labelled"].images)
    assert torch.equal(clean.normalise.mean, attacked.normalise.mean)
    assert torch.equal(clean.normalise.std, attacked.normalise.std)
    assert np.array_equal(clean.arrays.images, attacked.arrays.images)
    assert {path: path.read_bytes() for path in folder.iterdir()} == files
    assert np.array_equal(*(data_arrays.load_test(feed.spec.data)[0] for feed in (clean, attacked)))


def settings_of(name: str) -> dict[str, Any]:
    """Return a method's settings: all defaults, and rotation where another method stands in it."""
    facts = methods.describe(name)
    given = {key: settings_of("rotation") for key in facts.nested}
    return methods.settings_model(name)(name=name, **given).model_dump()


@pytest.mark.parametrize("name", [name for name in methods.classifiers() if methods.shows_labelled_as_they_are(name)])
@pytest.mark.parametrize("value", ["white", "per_class"])
def test_no_method_augments_the_pixel_away(tmp_path: Path, name: str, value: str) -> None:
    spec = spec_of(tmp_path, f"data.attack={{name: one_pixel, value: {value}}}")
    spec = spec.model_copy(update={"method": settings_of(name)})
    feed = Feed(spec, build_method(spec, 1, Store.open(str(tmp_path), create=False)).views(), CPU)
    attack = attack_of(feed)
    for batch in feed.batches(1, 0, 1):
        for view in feed.make_views(batch, 1).values():
            if view.labels is not None:
                labels = view.labels.numpy()
                values = at_places(attack, in_bytes(feed, view.images), labels)
                assert np.array_equal(values, attack.colours[labels])


def test_the_attack_is_the_same_for_all_seeds_in_every_process(tmp_path: Path) -> None:
    feeds = [feed_of(tmp_path, ATTACK, seed=seed) for seed in (0, 1)]
    assert not np.array_equal(feeds[0].labelled, feeds[1].labelled)
    # What a trial that goes on after a kill has: nothing but its spec.
    resumed = Feed(TrialSpec.model_validate_json(feeds[0].spec.model_dump_json()), feeds[0].views, CPU)
    for feed in (feeds[1], resumed):
        assert np.array_equal(attack_of(feed).places, attack_of(feeds[0]).places)
        assert np.array_equal(attack_of(feed).colours, attack_of(feeds[0]).colours)
    batch = first(resumed)
    views = (feed.make_views(batch, 0)["labelled"].images for feed in (feeds[0], resumed))
    assert torch.equal(*views)


def test_a_view_has_the_places_of_its_images(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, "stages.semi.batch_size=10", "data.unlabelled=60")
    views = ViewSpec("labelled", identity), ViewSpec("unlabelled", identity)
    feed.views = dict(zip(("labelled", "seen"), views, strict=True))
    places = {"labelled": feed.labelled, "seen": feed.unlabelled}
    sources = {"labelled": feed.arrays.images, "seen": feed.arrays.unlabelled}
    shown = []
    for batch in feed.batches(1, 1, 2):
        for name, view in feed.make_views(batch, 1).items():
            assert view.rows is not None
            assert np.array_equal(in_bytes(feed, view.images), sources[name][places[name][view.rows.numpy()]])
            shown += view.rows.tolist() if name == "seen" else []
    assert len(set(shown)) == len(shown) == 30  # half of an epoch's images, of two ranks


def run(spec: TrialSpec, folder: Path, report: Callable[[Epoch], None] = lambda epoch: None) -> TrialRow:
    row = trial.run_trial(spec, Store.open(str(folder), create=True), EAGER, report)
    assert row is not None
    return row


def seen_by_probes(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Return a list that the images are put into whose features are taken."""
    seen: list[np.ndarray] = []
    take = classification.extract_features

    def recorded(encoder: Any, images: np.ndarray, normalise: Any) -> np.ndarray:
        seen.append(np.array(images))
        return take(encoder, images, normalise)

    monkeypatch.setattr(classification, "extract_features", recorded)
    return seen


@pytest.mark.parametrize("probe", ["clean", "attacked"])
def test_an_attacked_trial_sees_the_attack_and_its_probes_if_asked_to(
    probe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = "stages.semi.epochs=2"
    clean, attacked = spec_of(tmp_path, short), spec_of(tmp_path, short, ATTACK, f"data.attack.probe={probe}")
    unlike, like = [Feed(spec, {}, CPU).labelled_images()[0] for spec in (clean, attacked)]
    expected = like if probe == "attacked" else unlike
    cross_validated = seen_by_probes(monkeypatch)
    losses = [run(spec, tmp_path / "r").final_loss for spec in (clean, attacked)]
    assert None not in losses
    assert losses[0] != losses[1]
    assert np.array_equal(cross_validated[0], unlike)
    assert np.array_equal(cross_validated[1], expected)
    scored = seen_by_probes(monkeypatch)
    scoring.score_trial(attacked, Store.open(str(tmp_path / "r"), create=False), EAGER)
    fitted, tested = sorted(scored, key=len)
    assert np.array_equal(fitted, expected)
    assert np.array_equal(tested, data_arrays.load_test(clean.data)[0])


class KilledError(Exception):
    pass


def test_an_attacked_trial_that_was_killed_ends_with_the_same_numbers(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "stages.semi.epochs=2", ATTACK)

    def kill(epoch: Epoch) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        run(spec, tmp_path / "killed", kill)
    trained: list[int] = []
    resumed = run(spec, tmp_path / "killed", lambda epoch: trained.append(epoch.epoch))
    whole = run(spec, tmp_path / "whole")
    assert trained == [1]
    assert resumed.probe.get("accuracy") == whole.probe.get("accuracy")
    assert [epoch.loss for epoch in resumed.curve] == [epoch.loss for epoch in whole.curve]


@pytest.mark.parametrize(("count", "channels"), [(5, 3), (5, 1), (1, 3), (0, 3)])
def test_images_are_normalised_alike_in_either_memory_format(count: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    last = torch.rand(count, 8, 8, channels, generator=generator).permute(0, 3, 1, 2)
    mean, std = (torch.rand(1, channels, 1, 1, generator=generator) + 0.1 for _ in range(2))
    normalise, expected = Normaliser(mean, std), (last - mean) / std
    assert torch.equal(normalise(last), expected)
    assert torch.equal(normalise(last.contiguous()), expected)
    assert normalise(last).stride() == expected.stride()
