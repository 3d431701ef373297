"""The segmentation of a test set comes back as it was written, in the place of test features."""

import numpy as np
import pytest

from raysl.errors import ResultsError
from raysl.results.records.features import features_path, has_features, read_features, read_masks, write_kept
from raysl.results.records.segmented import Segmented, shown_places
from raysl.results.storage.store import Store


@pytest.fixture(params=[1, 3])
def kept(request: pytest.FixtureRequest) -> Segmented:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 255, (3, 8, 8, request.param), dtype=np.uint8)
    masks = draw.integers(0, 2, (2, 3, 8, 8), dtype=np.uint8)
    return Segmented("t0", ("sky", "road"), "set", np.array([[5, 1], [2, 7]]), np.array([4, 1, 0]), pixels, *masks)


def test_it_comes_back_as_it_was(store: Store, kept: Segmented) -> None:
    write_kept(store, kept)
    assert has_features(store, "t0")
    found = read_masks(store, "t0")
    assert (found.trial_id, found.class_names, found.source) == ("t0", ("sky", "road"), "set")
    for name in ("confusion", "places", "images", "truths", "predicted"):
        np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))
    with pytest.raises(ResultsError, match="its images have masks"):
        read_features(store, "t0")


def test_that_of_a_trial_that_segments_nothing_is_empty(store: Store) -> None:
    write_kept(store, Segmented.empty("t0", ("sky", "road"), "set"))
    assert has_features(store, "t0")
    assert len(read_masks(store, "t0").images) == 0


def test_damage_is_seen(store: Store, kept: Segmented) -> None:
    write_kept(store, kept)
    content = store.read(features_path("t0"))
    for damaged in (content[:-50], content.replace(b"[[5, 1], [2, 7]]", b"[[5, 1], [2, 8]]")):
        assert damaged != content
        store.write(features_path("t0"), damaged)
        assert not has_features(store, "t0")
        with pytest.raises(ResultsError, match="damaged"):
            read_masks(store, "t0")


def test_the_best_the_median_and_the_worst_image_are_shown() -> None:
    shares = np.array([0.5, 0.9, 0.1, 0.7])
    confusions = np.array([[[round(100 * s), round(100 * (1 - s))], [0, 0]] for s in shares])
    assert shown_places(confusions).tolist() == [1, 0, 2]
    assert shown_places(confusions[:1]).tolist() == [0]
    assert shown_places(confusions[:0]).tolist() == []
