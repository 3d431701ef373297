"""Labelled and unlabelled subsets, and the split of `train_fraction`."""

from itertools import pairwise
from typing import Literal

import numpy as np
import pytest

from raysl.data.sampling.subsets import assign_splits, fold_numbers, labelled_subset, train_split, unlabelled_subset
from raysl.data.storage.parquet import TEST, TRAIN, UNLABELLED

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 60)).astype(np.int64)


def counts(labels: np.ndarray) -> list[int]:
    return np.bincount(labels, minlength=10).tolist()


def test_balanced_counts_differ_by_one_at_most_and_the_extra_ones_are_drawn() -> None:
    richer = set()
    for seed in range(8):
        subset = labelled_subset(LABELS, 137, "balanced", seed, 10)
        assert len(set(subset.tolist())) == 137
        assert (np.diff(subset) > 0).all()
        assert sorted(counts(LABELS[subset])) == [13] * 3 + [14] * 7
        richer.add(tuple(np.flatnonzero(np.bincount(LABELS[subset]) == 14).tolist()))
    assert len(richer) > 4


def test_the_same_seed_gives_the_same_subset_and_another_another() -> None:
    first = labelled_subset(LABELS, 50, "balanced", 3, 10)
    np.testing.assert_array_equal(first, labelled_subset(LABELS.copy(), 50, "balanced", 3, 10))
    assert set(first.tolist()) != set(labelled_subset(LABELS, 50, "balanced", 4, 10).tolist())


