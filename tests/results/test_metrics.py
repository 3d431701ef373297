"""Metrics: one list names them for records, tables, rules and reports."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

from raysl.results.metrics import METRICS, ProbeRule
from raysl.results.records.stages import Rule
from raysl.search.rules import RULES

# A stage that is measured by the second metric alone.
SECOND = """
import sys
from rich.console import Console
from raysl.console.outcome_text import outcome_text
from raysl.console.report import show
from raysl.results.records.rows import Score, TrialRow, read_rows, read_scores, write_row, write_score
from raysl.results.records.stages import Member, StageRecord, write_selection, write_stage
from raysl.results.storage.store import Store
from raysl.results.tables.build import publish, read
from raysl.search.selection import select
from raysl.search.summary import summarise_store

store = Store.open(sys.argv[1], create=True)
members = tuple(Member(f"{c}{s}", c, s, {"optimizer.lr": lr}) for c, lr in (("a", 0.1), ("b", 0.01)) for s in (0, 1))
data = {"source": "masks", "labels": 4}
record = StageRecord("e", "", "s", "s0", "probe_mean_iou", 0, data, ("optimizer.lr",), members, 0.0)
write_stage(store, record)
for place, member in enumerate(members):
    probe = {"mean_iou": 0.25 + place / 8}
    row = TrialRow(member.trial_id, "finished", "", "m", member.seed, 0.5, probe, 1, 1, 1.0, 0.0, 1.0, 1, "cpu", "", "",
                   "{}", ())
    write_row(store, row)
    write_score(store, Score(member.trial_id, {"mean_iou": 0.125}, 9, "{}"))
assert read_rows(store)["b0"].probe == {"mean_iou": 0.5}
assert read_scores(store)["b0"].metrics == {"mean_iou": 0.125}
write_selection(store, selection := select(record, read_rows(store), 1.0))
assert (selection.config_id, selection.ranking[0].value) == ("b", 0.5625), selection
publish(store, summarise_store(store))
trial = read(store.uri).trials.to_pylist()[2]
assert (trial["probe_mean_iou"], trial["test_mean_iou"], trial["probe_accuracy"]) == (0.5, 0.125, None), trial
config = read(store.uri).configs.to_pylist()[1]
assert (config["probe_mean_iou_mean"], config["test_mean_iou_std"], config["test_accuracy_mean"]) == (0.5625, 0, None)
print(outcome_text(row, record))
show(read(store.uri), store.uri, "markdown", Console(file=sys.stdout, width=300))
show(read(store.uri), store.uri, "csv", Console(file=sys.stdout, width=300))
"""


def test_each_metric_has_a_rule() -> None:
    assert get_args(ProbeRule) == tuple(metric.probe for metric in METRICS)
    assert set(get_args(Rule)) == set(RULES)


def test_a_stage_has_the_columns_of_its_own_metric(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SECOND, str(tmp_path / "results")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "probe mean IoU 62.5 %" in ended.stdout
    assert "| probe mean IoU % | test mean IoU % |" in ended.stdout
    assert "| 56.2 ± 8.8 | 12.5 ± 0.0 |" in ended.stdout
    assert "probe_mean_iou_mean" in ended.stdout
    assert "accuracy" not in ended.stdout
