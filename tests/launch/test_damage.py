"""A whole results folder in which something of every kind is wrong: the same command mends it, and executes nothing."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny import Finished, inline, raysl, tables_of

import raysl as package
from raysl.errors import ResultsError
from raysl.results.storage.checkpoint_checksums import add_checksum
from raysl.results.storage.store import Store
from raysl.training.model_file import read_model
from raysl.training.paths import earlier_model_path, model_path


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def trials(results: Path, stage: str, **facts: Any) -> list[dict[str, Any]]:
    found = package.read(str(results)).trials.to_pylist()
    return [t for t in found if t["stage"] == stage and all(t[name] == value for name, value in facts.items())]


def records(results: Path, stage: str) -> list[Path]:
    found = (results / "stages").glob("*.json")
    return [path for path in found if f'"stage": "{stage}"' in path.read_text()]


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def with_value(column: str, value: float) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(column)
        return table.set_column(place, table.schema.field(place), pa.array([value]))

    return changed


def test_what_is_wrong_enters_no_table_and_comes_again(undisturbed: Finished, tmp_path: Path) -> None:
    file, reference, _ = undisturbed
    results = tmp_path / "results"
    shutil.copytree(reference, results)
    first, second = trials(results, "semi", selected=True)
    loser, other = trials(results, "semi", selected=False)
    [end, last] = trials(results, "finetune")
    rows, models = results / "rows", results / "models"
    score, features = (
        results / name for name in (f"scores/{end['trial_id']}.parquet", f"features/{second['trial_id']}.arrow")
    )
    better, copied, emptied = (rows / f"{trial['trial_id']}.parquet" for trial in (loser, last, other))
    model, [record] = models / f"{first['trial_id']}.safetensors", records(results, "semi")
    rewrite(better, with_value("final_loss", 0.0))  # it would be selected
    shutil.copy(rows / f"{end['trial_id']}.parquet", copied)
    emptied.write_bytes(b"")
    shutil.copy(models / f"{second['trial_id']}.safetensors", model)
    rewrite(score, with_value("test_accuracy", 1.0))
    features.write_bytes(features.read_bytes()[:-50])
    record.write_text(record.read_text().replace("0.001", "0.002"))
    (results / "trials.arrow").write_bytes((results / "configs.arrow").read_bytes())
    shown = raysl("show", results)
    assert shown.returncode == 0, shown.stderr
    assert "seed 1 is not trained yet" in shown.stdout
    assert "is damaged and treated as absent" in shown.stderr
    with pytest.raises(ResultsError, match=r"trials.arrow: damaged \(holds the table configs\)"):
        package.read(str(results))
    done = inline("tune", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = "".join((done.stdout + done.stderr).split())  # the console wraps its lines
    for path in (better, copied, emptied, model, score, features, record):
        assert f"{path}isdamagedandtreatedasabsent" in printed, path
    assert tables_of(results) == tables_of(reference)
    for path in (model, features):
        assert path.read_bytes() == (reference / path.relative_to(results)).read_bytes()


def test_nothing_starts_from_a_bomb(undisturbed: Finished, tmp_path: Path) -> None:
    """It is sealed as raysl would, so only its content gives it away."""
    file, reference, _ = undisturbed
    results = tmp_path / "results"
    shutil.copytree(reference, results)
    start = trials(results, "semi", selected=True)[0]
    state = read_model(Store.open(str(results), create=False), start["trial_id"])
    (results / model_path(start["trial_id"])).unlink()
    path = earlier_model_path(start["trial_id"])
    buffer = io.BytesIO()
    torch.save({"method": state.tensors, "more": Bomb(tmp_path / "executed")}, buffer)
    (results / path).write_bytes(add_checksum(buffer.getvalue(), path))
    for trial in trials(results, "finetune"):
        (results / "rows" / f"{trial['trial_id']}.parquet").unlink()
    done = inline("tune", file, "--results", results)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "nothing in it was executed" in " ".join(done.stdout.split())
    assert path in "".join(done.stdout.split())
    assert not (tmp_path / "executed").exists()
    statuses = {trial["seed"]: trial["status"] for trial in trials(results, "finetune")}
    assert statuses == {0: "failed", 1: "finished"}
    assert trials(results, "finetune", selected=True) == []
    (results / path).unlink()
    again = inline("tune", file, "--results", results)
    assert again.returncode == 0, again.stdout + again.stderr
    assert tables_of(results)["trials"] == tables_of(reference)["trials"]
