"""`raysl show` and `raysl table` of a results folder that somebody else has written."""

import io
import os
import re
import subprocess
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text
from tiny import command, here

from raysl.console.report import FORMATS
from raysl.console.screen import Screen
from raysl.results.records.paper_tables import Cell, PaperTable, PaperTables, write_paper_tables
from raysl.results.records.rows import TrialRow, read_row, write_row
from raysl.results.records.stages import Member, SelectionRecord, StageRecord, write_selection, write_stage
from raysl.results.storage.store import Store

# Each would do something to a terminal or to rich: colours, the title, a link, the clipboard, a bell, lines that are
# written over or look like the program's own, text that runs backwards, tags, emoji, and half a character.
EVIL = {
    "colour": "\x1b[31mred\x1b[0m",
    "8-bit control": "\x9b31mred",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "over": "x\rselected",
    "line": "x\nerror: all is lost",
    "backwards": "\u202egnp.exe",
    "isolates": "\u2066a\u2069\u200f",
    "unseen": "a\u200b\ufeff\u00adb",
    "markup": "[red]x[/red] [link=http://evil]y[/link] [/]",
    "emoji": ":bomb: :skull:",
    "tags": "\U000e0041\U000e007f",
    "half": "a\udcffb",
}
ALLOWED = {"\n", "\r"}


def write_folder(folder: Path, evil: str) -> Store:
    """Write a folder that has a text wherever one may stand."""
    store = Store.open(str(folder), create=True)
    stored = evil.encode("utf-8", "replace").decode()  # Arrow and JSON hold whole characters only
    members = tuple(Member(f"t{place}", f"c{place}{stored}", 0, {f"lr{stored}": stored}) for place in range(2))
    data = {"source": stored, "labels": 1, "unlabelled": stored, "image_size": 8, "attack": {"name": stored}}
    stage = StageRecord(
        stored,
        stored,
        stored,
        "s0",
        "train_loss",
        0,
        data,
        (f"lr{stored}",),
        members,
        1.0,
        {"backbone": stored},
        stored,
    )
    write_stage(store, stage)
    row = TrialRow(
        "t0",
        "finished",
        "",
        stored,
        0,
        0.5,
        {"accuracy": 0.5},
        1,
        1,
        1.0,
        1.0,
        2.0,
        1,
        stored,
        stored,
        stored,
        '{"probe": "knn"}',
        (),
    )
    write_row(store, row)
    write_row(store, replace(row, trial_id="t1", status="failed", reason=stored, final_loss=None))
    write_selection(store, SelectionRecord("s0", "train_loss", members[0].config_id, {}, ("t0",), stored, (), (), 1.0))
    cell = Cell(f"t/{stored}/c", "r", "c", (50.0, None), stored, stored, (), stored, "")
    table = PaperTable("t", stored, {"r": stored}, {"c": stored}, (cell,))
    write_paper_tables(store, PaperTables("paper", "p", stored, (table,), {}, {cell.key: stored}))
    return store


def assert_harmless(text: str) -> None:
    for character in set(text) - ALLOWED:
        assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}, repr(character)
    assert "\nerror: all" not in text
    assert not re.search(r"\r(?!\n)", text)


@pytest.mark.parametrize("kind", EVIL)
def test_foreign_text_is_shown_as_text_in_every_form(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / f"results{kind}"
    write_folder(folder, EVIL[kind])
    forms = [("show", form) for form in FORMATS] + [("table", form) for form in ("text", "markdown", "latex")]
    for name, form in forms:
        done = here(name, folder, "--format", form)
        assert done.returncode == 0, done.stdout + done.stderr
        assert_harmless(done.stderr)
        assert "Traceback" not in done.stderr
        if form == "csv":
            assert_harmless(done.stdout.replace("x\nerror", "x error"))  # it is quoted there
        else:
            assert_harmless(done.stdout)
        if kind in ("markup", "emoji") and form in ("table", "text"):
            assert EVIL[kind] in done.stdout


@pytest.mark.parametrize("kind", ["colour", "link", "over", "markup", "backwards"])
def test_on_a_terminal_too_the_only_escapes_are_those_of_its_own_styles(kind: str, tmp_path: Path) -> None:
    from raysl.console import report
    from raysl.search.summary import summarise_store

    store = write_folder(tmp_path, EVIL[kind])
    printed = io.StringIO()
    screen = Screen(printed, force_terminal=True, width=300, color_system="standard")
    report.show(summarise_store(store, curves=False), str(store), "table", screen)
    screen.print(Text.assemble("stage ", (EVIL[kind], "bold")))
    screen.print(EVIL[kind], style="yellow")
    text = printed.getvalue()
    assert "\x1b[1m" in text
    plain = re.sub(r"\x1b\[(0|1|2|3|33|1;3|3;1)m", "", text)
    assert_harmless(plain)
    assert "]8;" not in text.replace(r"\x1b]8;", "")


@pytest.mark.parametrize("name", ["a\u202eb", "[red]x", "caf\udce9"])
def test_names_of_folders_and_files_are_foreign_too(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    (folder / "stages").mkdir(parents=True)
    (folder / "stages" / f"{name}.json").write_text("{")
    (folder / "stages" / "\x1b]0;title\x07.json").write_text("[" * 5000)
    done = here("show", str(folder))
    assert done.returncode == 2
    assert_harmless(done.stdout + done.stderr)
    assert "Traceback" not in done.stderr
    assert ("not UTF-8" if "\udce9" in name else "damaged") in done.stderr


def test_a_process_of_its_own_and_a_terminal_that_knows_no_unicode(tmp_path: Path) -> None:
    write_folder(tmp_path / "results", EVIL["colour"])
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "FORCE_COLOR": "1"}
    done = subprocess.run(
        command("show", tmp_path / "results", "--format", "markdown"), capture_output=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert b"\\x1b[31mred" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr


def test_what_this_raysl_never_writes_is_refused_where_a_picture_is_wanted(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write_folder(results, "x")
    done = here("show", results, "--attack", "--output", tmp_path / "a.png")
    assert done.returncode == 2
    assert "stages/s0.json: not what this raysl writes" in done.stderr
    store = Store.open(str(results), create=False)
    row = read_row(store, "t0")
    assert row is not None
    write_row(store, replace(row, method="trimix", spec="[" * 9000))
    done = here("show", results, "--mixing", "--output", tmp_path / "a.png")
    assert done.returncode == 2
    assert "rows/t0.parquet: not what this raysl writes" in done.stderr
