"""Real sets of $RAYSL_DATA, where there are any."""

from pathlib import Path

import numpy as np
import pytest

from raysl.data.sampling.subsets import labelled_subset
from raysl.data.settings import DataSettings, TrialData
from raysl.data.storage.decoded_cache import load, load_test, prepare
from raysl.data.storage.scan import inspect, resolve


def resolved(real_data: Path, **settings: object) -> TrialData:
    given = DataSettings.model_validate(settings)
    if not (real_data / f"{given.source}.parquet").is_file():
        pytest.skip(f"no {given.source}.parquet in RAYSL_DATA")
    return resolve(given, inspect(given, download=False))


@pytest.mark.slow
def test_malaria_has_the_papers_label_counts(real_data: Path) -> None:
    for labels, count in ((0.01, 137), (0.05, 685)):
        data = resolved(real_data, source="malaria", train_fraction=0.5, labels=labels)
        assert (data.labels, data.unlabelled) == (count, 13_779)
    made = load(data)
    assert made.images.shape[0] == 13_779
    assert len(load_test(data)[0]) == 13_779
    subset = labelled_subset(made.labels, data.labels, data.draw, 0, data.num_classes)
    assert sorted(np.bincount(made.labels[subset])) == [342, 343]


@pytest.mark.alike
@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "size", "shape", "labels"),
    [
        ("fashion_mnist", None, (60_000, 28, 28, 1), (600, 3000)),
        ("fashion_mnist", 96, (60_000, 96, 96, 1), (600, 3000)),
        ("cifar10", None, (50_000, 32, 32, 3), (500, 2500)),
    ],
)
def test_sets_come_in_full(
    real_data: Path, source: str, size: int | None, shape: tuple[int, ...], labels: tuple[int, int]
) -> None:
    one = resolved(real_data, source=source, image_size=size)
    five = resolved(real_data, source=source, image_size=size, labels=0.05)
    assert (one.labels, five.labels) == labels
    assert prepare(one) == prepare(five)
    made = load(one)
    assert made.images.shape == shape
    assert len(load_test(one)[0]) == 10_000
    assert (made.mean > 0.25).all()
    assert (made.std > 0.2).all()
