import numpy as np
import pytest

from raysl.results.confusion import IGNORED, class_ious, confusion_matrix, mean_iou


def test_ious_by_hand() -> None:
    truth = np.array([[0, 0, 1], [1, 2, IGNORED]], np.uint8)
    predicted = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
    confusion = confusion_matrix(truth, predicted, 4)
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    ious = class_ious(confusion)
    assert ious[:3].tolist() == [1 / 3, 2 / 3, 0]
    assert np.isnan(ious[3]), "a class that the set does not have"
    assert mean_iou(confusion) == pytest.approx(1 / 3)


def test_a_class_that_is_only_predicted_is_in_no_mean_but_costs_the_others() -> None:
    confusion = confusion_matrix(np.array([0, 0], np.uint8), np.array([0, 1], np.uint8), 2)
    assert mean_iou(confusion) == 0.5


def test_the_mean_is_over_all_pixels_and_not_over_images() -> None:
    """Images of unequal content: a mean over images is another number."""
    truth = np.array([[0, 0, 0, 0], [0, 1, 1, 1]], np.uint8)
    predicted = np.array([[0, 0, 0, 0], [1, 1, 1, 1]], np.uint8)
    whole = sum(confusion_matrix(*pair, 2) for pair in zip(truth, predicted, strict=True))
    assert np.array_equal(whole, confusion_matrix(truth, predicted, 2))
    assert mean_iou(whole) == pytest.approx((4 / 5 + 3 / 4) / 2)
    each = [mean_iou(confusion_matrix(*pair, 2)) for pair in zip(truth, predicted, strict=True)]
    assert np.mean(each) != pytest.approx(mean_iou(whole))


def test_nothing_but_ignored_pixels_is_0() -> None:
    assert mean_iou(confusion_matrix(np.full(3, IGNORED, np.uint8), np.zeros(3, np.uint8), 2)) == 0
