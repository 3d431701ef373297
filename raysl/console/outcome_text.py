"""The outcome of a trial as text."""

from raysl.results.cross_fit import folds_of
from raysl.results.metrics import METRICS, of_data, probe_rules
from raysl.results.records.rows import TrialRow, spec_of
from raysl.results.records.stages import StageRecord


def outcome_text(row: TrialRow, record: StageRecord) -> str:
    """Return a trial's outcome: its loss, and its metrics if they are compared, or why it did not finish."""
    if row.status != "finished":
        return row.reason
    found = [] if row.final_loss is None else [f"final loss {row.final_loss:.6g}"]
    if folds_of(record.rule) and spec_of(row.spec).get("fold"):
        found += probe_texts(row, " on the fold")
    elif not found or probe_rules((record.rule, *record.objectives)):
        found += probe_texts(row) or [f"no probe {of_data(record.data).words}"]
    return ", ".join(found)


def probe_texts(row: TrialRow, where: str = "") -> list[str]:
    """Return the metrics of a trial's probe, as `probe accuracy 91.5 %`; where: follows the metric's name."""
    known = [metric for metric in METRICS if metric.name in row.probe]
    return [f"probe {metric.words}{where} {100 * row.probe[metric.name]:.1f} %" for metric in known]
