"""The display's best config so far, against the selection among all rows."""

import io
import random
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from raysl.console.live import Display, params_text
from raysl.results.rows import TrialRow
from raysl.results.stages import Member, Rule, StageRecord
from raysl.results.store import Store
from raysl.search.selection import RULES, select

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
    return TrialRow(
        member.trial_id, status, "", "semi", member.seed, loss, loss, 1, 1, 1.0, 0.0, 1.0, 1, "cpu", "", "", "{}", ()
    )


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