@pytest.mark.parametrize(("labels", "num_classes"), [(40, 10), (250, 10), (1000, 10), (400, 100), (2500, 100)])
def test_budgets_of_semi_supervised_papers_are_exact(labels: int, num_classes: int) -> None:
    uneven = np.random.default_rng(0).integers(num_classes, size=9000)
    subset = labelled_subset(uneven, labels, "balanced", 0, num_classes)
    assert np.bincount(uneven[subset]).tolist() == [labels // num_classes] * num_classes


@pytest.mark.parametrize("draw", ["balanced", "uniform"])
def test_a_larger_subset_contains_a_smaller(draw: str) -> None:
    subsets = [set(labelled_subset(LABELS, count, draw, 1, 10).tolist()) for count in (12, 137, 138, 600)]
    assert all(small < large for small, large in pairwise(subsets))


def test_classes_without_one_more_are_passed_over() -> None:
    labels = np.array([0, 1, 1, 2, 2], np.int64)
    for seed in range(6):
        assert counts(labels[labelled_subset(labels, 5, "balanced", seed, 3)])[:3] == [1, 2, 2]


def test_uniform_draws_do_not_look_at_the_class() -> None:
    drawn = {tuple(counts(LABELS[labelled_subset(LABELS, 40, "uniform", seed, 10)])) for seed in range(5)}
    assert all(max(each) - min(each) > 1 for each in drawn)


def test_uniform_draws_are_of_uneven_classes_too_and_all_are_all() -> None:
    labels = np.repeat(np.arange(3), [2, 8, 990]).astype(np.int64)
    drawn = labels[labelled_subset(labels, 10, "uniform", 0, 3)]
    assert np.bincount(drawn, minlength=3)[2] >= 8
    assert labelled_subset(labels, 1000, "uniform", 5, 3).tolist() == list(range(1000))


def test_every_image_is_drawn_equally_often() -> None:
    times = np.zeros(20)
    for seed in range(600):
        times[labelled_subset(np.arange(20) % 2, 10, "balanced", seed, 2)] += 1
    assert (abs(times - 300) < 62).all()  # five standard deviations


def test_unlabelled_subsets() -> None:
    assert unlabelled_subset(30, 30, 5).tolist() == list(range(30))
    subset = unlabelled_subset(1000, 100, 5)
    assert len(set(subset.tolist())) == 100
    assert (np.diff(subset) > 0).all()
    assert set(subset.tolist()) != set(unlabelled_subset(1000, 100, 6).tolist())


def test_the_train_split_has_the_count_in_all_and_each_class_its_share() -> None:
    labels = np.repeat(np.arange(3), [101, 50, 10]).astype(np.int64)
    trains = train_split(labels, 3, 80)
    assert trains.sum() == 80
    assert counts(labels[trains])[:3] == [50, 25, 5]  # of 50.2, 24.8, 5.0
    assert not trains[:101].all()
    assert np.flatnonzero(trains[:101]).max() > 60  # drawn, not the first ones


def test_train_fraction_pools_the_labelled_images_and_leaves_the_others() -> None:
    labels = np.array([0, 1] * 10 + [-1] * 5, np.int64)
    splits = np.array([TRAIN] * 15 + [TEST] * 5 + [UNLABELLED] * 5, np.int8)
    assert assign_splits(labels, splits, 2, None).tolist() == splits.tolist()
    assigned = assign_splits(labels, splits, 2, 0.29)
    assert np.bincount(assigned).tolist() == [5, 15, 5]  # 0.29 * 20 = 5.8
    assert (assigned[20:] == UNLABELLED).all()
    assert np.bincount(assign_splits(labels, splits, 2, 0.35)).tolist()[0] == 7  # 0.35 * 20 is just under 7 in floats


# Of images with masks, the classes that each shows: three are everywhere, five in few images, one in one of them.
SHOWN = np.random.default_rng(0).random((60, 9)) < np.array([0.9, 0.9, 0.9, *[0.08] * 5, 0.0])
SHOWN[41, 8] = True


def shown_subset(count: int, seed: int, draw: Literal["balanced", "uniform"] = "balanced") -> list[int]:
    return labelled_subset(np.zeros(60, np.int64), count, draw, seed, 9, SHOWN).tolist()


def test_a_balanced_draw_of_masks_shows_every_class_if_it_may_have_as_many_images_as_classes() -> None:
    assert SHOWN.any(axis=0).all()
    for seed in range(20):
        assert SHOWN[shown_subset(9, seed)].any(axis=0).all()
    assert not all(SHOWN[shown_subset(9, seed, "uniform")].any(axis=0).all() for seed in range(20))


def test_each_image_of_a_small_balanced_draw_shows_a_class_more() -> None:
    for seed in range(20):
        classes = [int(SHOWN[shown_subset(count, seed)].any(axis=0).sum()) for count in range(1, 10)]
        assert all(before < after for before, after in pairwise(classes) if before < 9)


@pytest.mark.parametrize("draw", ["balanced", "uniform"])
def test_a_larger_subset_of_images_with_masks_contains_a_smaller(draw: Literal["balanced", "uniform"]) -> None:
    subsets = [shown_subset(count, 3, draw) for count in (1, 4, 9, 10, 37, 60)]
    assert [len(set(subset)) for subset in subsets] == [1, 4, 9, 10, 37, 60]
    assert all(subset == sorted(subset) for subset in subsets)
    assert all(set(small) < set(large) for small, large in pairwise(subsets))


def test_draws_of_masks_differ_by_seed_and_a_class_that_no_mask_shows_is_passed_over() -> None:
    assert len({tuple(shown_subset(9, seed)) for seed in range(8)}) == 8
    without = SHOWN.copy()
    without[41, 8] = False
    subset = labelled_subset(np.zeros(60, np.int64), 9, "balanced", 0, 9, without)
    assert without[subset].any(axis=0).tolist() == [True] * 8 + [False]


@pytest.mark.parametrize(("num_images", "folds"), [(40, 4), (43, 4), (57, 3), (20, 2), (40, 5)])
def test_folds_are_stratified_and_of_one_size(num_images: int, folds: int) -> None:
    labels = LABELS[labelled_subset(LABELS, num_images, "balanced", 2, 10)]
    numbers = fold_numbers(labels, folds, seed=1)
    sizes = np.bincount(numbers, minlength=folds)
    assert len(sizes) == folds
    assert sizes.sum() == num_images
    assert sizes.max() - sizes.min() <= 1
    for own in (np.bincount(numbers[labels == label], minlength=folds) for label in range(10)):
        assert own.max() - own.min() <= 1


def test_folds_follow_the_seed_alone() -> None:
    labels = LABELS[labelled_subset(LABELS, 60, "balanced", 2, 10)]
    numbers = fold_numbers(labels, 4, seed=1)
    np.testing.assert_array_equal(numbers, fold_numbers(labels.copy(), 4, seed=1))
    assert (numbers != fold_numbers(labels, 4, seed=2)).any()
