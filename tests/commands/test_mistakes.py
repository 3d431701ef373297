"""Mistakes on the command line and in files: one clear message, exit code 2, no traceback, and nothing is written."""

import struct
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import write

from raysl.cli import main


def fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["raysl", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2, printed.out + printed.err
    assert "Traceback" not in printed.err
    return printed.err


# Each: arguments after `raysl tune FILE`, and what the message must hold.
TUNE = {
    "unknown override": (["--set", "data.labls=9"], ["--set data.labls=9", "did you mean 'labels'?"]),
    "override without a value": (["--set", "seeds"], ["--set seeds", "key=value"]),
    "unknown profile": (["--profile", "paper"], ["--profile paper", "choices: none"]),
    "unknown data set": (["--set", "data.source=fashion"], ["data.source=fashion", "'fashion'", "fashion_mnist"]),
    "missing Parquet file": (["--set", "data.source=parquet:/nowhere.parquet"], ["data.source", "/nowhere.parquet"]),
    "missing folder": (["--set", "data.source=folder:/nowhere"], ["data.source", "/nowhere"]),
    "more labels than images": (["--set", "data.labels=1298"], ["data.labels", "1298", "1297"]),
    "fewer labels than classes": (["--set", "data.labels=9"], ["data.labels", "9", "10"]),
    "a fraction that is nothing": (["--set", "data.labels=0.0001"], ["data.labels"]),
    "more unlabelled images than there are": (["--set", "data.unlabelled=1298"], ["data.unlabelled", "1298", "1297"]),
    "tracking folder": (["--tracking", "./mlruns"], ["./mlruns", "sqlite:///", ", none"]),
    "whose scores": (["--score", "every"], ["--score every", "all, selected"]),
    "no trials at once": (["--max-concurrent", "0"], ["--max-concurrent", "greater than or equal"]),
    "unknown option": (["--profil", "x"], ["--profil"]),
    "a batch of a single image": (
        ["--set", "data.labels=11", "--set", "stages.finetune.batch_size=2"],
        ["single image", "3"],
    ),
    "probe accuracy with one label a class": (
        ["--set", "data.labels=10", "--set", "stages.semi.select=probe_accuracy"],
        ["stages.semi.select", "20 labels"],
    ),
    "a part of a GPU beyond one": (["--set", "resources.gpus=1.5"], ["resources", "whole GPUs"]),
    "nesterov without momentum": (
        ["--set", "stages.finetune.optimizer={nesterov: true, momentum: 0.0}"],
        ["nesterov", "momentum above 0"],
    ),
    "warm-up without an end": (
        ["--set", "stages.finetune.schedule={name: cosine, warmup: 3}"],
        ["warmup", "leave none of 3"],
    ),
    "an optimizer that is a word": (["--set", "stages.finetune.optimizer=adam"], ["must be a mapping", "'adam'"]),
    "a seed that is too large": (["--set", "seeds=[4294967296]"], ["seeds", "4294967296"]),
    "a stem that does nothing": (["--set", "model.stem=cifar"], ["model", "stem", "resnet18"]),
    "loss over what shapes it": (
        ["--set", "stages.semi.method.lambda_u={grid: [1, 2]}"],
        ["train_loss cannot choose over 'method.lambda_u'", "probe_accuracy"],
    ),
}


@pytest.mark.parametrize("kind", TUNE)
def test_tune_refuses(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, expected = TUNE[kind]
    message = fails(capsys, monkeypatch, "tune", write(tmp_path), "--results", tmp_path / "results", *arguments)
    for text in expected:
        assert text in message
    assert not (tmp_path / "results").exists()


OTHERS = {
    "missing file": (["tune", "missing.yaml"], ["missing.yaml", "cannot be read"]),
    "a folder as a file": (["tune", "."], ["cannot be read"]),
    "unknown command": (["tnue", "x.yaml"], ["tnue"]),
    "no results": (["show", "nowhere"], ["nowhere"]),
    "empty results": (["show", "."], ["no search has been here", "raysl tune"]),
    "unknown format": (["show", ".", "--format", "html"], ["--format html", "markdown"]),
    "several stages": (["train", "tiny.yaml"], ["--stage", "finetune, semi"]),
    "several configs": (["train", "tiny.yaml", "--stage", "semi"], ["2 configs", "--set stages.semi.optimizer.lr"]),
    "unknown stage": (["train", "tiny.yaml", "--stage", "smi"], ["--stage smi", "did you mean 'semi'?"]),
    "nothing to start from": (["train", "tiny.yaml", "--stage", "finetune"], ["--results", "seed 0", "'semi'"]),
    "negative seed": (["train", "tiny.yaml", "--seed", "-1"], ["--seed"]),
    "too large a plan": (["plan", "tiny.yaml", "--set", "resources.gpus=64"], ["resources", "64 GPU(s)"]),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_the_command_line_refuses(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments, expected = OTHERS[kind]
    message = fails(capsys, monkeypatch, *arguments)
    for text in expected:
        assert text in message


def test_a_folder_of_results_folders_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one/stages", "two/stages", "three/rows"):
        (tmp_path / name).mkdir(parents=True)
    message = fails(capsys, monkeypatch, "show", str(tmp_path))
    assert message.endswith(f"no search has been here, but in {tmp_path}/one, {tmp_path}/two\n")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "train/cat/3.png",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
            "not an image); formats: PNG",
        ),
        ("train/cat/3.dds", b"DDS " + struct.pack("<3I", 124, 0x1007, 4) + bytes(108), "cannot be decoded"),
        ("train/cat/3.webm", bytes(9), "no image that is read"),
        ("val/cat/3.png", b"", "no validation images"),
    ],
)
def test_a_folder_with_what_is_no_image_is_refused_before_anything_is_trained(
    name: str,
    content: bytes,
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png"):
        path = tmp_path / "images" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    path = tmp_path / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    source = f"data.source=folder:{tmp_path}/images"
    message = fails(
        capsys, monkeypatch, "tune", write(tmp_path), "--dry-run", "--set", source, "--set", "data.labels=2"
    )
    assert expected in message
    assert str(path if "val" not in name else path.parent.parent) in message


def test_an_altered_data_set_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"image": [b"no image"], "label": pa.array([0], pa.int32()), "split": ["train"]}), path)
    path.write_bytes(path.read_bytes()[:-30])
    message = fails(capsys, monkeypatch, "tune", write(tmp_path), "--set", f"data.source=parquet:{path}")
    assert "set.parquet" in message
