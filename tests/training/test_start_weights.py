"""Start weights: from every form of file the same, refused with all that misfits, and part of what a trial is."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from tiny import inline
from torch import Tensor

import raysl
from raysl.errors import CheckpointError, UserError
from raysl.models.settings import ModelSettings, StartWeights
from raysl.results.records.rows import TrialRow, read_rows
from raysl.results.storage.store import Store
from raysl.training.building import build_method
from raysl.training.input_pipeline import Feed
from raysl.training.model_file import read_model
from raysl.training.paths import model_path
from raysl.training.spec import TrialSpec
from raysl.training.start_weights import is_shipped, read_shipped, read_source, ship, shipped_path

REAL = Path(os.environ.get("RAYSL_DATA") or "/nowhere", "weights", "efficientnet_lite0_imagenet.safetensors")
RESNET = ModelSettings(backbone="resnet18", features=None)
SMALL = """\
name: started
data: {{source: digits, labels: 40, unlabelled: 128}}
model:
  backbone: small_resnet
  features: 16
{weights}
seeds: 1
stages:
  semi:
    method: {{name: rotation}}
    epochs: 1
    batch_size: 64
    optimizer: {{name: adam, lr: 1e-3}}
  finetune:
    method: {{name: supervised}}
    start_from: semi
    epochs: 1
    batch_size: 20
    optimizer: {{name: sgd, lr: 0.01}}
