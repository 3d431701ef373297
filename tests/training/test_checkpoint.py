"""Checkpoints: whole or refused, and never executed."""

import hashlib
import io
import logging
import pickle
from pathlib import Path

import pytest
import torch

from raysl.errors import CheckpointError
from raysl.results.storage.checkpoint_checksums import DIGEST_SIZE, MAGIC, MAGIC_1, add_checksum, is_whole
from raysl.results.storage.store import Store
from raysl.training import checkpoint

STATE = {"weights": torch.arange(6.0).reshape(2, 3), "epoch": 3, "curve": [[0, 0.1, {"total": 1.5}]], "id": "abc"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path), create=True)


def test_what_is_saved_is_loaded(store: Store) -> None:
    checkpoint.save(store, "a.pt", STATE)
    assert is_whole(store, "a.pt")
    assert not is_whole(store, "b.pt")
    loaded = checkpoint.load(store, "a.pt")
    assert torch.equal(loaded.pop("weights"), STATE["weights"])
    assert loaded == {key: value for key, value in STATE.items() if key != "weights"}


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-10], lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], lambda b: b[:12]]
)
def test_damage_is_noticed(store: Store, tmp_path: Path, damage: object) -> None:
    checkpoint.save(store, "a.pt", STATE)
    path = tmp_path / "a.pt"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert not is_whole(store, "a.pt")
    with pytest.raises(CheckpointError, match=r"a.pt: damaged"):
        checkpoint.load(store, "a.pt")


def test_other_files_are_refused(store: Store, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of raysl"):
        checkpoint.load(store, "b.pt")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("save", [torch.save, lambda state, buffer: pickle.dump(state, buffer)])
def test_a_pickle_bomb_is_refused_and_not_executed(store: Store, tmp_path: Path, save: object) -> None:
    """Whoever plants one can seal it too."""
    buffer = io.BytesIO()
    save({"weights": Bomb(tmp_path / "executed")}, buffer)  # type: ignore[operator]
    (tmp_path / "c.pt").write_bytes(add_checksum(buffer.getvalue(), "c.pt"))
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        checkpoint.load(store, "c.pt")
    assert not (tmp_path / "executed").exists()


def test_a_program_is_refused_and_not_executed(store: Store, tmp_path: Path) -> None:
    class Program(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    torch.jit.save(torch.jit.script(Program()), str(tmp_path / "program"))
    (tmp_path / "c.pt").write_bytes(add_checksum((tmp_path / "program").read_bytes(), "c.pt"))
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        checkpoint.load(store, "c.pt")


@pytest.mark.parametrize("payload", [b"", b"\x80", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)])
def test_a_sealed_nothing_is_refused(store: Store, tmp_path: Path, payload: bytes) -> None:
    (tmp_path / "c.pt").write_bytes(add_checksum(payload, "c.pt"))
    with pytest.raises(CheckpointError, match="refused"):
        checkpoint.load(store, "c.pt")


def test_a_sealed_tensor_is_no_state(store: Store, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(torch.ones(3), buffer)
    (tmp_path / "c.pt").write_bytes(add_checksum(buffer.getvalue(), "c.pt"))
    with pytest.raises(CheckpointError, match="holds Tensor and no state"):
        checkpoint.load(store, "c.pt")


@pytest.mark.parametrize("other", ["models/t1.pt", "models/t0@4.pt", "checkpoints/t0.pt"])
def test_what_was_saved_elsewhere_is_refused(store: Store, other: str, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint.save(store, "models/t0.pt", STATE)
    store.write(other, store.read("models/t0.pt"))
    with caplog.at_level(logging.WARNING):
        assert not is_whole(store, other)
    assert f"{other} is damaged" in caplog.text
    with pytest.raises(CheckpointError, match="another trial's"):
        checkpoint.load(store, other)


def test_a_state_of_an_earlier_version_is_read(store: Store) -> None:
    """Its digest does not know where the file lies."""
    checkpoint.save(store, "a.pt", STATE)
    payload = store.read("a.pt")[len(MAGIC) + DIGEST_SIZE :]
    store.write("a.pt", MAGIC_1 + hashlib.blake2b(payload, digest_size=DIGEST_SIZE).digest() + payload)
    assert is_whole(store, "a.pt")
    assert checkpoint.load(store, "a.pt")["epoch"] == 3
    store.write("a.pt", store.read("a.pt")[:-1] + b"x")
    assert not is_whole(store, "a.pt")
