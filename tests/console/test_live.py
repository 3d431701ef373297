"""The display's best config so far, against the selection among all rows."""

import io
import random
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from raysl.console import live
from raysl.console.live import Display
from raysl.console.screen import Screen
from raysl.outgoing import guarded
from raysl.results.criteria import CRITERION_NAMES
from raysl.results.metrics import METRICS
from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import Member, Rule, StageRecord
from raysl.results.storage.store import Store
from raysl.search.config_means import params_text
from raysl.search.rules import RULES
from raysl.search.selection import select

SEEDS, CONFIGS = 2, 6
MEMBERS = tuple(
    Member(f"t{place}", f"c{place // SEEDS}", place % SEEDS, {"lr": 0.1 * (place // SEEDS)})
    for place in range(CONFIGS * SEEDS)
)
RECORD = StageRecord("e", "", "semi", "s0", "train_loss", 0, {"source": "digits"}, ("lr",), MEMBERS, 1.0)


def row_of(member: Member, draw: random.Random) -> TrialRow:
    status = "diverged" if draw.random() < 0.2 else "finished"
    value = draw.choice([0.25, 0.5, 0.75])  # ties are common
    loss = value if status == "finished" else None
    probe = {} if loss is None else dict.fromkeys((metric.name for metric in METRICS), loss)
    row = TrialRow(
        member.trial_id, status, "", "semi", member.seed, loss, probe, 1, 1, 1.0, 0.0, 1.0, 1, "cpu", "", "", "{}", ()
    )
    return replace(row, criteria=dict.fromkeys(CRITERION_NAMES if loss is not None else (), loss))


def expected(record: StageRecord, rows: dict[str, TrialRow]) -> str:
    selection = select(record, rows, 0.0)
    if not selection.ranking:
        return ""
    return f"{params_text(selection.params)}, {RULES[record.rule].words} {selection.ranking[0].value:.6g}"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("grows", [False, True])
def test_the_best_so_far_is_what_would_be_selected(tmp_path: Path, rule: Rule, grows: bool) -> None:
    shown = set()
    for seed in range(20):
        draw = random.Random(seed)
        record = replace(RECORD, rule=rule, members=MEMBERS[:SEEDS] if grows else MEMBERS)
        rows = {} if seed % 2 else {MEMBERS[0].trial_id: row_of(MEMBERS[0], draw)}
        display = Display(Console(file=io.StringIO()), Store(str(tmp_path)))
        display.stages_started([record], rows, len(MEMBERS) - len(rows))
        waiting = list(MEMBERS[len(rows) :])
        if not grows:
            draw.shuffle(waiting)
        for member in waiting:
            if grows and member not in record.members:
                record = replace(record, members=MEMBERS[: len(record.members) + SEEDS])
                display.config_proposed(record)
            rows[member.trial_id] = row_of(member, draw)
            display.trial_ended(rows[member.trial_id])
            assert display._best() == expected(record, rows)
            shown.add(display._best())
    assert len(shown) > 3


EVIL = "\x1b]0;owned\x07[red]\u202e s3cretpw"
OWN = re.compile(r"\x1b\[[\d;?]*[mKAhl]|\r")  # styles, and what moves the cursor for the live display


@pytest.mark.parametrize("terminal", [True, False])
def test_what_others_have_written_is_shown_as_text(
    tmp_path: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cretpw")
    members = tuple(replace(member, params={EVIL: EVIL}) for member in MEMBERS)
    record = replace(RECORD, stage=EVIL, members=members, searched=(EVIL,))
    row = replace(row_of(members[0], random.Random(0)), status="failed", reason=EVIL)
    chosen = replace(select(record, {}, 0.0), config_id="c0", params={EVIL: EVIL}, reason=EVIL)
    printed = io.StringIO()
    screen = Screen(printed, force_terminal=terminal, width=200)
    with guarded(), Display(screen, Store(str(tmp_path / "[red]"))) as display:
        display.stages_started([record], {members[0].trial_id: row}, 1)
        display.trial_started(members[1].trial_id)
        display.trial_ended(replace(row, trial_id=members[1].trial_id))
        display.stage_selected(record, chosen)
        display.other_search(EVIL)
        display.waiting(EVIL)
        sys.stderr.write(f"warned of {EVIL}\n")
    text = OWN.sub("", printed.getvalue() + "".join(capsys.readouterr()))
    assert text.count(r"[red]\u202e ***") > 7
    assert r"warned of \x1b]0;owned\x07[red]\u202e ***" in text
    assert "s3cretpw" not in text
    assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert "taken from" in text
    assert "/[red]" in text


def shown(folder: Path, record: StageRecord, accuracies: list[float]) -> list[str]:
    """Return the lines about a search whose trials end with these probe accuracies, one after the other."""
    file = io.StringIO()
    display = Display(Console(file=file, width=200), Store(str(folder)))
    display.stages_started([record], {}, len(record.members))
    for member, accuracy in zip(record.members, accuracies, strict=False):
        row = replace(
            row_of(member, random.Random(1)),
            status="finished",
            final_loss=0.5,
            probe={"accuracy": accuracy},
        )
        display.trial_ended(row)
    return file.getvalue().splitlines()[1:]


def test_a_trial_ends_with_what_is_compared(tmp_path: Path) -> None:
    by_probe = replace(RECORD, rule="probe_accuracy")
    [line] = shown(tmp_path, by_probe, [0.875])
    assert line == "[1/12] lr=0 seed=0 finished: final loss 0.5, probe accuracy 87.5 % (1.0 s)"
    assert shown(tmp_path, replace(RECORD, objectives=("train_loss", "probe_accuracy")), [0.875]) == [line]
    assert shown(tmp_path, RECORD, [0.875]) == ["[1/12] lr=0 seed=0 finished: final loss 0.5 (1.0 s)"]


@pytest.mark.parametrize(("accuracy", "trials"), [(1.0, 2 * SEEDS), (0.9, 3 * SEEDS)])
def test_a_tie_of_all_configs_is_said_once_and_as_soon_as_it_is_one(
    tmp_path: Path, accuracy: float, trials: int
) -> None:
    lines = shown(tmp_path, replace(RECORD, rule="probe_accuracy"), [accuracy] * len(MEMBERS))
    number = trials // SEEDS
    text = f"all {number} configs so far tie in mean probe accuracy on the labelled training images, {accuracy:.6g}"
    assert [line for line in lines if "tie" in line] == [f"{text}: nothing can be chosen by that"]
    assert lines[trials].startswith(text)


def test_each_of_several_stages_says_its_tie(tmp_path: Path) -> None:
    file = io.StringIO()
    members = tuple(replace(member, trial_id=f"other-{member.trial_id}") for member in MEMBERS)
    display = Display(Console(file=file, width=200), Store(str(tmp_path)))
    display.stages_started([RECORD, replace(RECORD, stage="other", stage_id="other", members=members)], {}, 24)
    for place, member in enumerate([*MEMBERS, *members]):
        loss = 0.5 if member in members else 0.5 + place
        display.trial_ended(replace(row_of(member, random.Random(1)), status="finished", final_loss=loss))
    lines = [line for line in file.getvalue().splitlines() if "tie" in line]
    assert lines == ["other: all 3 configs so far tie in mean final training loss, 0.5: nothing can be chosen by that"]


def test_a_pipe_gets_a_line_about_progress_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MINUTE", 0.01)
    file = io.StringIO()
    with Display(Console(file=file, width=200), Store(str(tmp_path))) as display:
        display.stages_started([RECORD], {}, len(MEMBERS))
        display.trial_started(MEMBERS[0].trial_id)
        display.trial_progressed(MEMBERS[0].trial_id, 3, 15, 0.25)
        assert display.running[MEMBERS[0].trial_id] == "epoch 4/15, loss 0.25"
        while "left" not in file.getvalue():
            time.sleep(0.01)
    printed = file.getvalue()
    assert re.search(rf"^0/{len(MEMBERS)} done, 1 running, about \d+ s left$", printed, re.MULTILINE)
    time.sleep(0.05)
    assert file.getvalue() == printed


def test_one_config_that_differs_is_no_tie(tmp_path: Path) -> None:
    accuracies = [1.0, 0.5, *[1.0] * (len(MEMBERS) - 2)]
    assert "tie" not in " ".join(shown(tmp_path, replace(RECORD, rule="probe_accuracy"), accuracies))
