"""Label-free criteria: values worked out by hand, the authors' formulas, and what must not change a value."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from raysl.criteria.alignment import alignment, uniformity
from raysl.criteria.alpha_req import alpha_req, decay, spectrum
from raysl.criteria.ami import ami
from raysl.criteria.criterion_dispatch import OF_VIEWS, value
from raysl.criteria.lidar import DELTA, lidar
from raysl.criteria.rankme import rankme
from raysl.results.criteria import CRITERIA, CRITERION_NAMES

Array = NDArray[Any]
CLUSTERS = 4


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def rotation(width: int, seed: int = 1) -> Array:
    return np.linalg.qr(drawn(width, width, seed=seed))[0]


def features_for(name: str, num_images: int = 60, width: int = 8) -> Array:
    plain = drawn(num_images, width) * np.arange(1, width + 1)
    return plain + 0.3 * drawn(3, num_images, width, seed=2) if name in OF_VIEWS else plain


def test_rankme_of_singular_values_3_and_1() -> None:
    # Shares 3/4 and 1/4: exp of the entropy is 4 / 27^(1/4).
    features = np.diag([3.0, 1.0])
    assert rankme(features) == pytest.approx(4 / 27**0.25, abs=1e-5)


def test_rankme_counts_equal_directions_and_is_not_centred() -> None:
    assert rankme(np.eye(5)) == pytest.approx(5, abs=1e-4)
    assert rankme(np.ones((6, 5))) == pytest.approx(1, abs=1e-4)  # centred, it would have no direction
    assert rankme(np.zeros((6, 5))) == 0


def test_rankme_is_the_papers_formula() -> None:
    features = features_for("rankme")
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(features.T @ features), 0))
    shares = singular / singular.sum() + 1e-7
    assert rankme(features) == pytest.approx(math.exp(-np.sum(shares * np.log(shares))), rel=1e-9)


def test_lidar_worked_out_by_hand() -> None:
    # Two images whose means are (2, 0) and (-2, 0), and two whose means are (0, 1) and (0, -1): the covariance of the
    # means is diag(8, 2) / 4.  Views lie 1 off their mean along the first axis: the covariance within is diag(1, 0).
    means = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    along = np.array([1.0, 0])
    views = np.stack([means + along, means - along])
    one, other = 2 / (1 + DELTA), 0.5 / DELTA
    shares = np.array([one, other]) / (one + other)
    assert lidar(views) == pytest.approx(math.exp(-np.sum(shares * np.log(shares))), rel=1e-4)


def test_lidar_is_the_papers_formula() -> None:
    views = features_for("lidar")
    means = views.mean(axis=0)
    between = np.cov(means, rowvar=False, bias=True)
    within = np.mean([np.outer(v - m, v - m) for view in views for v, m in zip(view, means, strict=True)], axis=0)
    values, vectors = np.linalg.eigh(within + 1e-4 * np.eye(8))
    root = vectors / np.sqrt(values) @ vectors.T
    found = np.linalg.eigvalsh(root @ between @ root)
    shares = found / found.sum() + 1e-7
    assert lidar(views) == pytest.approx(math.exp(-np.sum(shares * np.log(shares))), rel=1e-8)


def test_lidar_does_not_count_what_views_change() -> None:
    # The images differ in two directions; a third one differs between views alone.
    means = np.concatenate([10 * drawn(50, 2), np.zeros((50, 1))], axis=1)
    views = means + drawn(4, 50, 3, seed=3) * [0.1, 0.1, 10]
    assert lidar(views) == pytest.approx(2, abs=0.1)
    assert rankme(views.reshape(-1, 3)) > 2.5
    assert lidar(np.ones((2, 5, 3))) == 0


def test_alpha_is_that_of_a_power_law() -> None:
    eigenvalues = np.arange(1, 201, dtype=float) ** -1.7
    assert decay(eigenvalues) == pytest.approx(1.7)
    random = rotation(40, seed=5)
    features = np.sqrt(40 * np.arange(1.0, 41) ** -1.5)[:, None] * random  # whose squared singular values are the law's
    both = np.concatenate([features, -features])  # of mean 0
    assert alpha_req(both) == pytest.approx(0.5)


@pytest.mark.parametrize("width", [512, 64, 16])
def test_alpha_is_the_authors_fit(width: int) -> None:
    """Stringer's weighted fit, by its normal equations; of the 4th to the 100th eigenvalue where there are so many."""
    eigenvalues = np.sort(np.random.default_rng(3).random(width))[::-1] * np.arange(1, width + 1) ** -1.3
    places = np.arange({512: 4, 64: 4, 16: 2}[width], {512: 100, 64: 64, 16: 16}[width] + 1)
    x = np.stack([-np.log(places), np.ones(len(places))], axis=1)
    weighted = x / places[:, None]
    alpha, _ = np.linalg.solve(x.T @ weighted, weighted.T @ np.log(eigenvalues[places - 1]))
    assert decay(eigenvalues) == pytest.approx(alpha)


def test_alpha_takes_the_covariance_around_the_mean() -> None:
    features = features_for("alpha_req")
    expected = np.linalg.eigvalsh(np.cov(features, rowvar=False, bias=True))[::-1]
    assert spectrum(features) == pytest.approx(expected)
    assert alpha_req(features + 5) == pytest.approx(alpha_req(features))


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_no_alpha_of_features_without_a_spectrum(constant: float) -> None:
    assert alpha_req(np.full((50, 16), constant, np.float32)) is None
    line = np.outer(np.arange(50.0), np.ones(16))
    assert alpha_req(line.astype(np.float32)) is None  # its other eigenvalues are rounding errors


