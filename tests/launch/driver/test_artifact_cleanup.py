"""What is dropped once a stage is done, and what is not."""

from pathlib import Path

import pytest

from raysl.launch.driver.artifact_cleanup import prune
from raysl.results.records.rows import Status, TrialRow, write_row
from raysl.results.records.stages import SelectionRecord, write_selection
from raysl.results.storage.store import Store
from raysl.training.paths import earlier_model_path, model_path

NAMES = ["chosen", "other", "elsewhere"]


def write_trial(store: Store, trial_id: str, status: Status = "finished") -> None:
    row = TrialRow(trial_id, status, "", "semi", 0, 0.5, {}, 4, 1, 1.0, 0.0, 1.0, 1, "cpu", "", "", "{}", ())
    write_row(store, row)
    for path in (model_path(trial_id), earlier_model_path(trial_id, 2), f"features/{trial_id}.arrow"):
        store.write(path, b"")
    store.write(f"checkpoints/{trial_id}.pt", b"")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "results"), create=True)
    for name in NAMES:
        write_trial(store, name)
    write_trial(store, "failed", "failed")
    write_selection(store, SelectionRecord("s", "train_loss", "c", {}, ("chosen",), "", (), (), 0.0))
    return store


def test_what_no_selection_chose_is_dropped_of_these_trials(store: Store) -> None:
    assert prune(store, {"chosen", "other", "failed"}, lambda: True)
    assert store.list("models", "") == [
        "chosen.safetensors", "chosen@2.pt", "elsewhere.safetensors", "elsewhere@2.pt",
    ]  # fmt: skip
    assert store.list("features", "") == ["chosen.arrow", "elsewhere.arrow"]
    assert store.list("checkpoints", "") == ["elsewhere.pt", "failed.pt"]


def test_it_stops_when_another_search_comes(store: Store) -> None:
    before = len(store.list("models", ""))
    asked: list[int] = []

    def is_alone() -> bool:
        asked.append(1)
        return len(asked) <= 4

    assert not prune(store, set(NAMES), is_alone)
    dropped = 2 * before - sum(len(store.list(name, "")) for name in ("models", "features", "checkpoints"))
    assert dropped == 4
    assert prune(store, set(NAMES), lambda: True)
    assert prune(store, set(NAMES), lambda: pytest.fail("there is nothing left to drop"))
