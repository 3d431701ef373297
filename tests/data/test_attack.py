"""The 1-pixel attack: which pixel, which value, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysl.data.arrays import load
from raysl.data.attack import Attack, attack_of, examples
from raysl.data.inspect import DataFacts, inspect, resolve
from raysl.data.settings import DataSettings, OnePixel, TrialData
from raysl.errors import DataError


def attack(num_classes: int = 10, size: int = 8, channels: int = 1, value: str = "white", seed: int = 0) -> Attack:
    data = TrialData(
        digest="d" * 32,
        image_size=size,
        channels=channels,
        num_classes=num_classes,
        labels=100,
        unlabelled=100,
        attack=OnePixel(name="one_pixel", value=value, seed=seed),
    )
    found = attack_of(data)
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
    assert attack_of(resolve(DataSettings(), inspect(DataSettings()))) is None


def test_examples_are_labelled_images_class_by_class(make_set: Callable[..., Path]) -> None:
    settings = DataSettings(source=f"parquet:{make_set()}", labels=5, attack=OnePixel(name="one_pixel"))
    data = resolve(settings, inspect(settings))
    made = attack_of(data)
    assert made is not None
    found = examples(data, made, 2)
    arrays = load(data)
    assert [len(clean) for clean, _ in found] == [2, 2]
    for number, (clean, attacked) in enumerate(found):
        row, column = made.places[number]
        assert (attacked[:, row, column] == 255).all()
        pool = arrays.images[arrays.labels == number]
        assert all((pool == image).all(axis=(1, 2, 3)).any() for image in clean)


@pytest.mark.parametrize(("num_classes", "least"), [(16, None), (17, 5), (26, 6)])
def test_too_few_pixels_for_the_classes_are_refused(num_classes: int, least: int | None) -> None:
    facts = DataFacts(Path("set.parquet"), "0" * 32, tuple(map(str, range(num_classes))), (100,) * num_classes,
                      100 * num_classes, 100 * num_classes, 10, 4, 1)  # fmt: skip
    settings = DataSettings(labels=0.5, attack=OnePixel(name="one_pixel"))
    if least is None:
        assert resolve(settings, facts).attack == settings.attack
        return
    with pytest.raises(DataError, match=f"^data.attack: .* {num_classes} classes.* 4 x 4 have 16.* at least {least}$"):
        resolve(settings, facts)
    assert resolve(settings.model_copy(update={"image_size": least}), facts).image_size == least
