"""Model files: whole or refused, the same to the last bit, and readable by other programs as they are."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file
from torch import Tensor

import raysl
from raysl.errors import CheckpointError
from raysl.results.records.rows import TrialRow
from raysl.results.storage.checkpoint_checksums import add_metadata, is_whole
from raysl.results.storage.store import Store
from raysl.training import checkpoint
from raysl.training.building import trained_method
from raysl.training.kept_models import has_model, kept_model_path, model_exists, model_files
from raysl.training.loop import Loop
from raysl.training.model_file import ModelState, Normalisation, read_model, whole_tensors, write_model
from raysl.training.paths import earlier_model_path, model_path
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]


def tensors() -> dict[str, Tensor]:
    shared = torch.arange(12.0).reshape(3, 4)
    return {
        "encoder.shared": shared,
        "encoder.view": shared[:, ::2],
        "encoder.transposed": shared.T,
        "encoder.same": shared,
        "scalar": torch.tensor(-0.0),
        "num_batches_tracked": torch.tensor(2**40 + 1),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(5).to(torch.bfloat16),
        "double": torch.full((2,), 1e-310, dtype=torch.float64),
        "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
        "flags": torch.tensor([True, False]),
        "images": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "queue": torch.tensor([[1, -2]], dtype=torch.int32),
        "digest": torch.tensor([1], dtype=torch.uint8),
    }


def as_bits(value: Tensor) -> bytes:
    return value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""


def test_every_tensor_is_the_same_to_the_last_bit(make_spec: MakeSpec, store: Store) -> None:
    spec, given = make_spec(), tensors()
    normalisation = Normalisation((float(np.float32(0.1)),), (float(np.float32(0.3)),))
    write_model(store, spec, None, ModelState(given, "encoder", normalisation))
    found = read_model(store, spec.id)
    assert (found.evaluated, found.normalisation) == ("encoder", normalisation)
    assert found.tensors.keys() == given.keys()
    for name, value in given.items():
        kept = found.tensors[name]
        assert (kept.dtype, kept.shape, as_bits(kept)) == (value.dtype, value.shape, as_bits(value)), name
    assert set(found.encoder()) == {"shared", "view", "transposed", "same"}


def test_other_programs_read_a_model_as_it_is(make_spec: MakeSpec, store: Store, train: Train) -> None:
    spec = make_spec()
    train(spec, store, 1)
    for epoch, trained in ((None, spec.epochs), (1, 1)):
        path = store.local_path(model_path(spec.id, epoch))
        method = Loop(spec, store, Execution()).method
        method.load_state_dict(load_file(str(path)))
        with safetensors.safe_open(str(path), "pt") as file:
            metadata = file.metadata()
        assert json.loads(metadata["spec"]) == json.loads(spec.model_dump_json())
        assert len(metadata["digest"]) == 32
        facts = {key: metadata[key] for key in ("format", "raysl", "trial_id", "epoch", "method", "evaluated")}
        assert facts == {
            "format": "pt",
            "raysl": raysl.__version__,
            "trial_id": spec.id,
            "epoch": str(trained),
            "method": "semi",
            "evaluated": "encoder",
        }


def test_the_same_model_has_the_same_bytes(make_spec: MakeSpec, store: Store) -> None:
    torch.manual_seed(0)
    state = ModelState(tensors(), "encoder")
    files = []
    for _ in range(3):
        write_model(store, make_spec(), 2, state)
        files.append(store.read(model_path(make_spec().id, 2)))
    assert files[0] == files[1] == files[2]


def test_a_change_of_any_byte_is_noticed(make_spec: MakeSpec, store: Store) -> None:
    spec = make_spec()
    path = model_path(spec.id)
    write_model(store, spec, None, ModelState(tensors(), "encoder"))
    content = store.read(path)
    size = 8 + int.from_bytes(content[:8], "little")
    draw = random.Random(0)
    places = [*range(8), *draw.sample(range(8, size), 100), *draw.sample(range(size, len(content)), 50)]
    harmed = [content[:n] + bytes([content[n] ^ 1 << draw.randrange(8)]) + content[n + 1 :] for n in places]
    cut = [content[:n] for n in (0, 5, 8, 100, size, len(content) - 1)]
    for other in (*harmed, *cut, content + b"\0", content * 2):
        store.write(path, other)
        assert not has_model(store, spec.id)
        with pytest.raises(CheckpointError, match="damaged"):
            read_model(store, spec.id)
    store.write(path, content)
    assert has_model(store, spec.id)


def test_a_sealed_file_that_is_no_model_is_refused(make_spec: MakeSpec, store: Store) -> None:
    """Whoever forges a file can seal it too."""
    spec = make_spec()
    path = model_path(spec.id)
    outside = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    plain = safetensors.torch.save(whole_tensors(tensors()))
    forged = {
        "no name of the encoder": (plain, {}),
        "more data than there is": (len(outside).to_bytes(8, "little") + outside, {"evaluated": "encoder"}),
        "no mean": (
            safetensors.torch.save(whole_tensors(tensors())),
            {"evaluated": "encoder", "normalisation": '{"mean": "0"}'},
        ),
    }
    for name, (payload, metadata) in forged.items():
        store.write(path, add_metadata(payload, metadata, path))
        assert is_whole(store, path), name
        with pytest.raises(CheckpointError, match="refused, it is no model"):
            read_model(store, spec.id)


def test_models_of_an_earlier_version_are_read_and_not_written(
    make_spec: MakeSpec, store: Store, train: Train, tmp_path: Path
) -> None:
    first = make_spec()
    row = train(first, store, 2)
    for epoch in (None, 2):
        state = read_model(store, first.id, epoch)
        earlier = {"id": first.id, "method": dict(state.tensors), "evaluated": state.evaluated}
        checkpoint.save(store, earlier_model_path(first.id, epoch), earlier)
        store.delete(model_path(first.id, epoch))
        found = read_model(store, first.id, epoch)
        assert (found.evaluated, found.normalisation) == (state.evaluated, None)
        torch.testing.assert_close(found.tensors, state.tensors, rtol=0, atol=0)
        assert has_model(store, first.id, epoch)
        assert model_exists(store, first.id, epoch)
    before = store.list("models", "")
    assert before == [f"{first.id}.pt", f"{first.id}@2.pt"]
    seen: list[int] = []
    assert train(first, store, 2, seen=seen) == row  # nothing is missing
    assert seen == []
    for start_epoch in (None, 2):
        spec = make_spec(stage="finetune", start=first.id, start_epoch=start_epoch)
        train(spec, store)
        assert trained_method(spec, store).evaluation()
    assert [file.path for file in model_files(store) if file.trial_id == first.id] == [f"models/{n}" for n in before]


def test_a_new_model_takes_the_place_of_a_damaged_earlier_one(make_spec: MakeSpec, store: Store, train: Train) -> None:
    spec = make_spec()
    train(spec, store)
    whole = store.read(model_path(spec.id))
    store.delete(model_path(spec.id))
    store.write(earlier_model_path(spec.id), b"raysl2\ndamaged")
    assert kept_model_path(store, spec.id) == earlier_model_path(spec.id)
    assert not has_model(store, spec.id)
    train(spec, store)
    assert store.list("models", "") == [f"{spec.id}.safetensors"]
    assert store.read(model_path(spec.id)) == whole


def test_what_is_listed_are_models(store: Store) -> None:
    for name in ("a.safetensors", "a@3.safetensors", "b@12.pt", "b.txt", "@3.pt", "c@x.pt", "notes"):
        store.write(f"models/{name}", b"")
    assert [(file.trial_id, file.epoch) for file in model_files(store)] == [("a", None), ("a", 3), ("b", 12)]