def test_alignment_worked_out_by_hand() -> None:
    # The first image's views are at a right angle: 2.  The second's are the same but for their length: 0.
    one = np.array([[1.0, 0], [0, 3]])
    other = np.array([[0.0, 2], [0, 1]])
    assert alignment(np.stack([one, other])) == pytest.approx(1)
    assert alignment(np.stack([one, -one])) == pytest.approx(4)
    assert alignment(np.stack([one, other, 7 * one])) == pytest.approx(1)  # of the first two views


def test_uniformity_worked_out_by_hand() -> None:
    # Squared distances 2, 2 and 4 of the three pairs.
    features = np.array([[1.0, 0], [0, 2], [-3, 0]])
    assert uniformity(features) == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3))
    assert uniformity(np.ones((4, 3))) == pytest.approx(0)
    assert uniformity(np.array([[1.0], [-1.0]])) == pytest.approx(-8)


def test_ami_is_that_of_clusters_that_are_there() -> None:
    centres = 10 * np.eye(CLUSTERS)
    blobs = np.concatenate([centre + 0.01 * drawn(30, CLUSTERS, seed=i) for i, centre in enumerate(centres)])
    noise = drawn(120, 64, seed=9)
    assert ami(blobs, CLUSTERS) == pytest.approx(1)
    found = ami(noise, CLUSTERS)
    assert found is not None
    assert found < 0.5


def test_no_ami_of_fewer_distinct_features_than_clusters() -> None:
    assert ami(np.ones((20, 3), np.float32), CLUSTERS) is None
    three = np.repeat(np.eye(3), 10, axis=0)
    assert ami(three, CLUSTERS) is None
    assert ami(three, 3) == pytest.approx(1)
    with pytest.raises(ValueError, match="1 clusters"):
        ami(three, 1)


@pytest.mark.parametrize("name", CRITERION_NAMES)
def test_turned_features_in_another_order_have_the_same_value(name: Any) -> None:
    """A rotation of the feature space changes nothing; neither does the order of images, but for k-means's centres."""
    features = features_for(name)
    expected = value(name, features, CLUSTERS)
    assert expected is not None
    assert math.isfinite(expected)
    assert value(name, features @ rotation(8), CLUSTERS) == pytest.approx(expected, rel=1e-6)
    if name != "ami":
        order = np.random.default_rng(4).permutation(60)
        assert value(name, features[..., order, :], CLUSTERS) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", sorted({*CRITERION_NAMES} - {"lidar"}))
def test_the_scale_of_features_does_not_matter(name: Any) -> None:
    features = features_for(name)
    expected = value(name, features, CLUSTERS)
    for factor in (1e-12, 1e12):
        assert value(name, factor * features, CLUSTERS) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", CRITERION_NAMES)
def test_sums_are_in_double_precision(name: Any) -> None:
    """Features in half precision give what the same numbers give in double precision."""
    for kind in (np.float16, np.float32):
        features = features_for(name, 500).astype(kind)
        assert value(name, features, CLUSTERS) == value(name, features.astype(np.float64), CLUSTERS)


@pytest.mark.parametrize("name", CRITERION_NAMES)
@pytest.mark.parametrize("worse", [math.nan, math.inf])
def test_a_feature_that_is_not_finite_is_refused(name: Any, worse: float) -> None:
    features = features_for(name)
    features[..., 3, 2] = worse
    with pytest.raises(ValueError, match="not finite"):
        value(name, features, CLUSTERS)


@pytest.mark.parametrize("name", CRITERION_NAMES)
def test_one_image_one_view_and_another_shape_are_refused(name: Any) -> None:
    features = features_for(name)
    with pytest.raises(ValueError, match="1 images and width 8"):
        value(name, features[..., :1, :], CLUSTERS)
    with pytest.raises(ValueError, match="axes are needed"):
        value(name, features[0], CLUSTERS)
    if name in OF_VIEWS:
        with pytest.raises(ValueError, match="1 view"):
            value(name, features[:1], CLUSTERS)


def collapsed(name: str) -> Array:
    return features_for(name) * 1e-3 + [1, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.name)
def test_the_better_value_is_that_of_features_that_tell_images_apart(criterion: Any) -> None:
    """But for alignment, which features have that are all alike: the docstring says so."""
    if criterion.name == "ami":
        better, worse = np.repeat(np.eye(8), 10, axis=0) + 0.01 * drawn(80, 8), drawn(80, 8)
    elif criterion.name == "alpha_req":
        law: Callable[[float], Array] = lambda alpha: drawn(2000, 64) * np.arange(1, 65) ** (-alpha / 2)  # noqa: E731
        better, worse = law(1.0), law(3.0)
    elif criterion.name == "alignment":
        better, worse = collapsed("alignment"), features_for("alignment")
    elif criterion.name == "lidar":
        better = np.broadcast_to(drawn(60, 8), (3, 60, 8)) + 0.01 * drawn(3, 60, 8, seed=2)
        worse = better * [1, 0, 0, 0, 0, 0, 0, 0]
    else:
        better, worse = drawn(60, 8), collapsed(criterion.name)
    first, second = (value(criterion.name, each, 8) for each in (better, worse))
    assert first is not None
    assert second is not None
    assert (first > second) is criterion.highest
