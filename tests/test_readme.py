"""The README: its blocks run, its output is what is printed, and what it names is there."""

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer
from documents import Block, blocks, file_name, walk
from jsonschema import Draft7Validator
from PIL import Image
from tiny import runs_by_kind

import raysl
from raysl.cli import app
from raysl.config.json_schema import json_schema
from raysl.config.packaged import packaged_files
from raysl.plain_yaml import read_one

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
# What a test cannot do here, each with what is tested instead.
LEFT_OUT = {
    "uv run pytest": "this is it",
    "raysl ui": "it serves until it is interrupted: tests/commands/test_ui.py",
    "raysl table results/cavallari": "its search takes an hour: tests/launch/test_paper_tables.py",
    "FILE": "clusters: tests/launch, tests/cluster",
    "raysl cluster-files DIR": "tests/test_wheel.py",
}
# Searches that take long, or need sets that may not be here: their YAML, data and trials are checked.
DRY = ("$F", "--profile laptop")
FIRST = "raysl tune search_spaces/rotation_semi.yaml"
OPTION = re.compile(r"(?<![\w`-])--[a-z][a-z-]+")


def command_of(line: str) -> str | None:
    """Return what is run for a line of the README's commands."""
    if any(part in line for part in LEFT_OUT):
        return None
    line = line.replace("pip install uv && ", "").partition("   #")[0].strip()
    if line == f"uv run {FIRST}":
        return f"command {FIRST}"  # with Ray, as a newcomer does
    return f"{line} --dry-run" if any(part in line for part in DRY) and "raysl tune" in line else line


@pytest.mark.slow
@pytest.mark.skipif("RAYSL_DATA" not in os.environ, reason="RAYSL_DATA names no folder of real images")
@pytest.mark.usefixtures("tracked")
def test_every_block_runs_and_prints_what_the_readme_shows(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "search_spaces", tmp_path / "search_spaces")
    draw_flowers(tmp_path / "images" / "flowers")
    shutil.copy(next((tmp_path / "images" / "flowers").rglob("*.png")), tmp_path / "image.png")
    walk(README, tmp_path, command_of)
    check_first(tmp_path / "results" / "rotation_semi")
    for name in ("flowers", "mine"):
        assert raysl.read(str(tmp_path / "results" / name)).selections.num_rows > 0
    assert {"report.html", "curves.pdf", "encoder.safetensors", "own.yaml"} <= set(os.listdir(tmp_path))


def check_first(results: Path) -> None:
    """Check the results of the README's first command."""
    tables = raysl.read(str(results))
    trials = tables.trials.to_pylist()
    assert Counter(trial["status"] for trial in trials) == {"finished": 15}
    assert len(list(results.glob("*.arrow"))) == 4
    means = {
        lr: sum(trial["final_loss"] for trial in trials if trial["params.optimizer.lr"] == lr) / 5
        for lr in (1e-2, 1e-3, 1e-4)
    }
    [selection] = tables.selections.to_pylist()
    [chosen] = {t["params.optimizer.lr"] for t in trials if t["config_id"] == selection["config_id"]}
    assert chosen == min(means, key=means.__getitem__)
    scores = [trial["test_accuracy"] for trial in trials if trial["selected"]]
    assert len(scores) == 5
    assert min(scores) > 0.6  # chance is 0.1
    assert runs_by_kind(results) == {"trial": 15, "config": 3, "stage": 1}


def draw_flowers(folder: Path) -> None:
    """Write images of two classes, as one channel of 8 x 8 pixels."""
    draw = np.random.default_rng(0)
    for split, count in (("train/rose", 40), ("train/tulip", 40), ("test/rose", 10), ("test/tulip", 10)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 128, (8, 8)) + (96 if "rose" in split else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / split / f"{number}.png")


@pytest.mark.parametrize("block", [one for one in blocks(README) if one.language == "yaml"], ids=file_name)
def test_every_experiment_is_valid(block: Block) -> None:
    values = read_one(block.text).value
    assert list(Draft7Validator(json_schema()).iter_errors(values)) == []
    for profile in (None, *values.get("profiles", {})):
        assert raysl.load(values, profile).stages


def test_every_option_is_one_of_its_command() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {
        name: {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        for name, command in commands.items()
    }
    lines = [line for block in blocks(README) if block.language == "console" for line in block.text.splitlines()]
    for line in lines:
        found = re.search(r"(?:^|run |&& )raysl ([a-z-]+)", line)
        if found:
            options = OPTION.findall(line.partition("   #")[0])
            assert set(options) <= known[found[1]], line
    every = set().union(*known.values())
    for row in re.findall(r"^\| `raysl .*$", TEXT, re.MULTILINE):
        assert set(re.findall(r"`(--[a-z-]+)", row)) <= every, row
    for name in known:
        assert re.search(rf"`(raysl )?{name}[` ]", TEXT), name


def test_every_packaged_experiment_is_named() -> None:
    named = {name for name in packaged_files() if "/" not in name and f"`{name}.yaml`" in TEXT}
    assert named == {name for name in packaged_files() if "/" not in name}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.stem)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    headings = {re.sub(r"[^a-z0-9_ -]", "", line.lower()).strip().replace(" ", "-") for line in titles(text)}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (document.parent / target.partition("#")[0]).exists(), target


def titles(text: str) -> list[str]:
    """Return the headings of a document."""
    return re.findall(r"^#+ (.*)$", text, re.MULTILINE)
