"""What people write out of habit with other tools is answered with raysl's word, or its place in the experiment."""

from pathlib import Path

import pytest

from raysl.config import load
from raysl.config.document import ConfigError

EXPERIMENT = """\
name: example
data: {labels: 50}
stages:
  semi:
    method: {name: semi, pretext: {name: rotation}, lambda_u: 0.5}
    epochs: 3
    batch_size: 32
    optimizer: {name: adam, lr: 0.01}
  fine:
    method: {name: supervised}
    start_from: semi
    epochs: 3
    batch_size: 32
    optimizer: {name: sgd, lr: 0.1}
"""
LR = "stages.semi.optimizer.lr"
SPACE = "as a search space that is"

# Each: an override, and what the message must hold.
HABITS = {
    "wandb: values": (f"{LR}={{values: [0.1, 0.2]}}", f"{SPACE} {{grid: [0.1, 0.2]}} or {{choice: [0.1, 0.2]}}"),
    "wandb: min and max": (f"{LR}={{min: 0.1, max: 0.5}}", f"{SPACE} {{uniform: [0.1, 0.5]}}"),
    "wandb: whole numbers": ("stages.semi.epochs={min: 1, max: 5}", f"{SPACE} {{int: [1, 5]}}"),
    "wandb: a distribution": (
        f"{LR}={{distribution: log_uniform_values, min: 0.1, max: 0.5}}", f"{SPACE} {{loguniform: [0.1, 0.5]}}",
    ),
    "Optuna: low and high": (f"{LR}={{low: 0.1, high: 0.5, log: true}}", f"{SPACE} {{loguniform: [0.1, 0.5]}}"),
    "Optuna: a call": (f"{LR}=suggest_float(0.1, 0.5)", f"{SPACE} {{grid: [0.1, 0.5]}}"),
    "NNI: a type": (f"{LR}={{_type: choice, _value: [0.1, 0.2]}}", f"{SPACE} {{grid: [0.1, 0.2]}}"),
    "Ray: a grid search": (f"{LR}={{grid_search: [0.1, 0.2]}}", f"{SPACE} {{grid: [0.1, 0.2]}}"),
    "Ray: a call": (f"{LR}=tune.loguniform(1e-4, 0.1)", f"{SPACE} {{loguniform: [0.0001, 0.1]}}"),
    "Hydra: a list with commas": (f"{LR}=0.1,0.2", f"{SPACE} {{grid: [0.1, 0.2]}}"),
    "Hydra: a call": (f"{LR}=choice(0.1, 0.2)", f"{SPACE} {{grid: [0.1, 0.2]}} or {{choice: [0.1, 0.2]}}"),
    "a plain list": ("stages.semi.epochs=[1, 2]", f"{SPACE} {{grid: [1, 2]}}"),
    "of a nested hyperparameter": (
        "stages.semi.method.pretext={name: rotation, copies: {values: [1, 4]}}", f"{SPACE} {{grid: [1, 4]}}",
    ),
    "a range without a search": (f"{LR}={{uniform: [0.1, 0.5]}}", "stages.semi.search: {algorithm: random"),
    "a key without its stage": ("epochs=3", "in this experiment: stages.semi.epochs, stages.fine.epochs"),
    "a key without its section": ("lr=0.1", f"in this experiment: {LR}, stages.fine.optimizer.lr"),
    "a key of its stage, one level up": ("stages.fine.lr=1", "in this experiment: stages.fine.optimizer.lr"),
    "another word": ("learning_rate=1", f"in this experiment: {LR}, "),
    "another word in its section": ("stages.semi.optimizer.learning-rate=1", f"in this experiment: {LR}"),
    "Ray's number of trials": ("num_samples=20", "in this experiment: stages.semi.search.num_configs, "),
    "a data set": ("dataset=mnist", "in this experiment: data.source"),
    "an architecture": ("model.arch=resnet18", "in this experiment: model.backbone"),
    "American spelling": ("data.unlabeled=5", "in this experiment: data.unlabelled"),
    "GPUs": ("num_gpus=1", "in this experiment: resources.gpus"),
    "of its stage alone": ("stages.fine.method.lr=1", "in this experiment: stages.fine.optimizer.lr"),
    "an optimizer's name alone": ("stages.fine.optimizer=adam", "not 'adam'; write {name: adam}"),
    "a method's name alone": ("stages.semi.method.pretext=rotation", "write {name: rotation}"),
    "a data set's name alone": ("data=mnist", "write {source: mnist}"),
    "a search's algorithm alone": ("stages.semi.search=random", "write {algorithm: random}"),
    "a scheduler's name alone": ("stages.semi.stop=asha", "write {scheduler: asha}"),
    "a truth value of YAML 1.1": ("stages.fine.optimizer.nesterov=yes", "not 'yes'; a truth value is true or false"),
    "a pruner": ("stages.semi.pruner=median", "in this experiment: stages.semi.stop"),
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.yaml"
    path.write_text(EXPERIMENT)
    return path


@pytest.mark.parametrize("habit", HABITS)
def test_the_message_has_raysl_s_own_word(file: Path, habit: str) -> None:
    override, expected = HABITS[habit]
    with pytest.raises(ConfigError) as caught:
        load(file, overrides=[override])
    assert expected in str(caught.value)


@pytest.mark.parametrize("override", ["data.labels=[1, 2]", "seeds={min: 1, max: 3}", "name=[a, b]"])
def test_what_cannot_be_searched_is_not_offered_as_a_space(file: Path, override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides=[override])
    assert SPACE not in str(caught.value)


def test_a_word_that_is_nowhere_is_offered_nothing(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides=["banana=1"])
    assert "in this experiment" not in str(caught.value)
