"""Reading experiments: what they come to, and what is refused with the place, the value and the choices."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from raysl.config import load
from raysl.config.document import ConfigError, read_document
from raysl.errors import UserError
from raysl.probes.settings import LinearSVM
from raysl.search.space import Grid
from raysl.search.stage_settings import StageSettings

SPACES = Path(__file__).parents[2] / "search_spaces"

EXPERIMENT = """\
name: example
data: {source: digits, labels: 50}
model: {backbone: small_resnet}
seeds: 2
stages:
  rotation:
    method: {name: rotation}
    epochs: 3
    batch_size: 32
    optimizer: {name: adam, lr: {grid: [1e-2, 1e-3]}}
  finetune:
    method: {name: supervised}
    start_from: rotation
    epochs: 3
    batch_size: 32
    optimizer: {name: sgd, lr: 0.1, momentum: 0.5}
    schedule: {name: cosine, warmup: 1}
profiles:
  long:
    stages: {rotation: {epochs: 30}}
  adamw:
    stages: {finetune: {optimizer: {name: adamw, lr: 1e-3}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.yaml"
    path.write_text(EXPERIMENT)
    return path


def rewritten(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return file


def test_exponents_without_a_dot_are_floats(file: Path) -> None:
    rates = load(file).stages[0].space["optimizer.lr"].ends
    assert rates == (0.01, 0.001)
    assert all(isinstance(rate, float) for rate in rates)


@pytest.mark.parametrize("word", ["no", "on", "y"])
def test_words_that_yaml_1_1_takes_for_truth_values_stay_words(file: Path, word: str) -> None:
    assert load(rewritten(file, "name: example", f"name: {word}")).name == word


def test_configs_are_the_grid_in_order_with_every_default_filled(file: Path) -> None:
    first, second = load(file).stages[0].configs
    assert (first.settings.optimizer.lr, second.settings.optimizer.lr) == (0.01, 0.001)
    assert first.settings.method == {"name": "rotation", "copies": 1}
    assert first.settings.schedule.name == "constant"


def test_two_grids_make_their_product(file: Path) -> None:
    experiment = load(file, overrides=["stages.rotation.batch_size={grid: [16, 32]}"])
    params = [dict(config.params) for config in experiment.stages[0].configs]
    assert len(params) == 4
    assert {(p["optimizer.lr"], p["batch_size"]) for p in params} == {(lr, b) for lr in (0.01, 0.001) for b in (16, 32)}
    assert [c.settings.batch_size for c in experiment.stages[0].configs] == [p["batch_size"] for p in params]


def test_file_then_profile_then_set(file: Path) -> None:
    assert load(file, "long").stages[0].configs[0].settings.epochs == 30
    assert load(file, "long", ["stages.rotation.epochs=7"]).stages[0].configs[0].settings.epochs == 7


def test_another_optimizer_keeps_nothing_of_the_old_one(file: Path) -> None:
    optimizer = load(file, "adamw").stages[1].configs[0].settings.optimizer
    assert optimizer.name == "adamw"  # `momentum: 0.5` of the sgd would have been refused


def test_a_value_replaces_a_grid(file: Path) -> None:
    stage = load(file, overrides=["stages.rotation.optimizer.lr=0.5"]).stages[0]
    assert stage.space == {}
    assert stage.configs[0].settings.optimizer.lr == 0.5


def test_seeds_are_a_number_or_a_list(file: Path) -> None:
    assert load(file).seeds == (0, 1)
    assert load(file, overrides=["seeds=[7, 3]"]).seeds == (7, 3)


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_experiments_load_under_each_of_their_profiles(path: Path) -> None:
    for profile in (None, *read_document(path).values.get("profiles", {})):
        assert load(path, profile).name == path.stem


PAPER_OF_2021 = sorted(SPACES.glob("siamese_*.yaml"))
PAPER_OF_2024 = [
    SPACES / f"{name}.yaml"
    for name in ("sidae", "sidae_w", "sidae_w_optuna", "simsiam", "denoising_autoencoder", "supervised_classifier")
]
PAPER_OF_2022 = sorted([*SPACES.glob("barlow_twins*.yaml"), *SPACES.glob("rotation*.yaml"), SPACES / "supervised.yaml"])
EPOCHS = {"fashion_mnist": 30, "stl10": 50, "malaria": 100}  # where unlabelled images are seen, as in 2021
PROFILES = tuple(EPOCHS)


@pytest.mark.parametrize("path", PAPER_OF_2022, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", [None, *PROFILES])
def test_experiments_of_2022_follow_the_paper(path: Path, profile: str | None) -> None:
    experiment = load(path, profile)
    assert experiment.seeds == (0, 1, 2, 3, 4)
    for stage in experiment.stages:
        settings = stage.configs[0].settings
        assert stage.space == {"optimizer.lr": Grid((1e-2, 1e-3, 1e-4))}
        assert (settings.optimizer.name, settings.select) == ("adam", "train_loss")
        assert settings.schedule.model_dump() == {"name": "exponential", "hold": 0.05, "rate": 0.01}
        twins = next(
            (m for m in (settings.method, settings.method.get("pretext", {})) if m.get("name") == "barlow_twins"), None
        )
        if profile is not None:
            assert settings.batch_size == (32 if twins is None else 120 if profile == "malaria" else 200)
            assert twins is None or twins == {
                "name": "barlow_twins",
                "lambd": 0.0051,
                "projector": 2048,
                "min_crop": 0.08,
                "interpolation": "bicubic",
            }
            unlabelled = settings.method["name"] != "supervised"
            assert settings.epochs == (EPOCHS[profile] if unlabelled else 100)
        # Labelled images are never augmented.
        assert settings.method.get("views", "none") == "none"
    if profile is not None:
        model = experiment.model
        assert (model.backbone, model.stem, model.features) == ("resnet50", "imagenet", 128)
        assert experiment.data.image_size == (128 if profile == "malaria" else 96)
        assert experiment.data.train_fraction == (0.5 if profile == "malaria" else None)
        assert experiment.data.labels == 0.01
        assert experiment.probes.linear_svm == LinearSVM(C=1.0, scale="none")


@pytest.mark.parametrize("path", PAPER_OF_2021, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", PROFILES)
def test_experiments_of_2021_follow_the_paper(path: Path, profile: str) -> None:
    experiment = load(path, profile)
    [stage] = experiment.stages
    settings = stage.configs[0].settings
    epochs = EPOCHS[profile] if "semi" in path.stem else 100
    assert (len(experiment.seeds), settings.epochs, settings.batch_size) == (5, epochs, 64)
    assert settings.method["views"] == "none"
    assert (settings.optimizer.name, settings.optimizer.lr, stage.space) == ("adam", 1e-3, {})
    assert settings.schedule.model_dump() == {"name": "exponential", "hold": 0.4, "rate": 0.01}
    assert (experiment.model.hidden, experiment.model.features) == (4096, 128)
    assert experiment.data.image_size == (128 if profile == "malaria" else 96)
    assert experiment.data.labels == 0.01
    assert experiment.probes.linear_svm == LinearSVM(C=1.0, scale="none")


@pytest.mark.parametrize("path", PAPER_OF_2022 + PAPER_OF_2021, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", ["fashion_mnist_laptop", "malaria_laptop"])
def test_laptop_profiles_are_small(path: Path, profile: str) -> None:
    experiment = load(path, profile)
    assert (experiment.model.backbone, experiment.seeds) == ("small_resnet", (0, 1, 2))
    assert experiment.data.labels == (600 if "fashion" in profile else 137)


STAGES = EXPERIMENT[EXPERIMENT.index("stages:") : EXPERIMENT.index("profiles:")]

# Each: what is wrong in the file, the line it stands on, and what the message must hold.
BROKEN = {
    "unknown key": ("seeds: 2", "sed: 2", 4, ["sed", "unknown key", "did you mean 'seeds'?", "stages"]),
    "unknown nested key": ("batch_size: 32", "batchsize: 32", 9, ["batchsize", "did you mean 'batch_size'?"]),
    "missing key": ("    epochs: 3\n", "", 6, ["stages.rotation.epochs", "must be given"]),
    "wrong type": ("epochs: 3", "epochs: three", 8, ["stages.rotation.epochs", "integer", "'three'"]),
    "quoted number": ("epochs: 3", "epochs: '3'", 8, ["integer", "'3'"]),
    "number out of range": ("lr: 0.1", "lr: -0.1", 16, ["stages.finetune.optimizer.lr", "greater than 0", "-0.1"]),
    "bad value in a grid": ("1e-2, 1e-3", "1e-2, high", 10, ["stages.rotation.optimizer.lr", "number", "'high'"]),
    "not finite": ("lr: 0.1", "lr: .inf", 16, ["finite"]),
    "unknown backbone": ("small_resnet", "resnet19", 3, ["model.backbone", "'resnet18'", "'resnet19'"]),
    "unknown method": ("name: rotation", "name: rotate", 7, ["'rotate'", "did you mean 'rotation'?", "supervised"]),
    "unknown hyperparameter": ("name: rotation", "name: rotation, copy: 4", 7, ["method.copy", "'copies'?"]),
    "impossible hyperparameter": ("name: rotation", "name: rotation, copies: 3", 7, ["copies", "1 or 4", "3"]),
    "unknown optimizer": ("name: adam", "name: adm", 10, ["'adm'", "did you mean 'adam'?", "lars"]),
    "optimizer without a name": ("{name: adam, ", "{", 10, ["optimizer", "'name' must be given", "sgd"]),
    "setting of another optimizer": ("momentum: 0.5", "beta1: 0.5", 16, ["beta1", "unknown key", "momentum"]),
    "grid on the data": ("labels: 50", "labels: {grid: [50, 100]}", 2, ["data.labels", "not searchable"]),
    "grid on a name": ("name: rotation", "name: {grid: [rotation]}", 7, ["method.name", "not searchable"]),
    "empty grid": ("[1e-2, 1e-3]", "[]", 10, ["optimizer.lr", "at least one value"]),
    "grid that repeats": ("[1e-2, 1e-3]", "[1e-2, 0.01]", 10, ["optimizer.lr", "each value once"]),
    "later stage": ("    epochs: 3", "    start_from: finetune\n    epochs: 3", 8, ["not an earlier stage"]),
    "no such stage": ("start_from: rotation", "start_from: rotatoin", 13, ["'rotatoin'", "did you mean 'rotation'?"]),
    "one stream": ("    epochs: 3", "    unlabelled_ratio: 7\n    epochs: 3", 8, ["7", "takes unlabelled images"]),
    "ratio of none": ("    epochs: 3", "    unlabelled_ratio: 0\n    epochs: 3", 8, ["unlabelled_ratio", "0"]),
    "no steps": ("    epochs: 3", "    steps_per_epoch: 0\n    epochs: 3", 8, ["steps_per_epoch", "0"]),
    "nothing to freeze": ("    epochs: 3", "    freeze: backbone\n    epochs: 3", 8, ["freeze", "start_from"]),
    "seed twice": ("seeds: 2", "seeds: [1, 1]", 4, ["seeds", "twice", "[1, 1]"]),
    "key twice": ("seeds: 2", "seeds: 2\nseeds: 3", 5, ["seeds", "twice"]),
    "not YAML": ("seeds: 2", "seeds: [2", 5, ["not valid YAML"]),
    "code": ("seeds: 2", "seeds: !!python/object/apply:os.system ['true']", 4, ["not valid YAML"]),
    "name with a slash": ("name: example", "name: ../example", 1, ["name", "'../example'"]),
    "negative label count": ("labels: 50", "labels: -5", 2, ["data.labels", "-5"]),
    "workers without work": ("seeds: 2", "seeds: 2\nresources: {workers: 64}", 5, ["resources.workers", "64", "32"]),
    "minutes and seconds": ("epochs: 3", "epochs: 1:30", 8, ["integer", "'1:30'"]),
    "stage called name": ("  rotation:\n", "  name:\n", 6, ["cannot be called 'name'"]),
    "stage with an accent": ("  rotation:\n", "  rotacio\u0301n:\n", 6, ["letters, digits, dots, _ and -"]),
    "stage with a bracket": ("  rotation:\n", "  'a[0]':\n", 6, ["letters, digits, dots, _ and -", "'a[0]'"]),
    "stage with an equals sign": ("  rotation:\n", "  'a=b':\n", 6, ['stages."a=b"', "letters, digits, dots, _ and -"]),
    "long name": ("name: example", f"name: {'e' * 101}", 1, ["must have at most 100 characters"]),
    "escape": ("name: example", 'name: "\\e[31m"', 1, ["cannot stand in a text"]),
    "impossible date": ("seeds: 2", "seeds: 2026-13-45", 4, ["seeds", "'2026-13-45'"]),
    "no stages": (STAGES, "stages: {}\n", 5, ["at least 1"]),
    "pretext that needs labels": (
        "name: rotation}", "name: semi, pretext: {name: supervised}}", 7,
        ["method.pretext", "'supervised'", "choices: barlow_twins, "],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_yaml_is_refused_with_its_place(file: Path, kind: str) -> None:
    old, new, line, expected = BROKEN[kind]
    with pytest.raises(ConfigError) as caught:
        load(rewritten(file, old, new))
    message = str(caught.value)
    assert message.startswith(f"{file}:{line}:"), message
    for text in expected:
        assert text in message
    assert "\n" not in message


def test_training_loss_over_what_shapes_the_loss_is_refused(file: Path) -> None:
    new = "name: semi, pretext: {name: rotation}, lambda_u: {grid: [0.5, 1.0]}"
    rewritten(file, "name: rotation", new)
    with pytest.raises(
        ConfigError, match=r"train_loss cannot choose over 'method.lambda_u'.*use select: probe_accuracy"
    ):
        load(file)
    assert len(load(file, overrides=["stages.rotation.select=probe_accuracy"]).stages[0].configs) == 4


def test_errors_name_the_override_or_profile_line(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--set seeds=0: seeds: "):
        load(file, overrides=["seeds=0"])
    line = EXPERIMENT.splitlines().index("    stages: {rotation: {epochs: 30}}") + 1
    with pytest.raises(ConfigError, match=rf"example.yaml:{line}: stages.rotation.epochs: .*30.5"):
        load(rewritten(file, "epochs: 30", "epochs: 30.5"), "long")


def test_an_alias_within_its_own_anchor_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="anchor"):
        load(rewritten(file, "seeds: 2", "seeds: &a [*a]"))


@pytest.mark.parametrize("override", ["seeds", "=3", "a..b=1", "seeds=[1"])
def test_malformed_overrides_are_refused(file: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load(file, overrides=[override])


def test_unknown_profile_and_file_name_the_choices(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"--profile lng: .*did you mean 'long'\? choices: adamw, long"):
        load(file, "lng")
    with pytest.raises(UserError, match=r"missing.yaml: cannot be read .*example.yaml"):
        load(file.parent / "missing.yaml")


SIDAE_PROFILES = ("cifar10", "mnist", "fashion_mnist", "stl10")


@pytest.mark.parametrize("path", PAPER_OF_2024, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", SIDAE_PROFILES)
def test_experiments_of_2024_follow_the_paper(path: Path, profile: str) -> None:
    experiment = load(path, profile)
    assert (experiment.model.backbone, experiment.model.features, experiment.model.stem) == (
        "resnet18",
        None,
        "imagenet",
    )
    assert (experiment.seeds, experiment.streams) == ((0, 1, 2, 3, 4), {"split": 0})
    assert (experiment.data.source, experiment.data.image_size) == (profile, 32)
    assert experiment.data.labels == ("all" if profile == "stl10" else 0.01)
    assert profile == "stl10" or experiment.data.draw == "uniform"
    for stage in experiment.stages:
        settings = stage.settings
        if stage.name == "pretrain":
            _check_pre_training(settings, profile, searched=set(stage.space))
            continue
        assert (settings.epochs, settings.batch_size, settings.probe) == (50, 256, "classifier")
        assert settings.method["views"] == "crop_flip"
        assert settings.optimizer.model_dump() == {
            "name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False,
        }  # fmt: skip
        assert (settings.freeze == "backbone") == (stage.start_from is not None and "linear" in stage.name)
        assert stage.data.labels == ("all" if stage.name.endswith("_all") else experiment.data.labels)


def _check_pre_training(settings: StageSettings, profile: str, searched: set[str]) -> None:
    assert (settings.epochs, settings.batch_size, settings.schedule.name) == (200, 512, "cosine")
    assert set(settings.milestones) == {25, 50, 75, 100, 125, 150, 175}
    assert settings.optimizer.model_dump(exclude={"lr"}) == {
        "name": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False,
    }  # fmt: skip
    assert "optimizer.lr" in searched or settings.optimizer.lr == 0.03
    widths = {"projector": 2048, "predictor": 512, "decoder": 512, "min_crop": 0.2}
    assert {key: value for key, value in settings.method.items() if key in widths}.items() <= widths.items()
    assert settings.method["p_blur"] == (0.5 if "mnist" in profile else 0.0)
    assert settings.method["interpolation"] == "bilinear"


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_head_names_the_stem_of_a_residual_network_and_what_its_profiles_take(path: Path) -> None:
    head = path.read_text().partition("\nname:")[0]
    found = [load(path, profile) for profile in (None, *read_document(path).values.get("profiles", {}))]
    models = [experiment.model for experiment in found]
    stems = {model.stem for model in models if model.backbone in ("resnet18", "resnet50")}
    assert all(f"`{stem}`" in head or f"`stem: {stem}`" in head for stem in stems)
    views = {stage.settings.method.get("views", "none") for experiment in found for stage in experiment.stages}
    assert all(f"`views: {value}`" in head for value in views - {"none"})


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_a_head_says_to_set_can_be_set(path: Path) -> None:
    """Each by itself, under the first of the profiles that are the paper's protocol, if there is one."""
    profiles = read_document(path).values.get("profiles", {})
    profile = next((name for name in ("cifar10", "fashion_mnist", "voc2012") if name in profiles), None)
    head = path.read_text().partition("\nname:")[0]
    for quoted, plain in re.findall(r'--set (?:"([^"]+)"|(\S+))', head):
        load(path, profile, [quoted or plain.rstrip(".,;:)")])


@pytest.mark.parametrize("path", sorted(SPACES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_commands_of_a_head_on_an_experiment_can_be_given(path: Path) -> None:
    head = path.read_text().partition("\nname:")[0]
    for name, options in re.findall(r"raysl tune search_spaces/(\w+).yaml(.*)", head):
        words = shlex.split(options, comments=True)
        given = list(pairwise(words))
        profile = next((value for option, value in given if option == "--profile"), None)
        load(SPACES / f"{name}.yaml", profile, [value for option, value in given if option == "--set"])


def test_w_is_searched_on_the_paper_s_grid() -> None:
    assert load(SPACES / "sidae_w.yaml").stages[0].space == {"method.w": Grid(tuple(n / 8 for n in range(9)))}


def test_the_audit_of_label_free_rules_can_be_searched() -> None:
    experiment = load(SPACES.parent / "analysis" / "label_free_rules.yaml")
    assert experiment.num_trials == (12 + 7 + 9) * 3
    assert all(len(stage.criteria) == 6 for stage in experiment.stages)


def test_the_cheapest_of_a_tie_set_needs_two_seeds(file: Path) -> None:
    rewritten(file, "    batch_size: 32\n", "    batch_size: 32\n    ties: cheapest\n")
    assert load(file).stages[0].settings.ties == "cheapest"
    with pytest.raises(
        ConfigError, match=r"example.yaml:10: stages.rotation.ties: 'cheapest': with one seed .*; first"
    ):
        load(file, overrides=["seeds=1"])
    with pytest.raises(ConfigError, match=r"stages.rotation.ties: 'cheapest': a vote .*; first, or select: ami"):
        load(file, overrides=["stages.rotation.select={vote: [ami, rankme]}"])
