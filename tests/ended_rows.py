"""Rows as if trials had ended, for tests of what is made of them."""

from typing import Any

from raysl.results.records.rows import Status, TrialRow
from raysl.search.trials import Trial


def ended(trial_id: str, status: Status = "finished", **facts: Any) -> TrialRow:
    """Return the row of a trial; facts: what differs from a trial of rotation that took a second."""
    usual: dict[str, Any] = {
        "reason": "", "method": "rotation", "seed": 0, "final_loss": 1.0, "probe": {}, "epochs": 1, "num_parameters": 1,
        "seconds": 1.0, "started_at": 0.0, "finished_at": 1.0, "workers": 1, "device": "cpu", "raysl_version": "0",
        "torch_version": "0", "spec": "{}", "curve": (),
    }  # fmt: skip
    return TrialRow(trial_id=trial_id, status=status, **usual | facts)


def ended_as(trial: Trial, status: Status = "finished", loss: float = 0.5) -> TrialRow:
    """Return the row of a trial of a search; only a finished one has the loss."""
    return ended(
        trial.spec.id,
        status,
        method="semi",
        seed=trial.spec.seed,
        final_loss=loss if status == "finished" else None,
        epochs=4,
        spec=trial.spec.model_dump_json(),
    )
