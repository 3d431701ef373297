"""A trained model from Python gives the features that its trial was scored by."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import Finished

import raysl
from raysl.data.registry.sets import locate_content
from raysl.data.storage.decoded_cache import load_test
from raysl.results.records.features import read_features
from raysl.results.storage.store import Store
from raysl.training.features import FEATURE_BATCH


def test_its_features_are_those_that_were_scored(finished: Callable[..., Finished]) -> None:
    results = finished().results
    before = torch.random.get_rng_state()
    model = raysl.load_model(results, stage="finetune", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    images, labels = load_test(model.spec.data)
    with torch.no_grad():
        parts = (images[start : start + FEATURE_BATCH] for start in range(0, len(images), FEATURE_BATCH))
        found = torch.cat([model(model.preprocess(part)) for part in parts])
        logits = model.classify(model.preprocess(images))
    kept = read_features(Store.open(str(results), create=False), model.trial_id)
    assert kept is not None
    np.testing.assert_array_equal(found.numpy(), kept.features)
    assert not model.training
    assert not model.encoder.training
    assert model.class_names == tuple(map(str, range(10)))
    assert logits.shape == (len(labels), 10)


def test_images_of_every_form_are_preprocessed_alike(finished: Callable[..., Finished]) -> None:
    model = raysl.load_model(finished().results, "semi")
    images, _ = load_test(model.spec.data)
    whole = model.preprocess(images[:3])
    picture = Image.fromarray(images[0, ..., 0])
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    for form in (picture, [picture], buffer.getvalue(), images[0], images[0, ..., 0], picture.convert("RGB")):
        assert torch.equal(model.preprocess(form), whole[:1])
    assert model.preprocess(picture.resize((40, 20))).shape == whole[:1].shape
    assert model.preprocess([]).shape == (0, *whole.shape[1:])
    for wrong in (3, "a.png", [3], images[0].astype(float), np.zeros((2, 4, 4, 2), np.uint8), [b"no image"]):
        with pytest.raises(raysl.UserError):
            model.preprocess(wrong)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no results": ({"results": "/nowhere"}, "/nowhere: no such folder"),
    "several stages": ({"stage": None}, "several stages; give the name or the id of one"),
    "an unknown stage": ({"stage": "smi"}, "stage smi: did you mean 'semi'?"),
    "an unknown config": ({"config": "best"}, "config best: "),
    "an unknown seed": ({"seed": 2}, "seed 2: choices: 0, 1"),
    "a seed that is none": ({"seed": "0"}, "seed '0'"),
    "a milestone that was not kept": ({"epoch": 2}, "@2.safetensors: not there; milestones of this trial: none"),
    "a milestone that is none": ({"epoch": 0}, "epoch 0"),
    "values that no config has": ({"config": "lr=0.1"}, "config lr=0.1: no config has it: choices: "),
    "values of which several have": ({"config": {}}, "several configs have it: choices: "),
    "a key that was not searched": ({"config": {"momentum": 0.1}}, "momentum: choices: optimizer.lr"),
    "a value twice": ({"config": "lr=0.01,lr=0.001"}, "a key stands there twice"),
    "values of another form": ({"config": "lr=0.1,seed"}, "give an id, or values as in lr=0.1,epochs=5"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_a_user_error(kind: str, finished: Callable[..., Finished]) -> None:
    given, expected = REFUSED[kind]
    with pytest.raises(raysl.UserError) as refused:
        raysl.load_model(**{"results": finished().results, "stage": "semi"} | given)
    assert expected in str(refused.value)


def test_a_model_that_was_dropped_or_learns_no_classes_is_named(
    finished: Callable[..., Finished], tmp_path: Path
) -> None:
    results = finished().results
    dropped = next(row for row in raysl.read(str(results)).configs.to_pylist() if not row["selected"])
    with pytest.raises(raysl.UserError, match="not there; models are kept of selected configs"):
        raysl.load_model(results, dropped["stage_id"], dropped["config_id"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(raysl.UserError, match="no search has been here"):
        raysl.load_model(tmp_path / "empty")
    text = finished().file.read_text().partition("  finetune:")[0].replace("{grid: [1e-2, 1e-3]}", "0.01")
    rotation = finished(text.replace("{name: semi, pretext: {name: rotation}}", "{name: rotation}"))
    model = raysl.load_model(rotation.results)
    assert not model.classifies
    with pytest.raises(raysl.UserError, match="method rotation learns no classes"):
        model.classify(model.preprocess(np.zeros((8, 8), np.uint8)))


def test_a_config_is_named_by_its_searched_values(finished: Callable[..., Finished]) -> None:
    results = finished().results
    chosen = raysl.load_model(results, "semi")
    rate = chosen.spec.optimizer.lr
    for config in ({"optimizer.lr": rate}, {"lr": rate}, f"lr={rate}", f"optimizer.lr={rate:.6g}", f" lr = {rate:e} "):
        assert raysl.load_model(results, "semi", config).trial_id == chosen.trial_id
    other = {1e-2: 1e-3, 1e-3: 1e-2}[rate]
    with pytest.raises(raysl.UserError, match="not there; models are kept of selected configs"):
        raysl.load_model(results, "semi", {"lr": other})


def test_a_milestone_is_loaded_by_its_epoch(finished: Callable[..., Finished], tmp_path: Path) -> None:
    text = finished().file.read_text().partition("  finetune:")[0].replace("{grid: [1e-2, 1e-3]}", "0.01")
    results = finished(text.replace("epochs: 4", "epochs: 4\n    milestones: [0, 2]")).results
    end, same, half, first = (raysl.load_model(results, epoch=epoch) for epoch in (None, 4, 2, 0))
    images = end.preprocess(np.zeros((8, 8), np.uint8))
    with torch.no_grad():
        assert torch.equal(end(images), same(images))
        assert not torch.equal(end(images), half(images))
        assert not torch.equal(half(images), first(images))
    raysl.export_model(results, epoch=0, output=tmp_path / "first.safetensors")
    with pytest.raises(raysl.UserError, match="milestones of this trial: 0, 2"):
        raysl.load_model(results, epoch=3)


@pytest.mark.slow
def test_a_model_is_loaded_where_its_training_images_are_not(
    finished: Callable[..., Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = finished().file
    there = raysl.load_model(finished().results, "semi")
    images, _ = load_test(there.spec.data)
    with torch.no_grad():
        expected = there(there.preprocess(images))
    set_of_files = tmp_path / "moved.parquet"
    set_of_files.write_bytes(locate_content(there.spec.data.source, there.spec.data.digest).read_bytes())
    text = file.read_text().partition("  finetune:")[0].replace("source: digits", f"source: 'parquet:{set_of_files}'")
    results = finished(text).results
    set_of_files.unlink()
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "empty"))
    model = raysl.load_model(results)
    with torch.no_grad():
        assert torch.equal(model(model.preprocess(images)), expected)
    with pytest.raises(raysl.UserError, match="does not exist"):
        _ = model.class_names
