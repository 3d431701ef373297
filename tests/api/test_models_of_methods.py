"""A model of every method loads, and gives the features that its trial's probe saw."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny import Finished

import raysl
from raysl import methods
from raysl.data.storage.decoded_cache import load_test
from raysl.probes.probe_dispatch import training_accuracy
from raysl.results.records.features import read_features
from raysl.results.records.rows import read_row
from raysl.results.storage.store import Store
from raysl.training.features import FEATURE_BATCH
from raysl.training.input_pipeline import Feed

pytestmark = pytest.mark.slow

OF_IMAGES = [name for name in methods.names() if methods.describe(name).level == "image"]
MORE: dict[str, dict[str, Any]] = {"moco": {"queue": 32}, "semi": {"pretext": {"name": "rotation"}}}


@pytest.fixture(scope="module")
def results(finished: Callable[..., Finished]) -> str:
    """Return the results of a search with a stage for each method."""
    stages: dict[str, dict[str, Any]] = {}
    trained = [name for name in OF_IMAGES if methods.describe(name).trains]
    for name in trained:
        stages[name] = {
            "method": {"name": name, **MORE.get(name, {})},
            "epochs": 1,
            "batch_size": 64 if "labelled" not in methods.describe(name).streams else 20,
            "optimizer": {"name": "sgd", "lr": 1e-3},
            "select": "train_loss",
        }
    for name in set(OF_IMAGES) - set(trained):
        stages[name] = {"method": {"name": name}, "start_from": trained[0], "select": "probe_accuracy"}
    experiment = {
        "name": "methods",
        "data": {"source": "digits", "labels": 40, "unlabelled": 128},
        "model": {"backbone": "small_resnet", "features": 16},
        "seeds": 1,
        "stages": stages,
    }
    return str(finished(yaml.safe_dump(experiment, sort_keys=False)).results)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_its_features_are_those_that_the_probe_saw(name: str, results: str) -> None:
    model = raysl.load_model(results, stage=name)
    assert model.spec.method["name"] == name
    assert not any(part.training for part in model.modules())
    store = Store.open(results, create=False)
    kept, row = read_features(store, model.trial_id), read_row(store, model.trial_id)
    assert kept is not None
    assert row is not None
    images, _ = load_test(model.spec.data)
    np.testing.assert_allclose(features(model, images), kept.features, rtol=0, atol=1e-6)
    feed = Feed(model.spec, model.method.views(), torch.device("cpu")) if model.spec.trains else None
    if feed is not None and model.spec.probe is None:
        images, labels = feed.labelled_images()
        seen = features(model, images)
        found = training_accuracy(seen, labels, model.spec.probes.used, model.spec.stream_seed("split"))
        assert found == row.probe["accuracy"]
    assert model.classifies == (name in methods.classifiers())
    if model.classifies:
        assert model.classify(model.preprocess(images[:3])).shape == (3, len(model.class_names))


def features(model: Any, images: np.ndarray) -> np.ndarray:
    parts = (images[start : start + FEATURE_BATCH] for start in range(0, len(images), FEATURE_BATCH))
    with torch.no_grad():
        found: np.ndarray = torch.cat([model(model.preprocess(part)) for part in parts]).numpy()
    return found
