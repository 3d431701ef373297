"""`raysl report` writes a page or a figure, and a mistake is one message."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tiny import EXPERIMENT, Finished, here

from raysl.reports import figures


@pytest.fixture
def results(finished: Callable[..., Finished]) -> Path:
    return finished(EXPERIMENT, "--score", "all").results


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_is_written_and_the_folder_is_left_as_it_was(results: Path, tmp_path: Path) -> None:
    before = contents(results)
    output = tmp_path / "page.html"
    done = here("report", results, "--output", output)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"wrote {output} (" in done.stderr
    assert output.read_text().startswith("<!doctype html>")
    assert contents(results) == before


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_a_figure_is_the_same_every_time_and_as_wide_as_asked_for(results: Path, tmp_path: Path, form: str) -> None:
    written = []
    for number in range(2):
        output = tmp_path / f"{number}.{form}"
        done = here("report", results, "--figure", "slices", "--output", output, "--width", "page", "--font-size", 9)
        assert done.returncode == 0, done.stderr
        written.append(output.read_bytes())
    assert written[0] == written[1]
    if form == "png":
        with Image.open(output) as image:
            assert image.width == round(figures.PAGE * 300)
    else:
        head = written[0][:8]
        assert head.startswith(b"%PDF" if form == "pdf" else b"<?xml")
        assert b"Means over the seeds" not in written[0]  # no caption is burnt in


def test_stages_are_chosen_by_name(results: Path, tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    assert here("report", results, "--stages", "finetune", "--output", output).returncode == 0
    assert "tiny/finetune" in output.read_text()
    assert "tiny/semi" not in output.read_text()


def test_the_list_says_what_cannot_be_made_here(results: Path) -> None:
    done = here("report", results, "--list")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert any(line.startswith("slices ") and "not here" not in line for line in lines)
    assert any(line.startswith("contour ") and "not here: a contour is of two" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--figure", "slics"], "did you mean 'slices'"),
        (["--figure", "contour"], "a contour is of two searched hyperparameters, and here they are 1: lr"),
        (["--figure", "table"], "no table file was searched here"),
        (["--figure", "slices", "--output", "x.jpg"], "ends in .png or .svg or .pdf"),
        (["--output", "x.png"], "ends in .html"),
        (["--output", "nowhere/x.html"], "nowhere is no folder"),
        (["--output", "/proc/x.html"], "/proc/x.html"),
        (["--width", "wide"], "choices: column, page"),
        (["--font-size", "100"], "from 4 to 24 points"),
        (["--stages", "nothing"], "no such stage"),
        (["--cells", "*"], "no table file was searched here"),
        (["--list", "--output", "x.html"], "not with --list"),
    ],
)
def test_a_mistake_is_one_message(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = here("report", results, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not list(tmp_path.iterdir())


def test_no_folder_and_an_empty_one(tmp_path: Path) -> None:
    assert "no such folder" in here("report", tmp_path / "nowhere").stderr
    done = here("report", tmp_path, "--output", tmp_path / "page.html")
    assert done.returncode == 2
    assert "no search has been here; `raysl tune FILE --results" in done.stderr
    assert not list(tmp_path.iterdir())
