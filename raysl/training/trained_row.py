"""Writes the row of a trial that was trained or measured in this process."""

import time
from collections.abc import Mapping
from dataclasses import replace

import torch

import raysl
from raysl import collectives
from raysl.methods._method import Method
from raysl.results.records.code import Code, write_code
from raysl.results.records.rows import Epoch, TrialRow, write_row
from raysl.results.storage.store import Store
from raysl.training.loop import Ending
from raysl.training.spec import TrialSpec


def write_trained(
    store: Store,
    spec: TrialSpec,
    method: Method,
    device: torch.device,
    curve: tuple[Epoch, ...],
    started: float,
    ending: Ending | None,
    metrics: Mapping[str, float],
    code: Code,
    other_seconds: float,
    criteria: Mapping[str, float | None] | None = None,
) -> TrialRow:
    """Write and return the row of a trial; also write the record of its code.

    started: unix seconds.  ending: None if the trial finished.  metrics: of its probe, by name.
    other_seconds: of this process beside epochs and criteria.  criteria: that were measured, by name.
    """
    row = TrialRow(
        trial_id=spec.id,
        status=ending.status if ending else "finished",
        reason=ending.reason if ending else "",
        method=str(spec.method["name"]),
        seed=spec.seed,
        final_loss=curve[-1].loss if curve and ending is None else None,
        probe=metrics,
        epochs=len(curve),
        num_parameters=sum(p.numel() for p in method.parameters()),
        seconds=sum(epoch.seconds for epoch in curve),
        started_at=started,
        finished_at=time.time(),
        workers=collectives.world_size(),
        device=_device_name(device),
        raysl_version=raysl.__version__,
        torch_version=str(torch.__version__),
        spec=spec.model_dump_json(),
        curve=curve,
        code=write_code(store, code),
        criteria=criteria or {},
        other_seconds=other_seconds,
    )
    write_row(store, row)
    return row


def with_criteria(store: Store, row: TrialRow, criteria: Mapping[str, float | None]) -> TrialRow:
    """Return a trial's row with the criteria that it lacks, and write it if there are any; other values stay."""
    new = {name: criteria[name] for name in row.lacks(criteria)}
    if not new:
        return row
    row = replace(row, criteria={**row.criteria, **new})
    write_row(store, row)
    return row


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"  # its instructions, on which the last digits depend
