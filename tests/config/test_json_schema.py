"""The JSON schema for editors: it allows every experiment here, and refuses wrong keys and values."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

import raysl
from raysl.config.compose import compose
from raysl.config.json_schema import json_schema, text
from raysl.config.override import check_reachable, parse_override
from raysl.config.reference_examples import EXAMPLES
from raysl.plain_yaml import read_one
from raysl.search.experiment import ExperimentSettings

ROOT = Path(raysl.__file__).parents[1]
FILES = sorted((ROOT / "search_spaces").glob("*.yaml"))
VALIDATOR = Draft7Validator(json_schema())
BASE = """
name: own
stages:
  pretrain:
    method: {name: sidae}
    epochs: 5
    batch_size: 32
    optimizer: {name: sgd, lr: {loguniform: [0.01, 1]}}
    search: {algorithm: random, num_configs: 3}
    select: probe_accuracy
    milestones: [2]
"""


def mistakes(values: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(values)]


def test_the_file_is_what_the_models_make() -> None:
    written = (ROOT / "docs" / "experiment.schema.json").read_text(encoding="utf-8")
    assert written == text(), "python -m raysl.config.json_schema > docs/experiment.schema.json"
    Draft7Validator.check_schema(json.loads(written))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_experiments_and_their_profiles_are_allowed(file: Path) -> None:
    values = read_one(file.read_text(encoding="utf-8")).value
    assert mistakes(values) == []
    for profile in values.get("profiles", {}):
        assert mistakes(compose(file, profile).values) == [], profile


@pytest.mark.parametrize(
    "override",
    [
        "seeds=[1, 2]",
        "data.labels=all",
        "data.attack={name: one_pixel}",
        "model.weights=imagenet",
        "model.weights={source: 'file:encoder.safetensors', mean: [0.5], std: [0.2]}",
        "stages.pretrain.data={labels: all}",
        "stages.pretrain.epochs={grid: [5, 10]}",
        "stages.pretrain.optimizer.lr={loguniform: [0.01, 1]}",
        "stages.pretrain.optimizer.nesterov={choice: [true, false]}",
        "stages.pretrain.method.w={uniform: [0, 1]}",
        "stages.pretrain.method.interpolation={grid: [bilinear, bicubic]}",
        "stages.pretrain.method={name: semi, pretext: {name: vicreg, variance: {grid: [1, 25]}}}",
        "stages.pretrain.schedule={name: cosine, warmup: {int: [0, 3]}}",
        "stages.pretrain.search={algorithm: optuna, num_configs: 9, sampler: {name: TPESampler, n_startup_trials: 3}}",
        "stages.knn={method: {name: frozen}, start_from: pretrain, start_epoch: {grid: [2, 5]}, probe: knn}",
        "profiles={long: {stages: {pretrain: {epochs: 9, method: {projector: 64}, optimizer: {lr: {grid: [1]}}}}}}",
        "profiles={none: null, grid: {stages: {pretrain: {search: null}}}}",
    ],
)
def test_what_raysl_takes_is_allowed(override: str) -> None:
    assert mistakes(overridden(override)) == []
    raysl.load(overridden(override))


@pytest.mark.parametrize(
    "override",
    [
        "seed=5",
        "seeds={grid: [1, 2]}",
        "data.labels=none",
        "data.image_size={grid: [32, 64]}",
        "data.attack={name: two_pixels}",
        "model.backbone=resnet",
        "model.weights={mean: [0.5]}",
        "stages.pretrain.epoch=5",
        "stages.pretrain.epochs=many",
        "stages.pretrain.epochs={grid: []}",
        "stages.pretrain.epochs={grid: [5], int: [1, 2]}",
        "stages.pretrain.epochs={uniform: [5, 10]}",
        "stages.pretrain.precision={grid: [fp32, bf16]}",
        "stages.pretrain.optimizer={name: sgd}",
        "stages.pretrain.optimizer.beta1=0.9",
        "stages.pretrain.optimizer.lr={uniform: [0.1]}",
        "stages.pretrain.optimizer.lr={normal: [0, 1]}",
        "stages.pretrain.method.weight=0.5",
        "stages.pretrain.method.w={grid: [0.5, 2]}",
        "stages.pretrain.method={name: semi, pretext: {name: supervised}}",
        "stages.pretrain.stop={scheduler: asha, min_peers: 2}",
        "stages.knn={method: {name: frozen}, start_from: pretrain, epochs: 5}",
        "stages.knn={method: {name: frozen}}",
    ],
)
def test_what_raysl_refuses_is_no_valid_yaml(override: str) -> None:
    assert mistakes(overridden(override)) != []
    with pytest.raises(raysl.UserError):
        raysl.load(overridden(override))


@pytest.mark.parametrize("profile", ["{epoch: 5}", "{epochs: 5}", "{stages: {pretrain: {method: {weight: 1}}}}", "[]"])
def test_wrong_profiles_are_no_valid_yaml(profile: str) -> None:
    assert mistakes(overridden(f"profiles={{long: {profile}}}")) != []


def test_editors_show_what_a_key_means() -> None:
    found = json_schema()
    assert set(found["properties"]) == {*ExperimentSettings.model_fields, "profiles"}
    image_size = found["definitions"]["DataSettings"]["properties"]["image_size"]
    assert image_size["description"].startswith("height and width")
    stage = found["definitions"]["TrainedStage"]["properties"]
    assert all("description" in one for one in stage.values())
    assert {model.__name__ for model in EXAMPLES if "Stage" in model.__name__} <= set(found["definitions"])


def overridden(override: str) -> dict[str, Any]:
    """Return the base with one value changed."""
    values: dict[str, Any] = read_one(BASE).value
    one = parse_override(override)
    check_reachable(one, values)
    owner = values
    for key in one.path[:-1]:
        owner = owner.setdefault(key, {})
    owner[one.path[-1]] = one.value
    return values
