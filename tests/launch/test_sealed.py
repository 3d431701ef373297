"""The test set stays sealed until a selection is written, whoever might look."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tiny import command, write

from raysl.config import load
from raysl.data.storage.decoded_cache import prepare
from raysl.data.storage.scan import inspect, resolve

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: null}
seeds: 2
stages:
  pretrain:
    method: {name: sidae, w: {grid: [0, 1]}, projector: 16, predictor: 8, decoder: 16}
    epochs: 2
    batch_size: 32
    optimizer: {name: sgd, lr: 0.1}
    select: probe_accuracy
    criteria: [rankme, lidar, alpha_req, alignment, uniformity, ami]
  knn: {method: {name: frozen}, start_from: pretrain, probe: knn}
  clustering: {method: {name: frozen}, start_from: pretrain, probe: clustering}
"""

# Python runs this in every process that starts: the search's own and those that Ray starts for it.
WATCH = """\
import os, sys, time

def noted(event, arguments):
    name = os.path.basename(str(arguments[0])) if event == "open" else ""
    if name.startswith("test_") and name.endswith(".npy"):  # modules may be called test_operators
        with os.fdopen(os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as notes:
            notes.write(f"{time.time()} {os.getpid()} {arguments[0]}\\n")

sys.addaudithook(noted)
"""


@pytest.mark.slow
def test_no_test_image_or_label_is_read_before_the_selection_is_written(tmp_path: Path) -> None:
    file, notes, results = write(tmp_path, EXPERIMENT), tmp_path / "notes", tmp_path / "results"
    settings = load(file).data
    prepare(resolve(settings, inspect(settings)))  # which decodes the test images too
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "NOTES": str(notes)}
    done = subprocess.run(command("tune", file, "--results", results), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    opened = [line.split() for line in notes.read_text().splitlines()]
    read = [(float(at), Path(name).name) for at, _, name in opened]
    # Before it begins, the search makes sure that all decoded images are whole; later on, stages before are scored.
    for stage in (results / "stages").iterdir():
        selection = json.loads((results / "selections" / stage.name).read_text())
        begun, chosen = stage.stat().st_mtime, selection["selected_at"]
        assert not [name for at, name in read if begun < at < chosen], stage.name
        later = {name for at, name in read if at >= chosen}
        assert "test_labels.npy" in later, "what scores reads them, and is seen to"
