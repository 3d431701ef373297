"""Checkpoints: whole or refused, and never executed."""

import io
import pickle
from pathlib import Path

import pytest
import torch

from raysl.errors import CheckpointError
from raysl.results.store import Store
from raysl.training import checkpoint
from raysl.training.seal import is_whole, seal

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
    buffer = io.BytesIO()
    save({"weights": Bomb(tmp_path / "executed")}, buffer)  # type: ignore[operator]
    payload = buffer.getvalue()
    (tmp_path / "c.pt").write_bytes(seal(payload))
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        checkpoint.load(store, "c.pt")
    assert not (tmp_path / "executed").exists()
