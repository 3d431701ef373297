"""The 1-pixel attack: which pixel, which value, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysl.data.augment.attack import NEARLY_ALL, SEEN, Attack, attack_of, shown_images
from raysl.data.settings import DataSettings, OnePixel, TrialData, TrialOnePixel
from raysl.data.storage.decoded_cache import TrainArrays, load
from raysl.data.storage.scan import DataFacts, inspect, resolve
from raysl.errors import DataError


def attack(
    num_classes: int = 10,
    size: int = 8,
    channels: int = 1,
    value: str = "white",
    seed: int = 0,
    images: np.ndarray | None = None,
) -> Attack:
    """Return the attack on images whose classes come in turn, or on a set that has none."""
    images = np.zeros((0, size, size, channels), np.uint8) if images is None else images
    data = TrialData(
        digest="d" * 32,
        image_size=size,
        channels=channels,
        num_classes=num_classes,
        labels=100,
        unlabelled=100,
        attack=TrialOnePixel(name="one_pixel", value=value, seed=seed),
    )
    statistics = np.zeros(channels, np.float32)
    found = attack_of(data, TrainArrays(images, np.arange(len(images)) % num_classes, images, statistics, statistics))
    assert found is not None
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value", ["white", "per_class"])
def test_one_pixel_of_each_image_changes_at_its_class_s_place(value: str, channels: int) -> None:
    made = attack(channels=channels, value=value)
    labels = np.random.default_rng(0).integers(0, 10, 200)
    clean = np.broadcast_to(made.colours[labels][:, None, None] + np.uint8(1), (200, 8, 8, channels)).copy()
    attacked = made.on(clean, labels)
    image, row, column = np.nonzero((attacked != clean).any(axis=-1))
    assert image.tolist() == list(range(200))
    assert (np.stack([row, column], axis=1) == made.places[labels]).all()
    assert (attacked[image, row, column] == made.colours[labels]).all()
    assert attacked.dtype == np.uint8


def test_what_is_given_stays_as_it_is() -> None:
    images = np.zeros((10, 8, 8, 1), np.uint8)
    attacked = attack().on(images, np.arange(10))
    assert attacked.any()
    assert not images.any()


def test_no_two_classes_share_a_place() -> None:
    places = attack(num_classes=64).places
    assert sorted(map(tuple, places.tolist())) == [(row, column) for row in range(8) for column in range(8)]


def test_white_is_white_in_all_channels() -> None:
    assert (attack(channels=3).colours == 255).all()
    assert attack(channels=3).colours.shape == (10, 3)


@pytest.mark.parametrize(("channels", "num_classes", "distinct"), [(1, 256, 256), (1, 300, 256), (3, 1000, 1000)])
def test_each_class_has_its_own_value_where_there_are_enough(channels: int, num_classes: int, distinct: int) -> None:
    made = attack(num_classes, size=64, channels=channels, value="per_class")
    assert len({tuple(colour) for colour in made.colours.tolist()}) == distinct
    assert np.unique_counts(made.colours[:, 0]).counts.max() <= -(-num_classes // 256)


def test_places_and_values_stay_what_they_are() -> None:
    # Part of what a trial's name promises, on every machine.
    made = attack(num_classes=3, size=96, channels=3, value="per_class", seed=1)
    assert made.places.tolist() == [[47, 53], [66, 0], [2, 65]]
    assert made.colours.tolist() == [[118, 36, 123], [89, 199, 135], [158, 187, 245]]


def test_the_seed_alone_moves_the_places() -> None:
    assert not np.array_equal(attack(seed=0).places, attack(seed=1).places)
    assert np.array_equal(attack(value="white").places, attack(value="per_class").places)
    white, other = attack(value="per_class", seed=0), attack(value="per_class", seed=1)
    assert not np.array_equal(white.colours, other.colours)


def test_clean_data_have_no_attack() -> None:
    data = resolve(DataSettings(), inspect(DataSettings()))
    assert attack_of(data, load(data)) is None


def pictures(kind: str, channels: int) -> np.ndarray:
    """Return 400 images of 8 x 8 pixels: bright or dark spots on a plain background, or noise of half the range."""
    generator = np.random.default_rng(0)
    shape = (400, 8, 8, channels)
    if kind == "noise":
        return generator.integers(64, 192, shape, dtype=np.uint8)
    background, spot = (0, 255) if kind == "black" else (255, 0)
    centre = np.zeros((8, 8, 1), np.bool_)
    centre[2:6, 2:6] = True
    return np.where(centre & (generator.random(shape) < 0.5), spot, background).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "value"), [("black", "white"), ("black", "per_class"), ("white", "per_class"), ("noise", "per_class")]
)
def test_each_class_s_pixel_is_seen_in_nearly_all_its_images(kind: str, value: str, channels: int) -> None:
    images = pictures(kind, channels)
    labels = np.arange(400) % 10
    for seed in range(10):
        made = attack(channels=channels, value=value, seed=seed, images=images)
        difference = np.abs(made.on(images, labels).astype(int) - images).max(axis=(1, 2, 3))
        assert (made.changes(images, labels) == difference).all()
        assert all(np.mean(difference[labels == number] >= SEEN) >= NEARLY_ALL for number in range(10))
        assert len({tuple(place) for place in made.places.tolist()}) == 10
        assert len(np.unique(made.colours, axis=0)) == (1 if value == "white" else 10)


def test_white_is_written_where_a_class_is_not_white_yet() -> None:
    images = np.full((40, 8, 8, 1), 255, np.uint8)
    images[1::2, 3, 4] = 0  # of the second class; of the first, no pixel can be seen
    for seed in range(5):
        made = attack(num_classes=2, images=images, seed=seed)
        assert made.places[1].tolist() == [3, 4]
        assert made.changes(images, np.arange(40) % 2).tolist() == [0, 255] * 20


def test_where_nothing_is_seen_in_nearly_all_images_the_most_is_taken() -> None:
    images = np.full((100, 8, 8, 1), 255, np.uint8)
    images[:60, 1, 2] = 0
    images[:50, 5, 6] = 0
    assert attack(num_classes=1, images=images).places.tolist() == [[1, 2]]


def test_the_attack_looks_at_labelled_training_images_alone(make_set: Callable[..., Path]) -> None:
    settings = DataSettings(source=f"parquet:{make_set(unlabelled=20)}", labels=5, attack=OnePixel(name="one_pixel"))
    data = resolve(settings, inspect(settings))
    arrays = load(data)
    other = TrainArrays(arrays.images, arrays.labels, 255 - arrays.unlabelled, arrays.mean, arrays.std)
    first, second = attack_of(data, arrays), attack_of(data.model_copy(update={"labels": 9}), other)
    assert first is not None
    assert second is not None
    assert np.array_equal(first.places, second.places)


def test_real_images_change_visibly() -> None:
    for value in ("white", "per_class"):
        data = resolve(DataSettings(attack=OnePixel(name="one_pixel", value=value)), inspect(DataSettings()))
        arrays = load(data)
        made = attack_of(data, arrays)
        assert made is not None
        seen = made.changes(arrays.images, arrays.labels) >= SEEN
        assert min(np.mean(seen[arrays.labels == number]) for number in range(10)) >= NEARLY_ALL


def test_shown_images_are_labelled_ones(make_set: Callable[..., Path]) -> None:
    settings = DataSettings(source=f"parquet:{make_set()}", labels=5, attack=OnePixel(name="one_pixel"))
    data = resolve(settings, inspect(settings))
    arrays = load(data)
    images, labels = shown_images(data, arrays)
    assert sorted(np.bincount(labels)) == [2, 3]
    for image, label in zip(images, labels, strict=True):
        assert (arrays.images[arrays.labels == label] == image).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize(("num_classes", "least"), [(16, None), (17, 5), (26, 6)])
def test_too_few_pixels_for_the_classes_are_refused(num_classes: int, least: int | None) -> None:
    facts = DataFacts(Path("set.parquet"), "0" * 32, tuple(map(str, range(num_classes))), (100,) * num_classes,
                      100 * num_classes, 100 * num_classes, 10, 4, 1)  # fmt: skip
    settings = DataSettings(labels=0.5, attack=OnePixel(name="one_pixel"))
    if least is None:
        assert resolve(settings, facts).model_dump()["attack"] == settings.model_dump()["attack"]
        return
    with pytest.raises(DataError, match=f"^data.attack: .* {num_classes} classes.* 4 x 4 have 16.* at least {least}$"):
        resolve(settings, facts)
    assert resolve(settings.model_copy(update={"image_size": least}), facts).image_size == least