"""


def given(path: Path) -> StartWeights:
    return StartWeights(source=f"file:{path}", mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.25])


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(torchvision.models.resnet18().state_dict())


@pytest.mark.slow
def test_every_form_of_a_file_gives_the_same_weights(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    def wrapped(prefix: str) -> dict[str, Tensor]:
        return {f"{prefix}{key}": value for key, value in resnet.items()}

    backbone = {key: value for key, value in resnet.items() if not key.startswith("fc.")}
    in_timm = timm.create_model("resnet18")
    in_timm.load_state_dict(resnet)
    forms: dict[str, Any] = {
        "torchvision.pth": resnet,
        "timm.pt": in_timm.state_dict(),
        "headless.pt": backbone,
        "without_counters.pt": {key: v for key, v in backbone.items() if not key.endswith("num_batches_tracked")},
        "distributed.pt": {"epoch": 3, "state_dict": wrapped("module.")},
        "moco.pt": {"state_dict": wrapped("module.encoder_q.") | wrapped("module.encoder_k.")},
        "encoder.pt": wrapped("backbone.") | {"projector.weight": torch.ones(2)},
    }
    for name, state in forms.items():
        torch.save(state, tmp_path / name)
    save_file({key: value.clone() for key, value in resnet.items()}, tmp_path / "plain.safetensors")
    found = [read_source(RESNET, given(tmp_path / name), 3) for name in (*forms, "plain.safetensors")]
    assert len({one.digest for one in found}) == 1
    for one in found:
        assert one.tensors.keys() == backbone.keys()
        torch.testing.assert_close(dict(one.tensors), backbone, rtol=0, atol=0)
        assert (one.mean, one.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.25))
    torch.save(resnet | {"bn1.bias": resnet["bn1.bias"] + 1e-6}, tmp_path / "other.pt")
    assert read_source(RESNET, given(tmp_path / "other.pt"), 3).digest != found[0].digest


def test_all_that_misfits_is_named_at_once(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    state = dict(resnet)
    del state["layer1.0.bn1.weight"]
    state["layer2.0.renamed.weight"] = state.pop("layer2.0.conv1.weight")
    state["layer3.0.conv1.weight"] = torch.zeros(256, 128, 1, 1)
    state["layer4.0.bn2.running_var"] = torch.full((512,), float("nan"))
    torch.save(state, tmp_path / "wrong.pt")
    with pytest.raises(UserError) as refused:
        read_source(RESNET, given(tmp_path / "wrong.pt"), 3)
    text = str(refused.value)
    assert "missing: layer1.0.bn1.weight, layer2.0.conv1.weight;" in text
    assert "not the backbone's: layer2.0.renamed.weight;" in text
    assert "of another shape: layer3.0.conv1.weight [256, 128, 1, 1] instead of [256, 128, 3, 3];" in text
    assert "not finite: layer4.0.bn2.running_var" in text
    torch.save(resnet, tmp_path / "right.pt")
    for changed in ({"stem": "cifar"}, {"backbone": "resnet50"}):
        with pytest.raises(UserError, match=r"does not fit the backbone: .*conv1.weight"):
            read_source(RESNET.model_copy(update=changed), given(tmp_path / "right.pt"), 3)


def test_a_file_that_says_how_its_layers_compute_must_agree(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    def read(**metadata: str) -> None:
        save_file(resnet, tmp_path / "told.safetensors", metadata)
        read_source(RESNET, given(tmp_path / "told.safetensors"), 3)

    other = RESNET.model_copy(update={"norm_eps": 0.1})
    read(model=RESNET.model_dump_json(exclude_none=True))
    read(spec=json.dumps({"model": RESNET.model_dump(mode="json")}))
    for told in ({"model": other.model_dump_json()}, {"spec": json.dumps({"model": other.model_dump(mode="json")})}):
        with pytest.raises(UserError, match=r"were trained with model.norm_eps: 0.1, and compute other features"):
            read(**told)
    for wrong in ("[]", "{", '"spec"', "3"):
        with pytest.raises(UserError, match="hold no settings of a model"):
            read(spec=wrong)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_files_that_are_no_weights_are_refused(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(resnet | {"more": Bomb(tmp_path / "executed")}, tmp_path / "bomb.pt")
    torch.save(list(resnet.values()), tmp_path / "list.pt")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("bomb.pt", "list.pt", "text.safetensors", "empty.pt", "absent.pt"):
        with pytest.raises(UserError, match=f"{name}.*(refused|holds more|does not exist)"):
            read_source(RESNET, given(tmp_path / name), 3)
    assert not (tmp_path / "executed").exists()
    torch.save(resnet, tmp_path / "right.pt")
    silent = StartWeights(source=f"file:{tmp_path / 'right.pt'}")
    with pytest.raises(UserError, match="does not say how its images were normalised"):
        read_source(RESNET, silent, 3)
    for wrong in ("[0, 1, 1]", "[NaN, 1, 1]", "no list"):
        facts = {"mean": "[0, 0, 0]", "std": wrong}
        save_file({key: value.clone() for key, value in resnet.items()}, tmp_path / "w.safetensors", facts)
        with pytest.raises(UserError, match=r"std must be above 0|are no numbers"):
            read_source(RESNET, StartWeights(source=f"file:{tmp_path / 'w.safetensors'}"), 3)
    one = silent.model_copy(update={"mean": [0.5], "std": [0.5]})
    with pytest.raises(UserError, match="1 and 1 channels, and images have 3"):
        read_source(RESNET, one, 3)


def test_imagenet_is_torchvisions_file_in_the_folder_of_data(
    resnet: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path))
    imagenet = StartWeights(source="imagenet")
    with pytest.raises(UserError, match=r"weights/resnet18-f37072fd.pth is not there, and downloading is switched off"):
        read_source(RESNET, imagenet, 3, download=False)
    (tmp_path / "weights").mkdir()
    torch.save(resnet, tmp_path / "weights" / "resnet18-f37072fd.pth")
    found = read_source(RESNET, imagenet, 3)
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.testing.assert_close(found.tensors["conv1.weight"], resnet["conv1.weight"], rtol=0, atol=0)
    with pytest.raises(UserError, match=r"for small_resnet it is looked for in .*/weights/small_resnet_imagenet.safe"):
        read_source(ModelSettings(), imagenet, 3)


def test_what_would_be_downloaded_is_listed_and_planned_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path))
    model = {"backbone": "resnet18", "features": None, "weights": "imagenet"}
    file = tmp_path / "started.yaml"
    file.write_text(json.dumps(SMALL_DICT | {"data": SMALL_DICT["data"] | {"channels": 3}, "model": model}))
    listed = inline("tune", file, "--dry-run")
    address = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert f"imagenet weights of resnet18: not on this machine, so that their trials have no ids yet; a search " \
        f"downloads {address}" in listed.stdout.replace("\n", " ")  # fmt: skip
    assert "\n  -  the only config seed=0" in listed.stdout
    [experiment] = json.loads(inline("tune", file, "--dry-run", "--format", "json").stdout)["experiments"]
    assert [trial["id"] for trial in experiment["stages"][0]["trials"]] == [None]
    planned = raysl.plan(file, str(tmp_path / "r"), steps=1)
    assert planned.num_trials == 1
    assert [address in text for text in planned.missing] == [True]
    assert not (tmp_path / "weights").exists()


def test_a_damaged_copy_is_noticed(resnet: dict[str, Tensor], store: Store, tmp_path: Path) -> None:
    torch.save(resnet, tmp_path / "right.pt")
    found = read_source(RESNET, given(tmp_path / "right.pt"), 3)
    weights = given(tmp_path / "right.pt").model_copy(update={"digest": found.digest})
    with pytest.raises(CheckpointError, match="not there; the search's command copies it"):
        read_shipped(weights, store)
    ship(found, store)
    assert is_shipped(weights, store)
    torch.testing.assert_close(read_shipped(weights, store), dict(found.tensors), rtol=0, atol=0)
    path = shipped_path(found.digest)
    store.write(path, store.read(path)[:-1])
    assert not is_shipped(weights, store)
    with pytest.raises(CheckpointError, match="damaged"):
        read_shipped(weights, store)


def test_a_trial_is_what_its_start_weights_are_and_not_where_they_lie(make_spec: Callable[..., TrialSpec]) -> None:
    spec = make_spec()

    def started(**facts: Any) -> TrialSpec:
        weights = StartWeights(**{"source": "file:/a", "mean": [0.5], "std": [0.2], "digest": "d" * 32} | facts)
        return spec.model_copy(update={"model": spec.model.model_copy(update={"weights": weights})})

    assert started().id == started(source="file:/b").id
    others = [started(digest="e" * 32), started(mean=[0.4]), started(std=[0.1]), spec]
    assert len({one.id for one in (started(), *others)}) == 5
    assert len({one.weights_id(None) for one in (started(), *others)}) == 5
    assert TrialSpec.model_validate_json(started().model_dump_json()).id == started().id


@pytest.fixture
def first(make_spec: Callable[..., TrialSpec], store: Store, train: Callable[..., TrialRow]) -> tuple[TrialSpec, Path]:
    """Return a trained trial and its model file."""
    spec = make_spec()
    train(spec, store)
    path = store.local_path(model_path(spec.id))
    assert path is not None
    return spec, path


def test_a_search_starts_from_a_file_and_goes_on_when_it_has_moved(
    first: tuple[TrialSpec, Path], store: Store, tmp_path: Path
) -> None:
    spec, path = first
    file, results = tmp_path / "started.yaml", tmp_path / "started"
    file.write_text(SMALL.format(weights=f"  weights: 'file:{path}'"))
    found = raysl.tune(file, str(results), backend="inline")
    assert found.ok
    folder = Store.open(str(results), create=False)
    rows = read_rows(folder)
    specs = {row.method: TrialSpec.model_validate_json(row.spec) for row in rows.values()}
    start = specs["rotation"]
    trained = read_model(store, spec.id)
    method = build_method(start, 1, folder)
    for key, value in method.encoder.backbone.state_dict().items():
        assert torch.equal(value, trained.tensors[f"encoder.backbone.{key}"]), key
    assert trained.normalisation is not None
    normalise = Feed(start, {}, torch.device("cpu")).normalise
    assert normalise.mean.flatten().tolist() == list(trained.normalisation.mean)
    assert raysl.load_model(results, "semi").normalisation == trained.normalisation
    # A later stage starts from the earlier one, and not from the file.
    kept = read_model(folder, start.id)
    for key, value in build_method(specs["supervised"], 1, folder).encoder.state_dict().items():
        assert torch.equal(value, kept.tensors[f"encoder.{key}"]), key
    moved = tmp_path / "moved.safetensors"
    path.rename(moved)
    file.write_text(SMALL.format(weights=f"  weights: 'file:{moved}'"))
    again = raysl.tune(file, str(results), backend="inline")
    assert again.trials["trial_id"].to_pylist() == found.trials["trial_id"].to_pylist()
    assert {row.finished_at for row in read_rows(folder).values()} == {row.finished_at for row in rows.values()}
    bare = raysl.train(raysl.load(SMALL_DICT), "semi")
    assert bare.trial_id not in rows
    alone = raysl.train(file, "semi")
    assert (alone.trial_id, alone.final_loss) == (start.id, rows[start.id].final_loss)


def test_start_weights_are_probed_as_they_are(first: tuple[TrialSpec, Path], store: Store, tmp_path: Path) -> None:
    spec, path = first
    stages = {"svm": {"method": {"name": "frozen"}}, "clusters": {"method": {"name": "frozen"}, "probe": "clustering"}}
    experiment = SMALL_DICT | {"stages": stages}
    experiment["model"] = SMALL_DICT["model"] | {"features": None, "weights": f"file:{path}"}
    found = raysl.tune(experiment, str(tmp_path / "r"), backend="inline")
    assert found.ok
    assert found.trials.column_names.count("test_accuracy") == 1
    assert all(0 < accuracy < 1 for accuracy in found.trials["test_accuracy"].to_pylist())
    images = torch.rand(3, 1, 8, 8)
    expected = build_method(spec, 1, store).encoder.backbone
    expected.load_state_dict(
        {
            key.removeprefix("encoder.backbone."): value
            for key, value in read_model(store, spec.id).tensors.items()
            if key.startswith("encoder.backbone.")
        }
    )
    model = raysl.load_model(tmp_path / "r", "svm")
    torch.testing.assert_close(model(images), expected.eval()(images), rtol=0, atol=0)


SMALL_DICT: dict[str, Any] = {
    "name": "started",
    "data": {"source": "digits", "labels": 40, "unlabelled": 128},
    "model": {"backbone": "small_resnet", "features": 16},
    "seeds": 1,
    "stages": {
        "semi": {
            "method": {"name": "rotation"},
            "epochs": 1,
            "batch_size": 64,
            "optimizer": {"name": "adam", "lr": 1e-3},
        }
    },
}


def test_a_mistake_is_named_with_its_place(first: tuple[TrialSpec, Path], tmp_path: Path) -> None:
    _, path = first
    cases = {
        "  weights: 'file:/nowhere.pt'": r"started.yaml:6: model.weights: /nowhere.pt does not exist",
        "  weights: imagnet": r"started.yaml:6: model.weights.*'imagnet': choices: imagenet, file:PATH",
        f"  weights: {{source: 'file:{path}', digest: '0'}}": r"model.weights: file:.* has the digest [0-9a-f]{32}",
        "  weights: imagenet": r"for small_resnet it is looked for in .*/weights/small_resnet_imagenet.safetensors",
    }
    for text, expected in cases.items():
        file = tmp_path / "started.yaml"
        file.write_text(SMALL.format(weights=text))
        with pytest.raises(UserError, match=expected):
            raysl.tune(file, str(tmp_path / "r"), backend="inline")
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(not REAL.is_file(), reason="needs weights/efficientnet_lite0_imagenet.safetensors in RAYSL_DATA")
def test_imagenet_of_another_backbone_is_its_file_in_the_folder_of_data() -> None:
    lite = ModelSettings(backbone="efficientnet_lite0", features=None)
    found, file = (read_source(lite, StartWeights(source=source), 3) for source in ("imagenet", f"file:{REAL}"))
    assert (found.digest, found.mean, found.std) == (file.digest, file.mean, file.std)
    assert found.std == pytest.approx((128 / 255,) * 3)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason="needs weights/efficientnet_lite0_imagenet.safetensors in RAYSL_DATA")
def test_real_weights_of_imagenet_know_more_than_random_ones(tmp_path: Path) -> None:
    settings = ModelSettings(backbone="efficientnet_lite0", features=None)
    found = read_source(settings, StartWeights(source=f"file:{REAL}"), 3)
    assert found.mean == (127 / 255,) * 3
    assert found.std == (128 / 255,) * 3
    stage = {
        "method": {"name": "supervised"},
        "epochs": 1,
        "batch_size": 100,
        "optimizer": {"name": "sgd", "lr": 1e-6},
    }
    accuracies = []
    for weights, frozen in ((f"file:{REAL}", {"freeze": "backbone"}), (None, {})):
        experiment = {
            "name": "real",
            "data": {"source": "cifar10", "image_size": 64, "labels": 300, "unlabelled": 300},
            "model": {"backbone": "efficientnet_lite0", "features": None, "weights": weights},
            "seeds": 1,
            "stages": {"start": stage | frozen},
        }
        accuracies.append(raysl.train(experiment).probe["accuracy"])
    real, random = accuracies
    assert real > random + 0.15
