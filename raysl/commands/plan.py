"""`raysl plan`."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from raysl.api.costing import ExperimentPlan
from raysl.api.dataset_setup import images_text
from raysl.api.planning import Planning, SearchPlan
from raysl.api.search_request import read_request
from raysl.api.target import Target, target
from raysl.api.trial_times import ALIKE, MeasuredTrials, TrialTimes
from raysl.commands.dry_run import least_trials, num_trials_text
from raysl.console.costs import show_costs
from raysl.console.fitted_table import Column, print_table
from raysl.console.progress import note, preparation
from raysl.console.screen import screen, write_json

COLUMNS = (
    "stage",
    "trials",
    "done",
    "shared",
    "epochs",
    "steps/epoch",
    "parameters",
    "s/step",
    "trial hours",
    "wall hours",
)


def plan(
    file: Path,
    profile: str | None,
    overrides: Sequence[str],
    cells: Sequence[str],
    results: str | None,
    address: str | None,
    cluster: Path | None,
    steps: int,
    measured: str | None,
    form: str,
) -> None:
    """Print the estimated cost of a search, from a few steps of each distinct shape measured on this machine.

    measured: results folder or URI whose finished trials give times in place of steps.  form: `table` or `json`.
    """
    console = screen()
    request = read_request(file, profile, overrides, cells)
    place = target(address, cluster)
    planning = Planning(request, results, place, steps, measured)
    with preparation(console if form == "table" else screen(sys.stderr)) as told:
        for planned in planning.run(told):
            if form == "table":
                _show_experiment(planned, console)
    if form == "json":
        write_json(console, _facts(planning.result()))
        return
    _show_end(planning.result(), place, steps, planning.planner.costs.measured, console)


def _facts(planned: SearchPlan) -> dict[str, Any]:
    experiments = [
        {
            "experiment": one.experiment.name,
            "trials_at_once": one.capacity,
            "stages": [asdict(shape) for shape in one.shapes],
            "least_trials": {stage.name: least_trials(one.experiment, stage) for stage in one.experiment.stages},
        }
        for one in planned.experiments
    ]
    whole = {"trials": planned.num_trials, "seconds": planned.seconds, "usd": planned.usd, "missing": planned.missing}
    return whole | {"experiments": experiments}


def _show_experiment(planned: ExperimentPlan, console: Console) -> None:
    title = f"{planned.experiment.name}: {planned.capacity} trials at once"
    rows = [
        [
            shape.stage,
            *[str(n) for n in (shape.num_trials, shape.done, shape.shared, shape.epochs, shape.steps)],
            f"{shape.num_parameters:,}",
            f"{shape.step_seconds:.4f}",
            *[f"{seconds / 3600:.2f}" for seconds in (shape.trial_seconds, shape.seconds)],
        ]
        for shape in planned.shapes
    ]
    print_table(console, title, [Column(name, left=name == "stage", key=name == "stage") for name in COLUMNS], rows)
    for name, seconds in {shape.stage: shape.criteria_seconds for shape in planned.shapes}.items():
        if seconds:
            console.print(f"{name}: the criteria take {seconds:.3g} s of each trial", markup=False, soft_wrap=True)
    for stage in planned.experiment.stages:
        if stage.folds is not None:
            text = num_trials_text(planned.experiment, stage, 0)
            console.print(f"{stage.name}: {text}", markup=False, soft_wrap=True)
        if stage.race is not None or stage.settings.search.extend:
            text = num_trials_text(planned.experiment, stage, stage.num_configs * len(planned.experiment.seeds))
            counted = "those of all" if stage.race is not None else "without these"
            console.print(f"{stage.name}: {text}; times and costs are {counted}", markup=False, soft_wrap=True)
    resources = planned.experiment.resources
    console.print(
        f"each trial: {resources.workers} worker(s) of {resources.cpus} CPU(s) and {resources.gpus:g} GPU(s); "
        + "; ".join(dict.fromkeys(map(images_text, planned.datas.values()))),
        markup=False,
    )


def _show_end(
    planned: SearchPlan, place: Target, steps: int, measured: MeasuredTrials | None, console: Console
) -> None:
    for text in planned.missing:
        note(console, text)
    several = len(planned.experiments) > 1
    if several:
        console.print(f"{planned.num_trials} trials in all, what experiments share counted once")
    if place.file:
        show_costs(place.file, planned.needs, planned.seconds, console)
    elif place.rate is not None and planned.usd is not None:
        console.print(f"about {planned.usd:.2f} USD: {len(place.nodes)} node(s) of {place.rate:.2f} USD an hour in all")
    for text in _cautions(planned, place, measured) if measured else ():
        note(console, text)
    console.print(
        f"about {_duration(planned.seconds)}: an estimate from {_basis(planned, steps)}"
        + (", and experiments one after the other" if several else "")
    )


def _basis(planned: SearchPlan, steps: int) -> str:
    """Return what the plan's times are from, and what they leave out."""
    here = f"{steps} steps of each shape on this machine's CPU, nothing beside them"
    times, others = _measured(planned)
    if not times:
        return (
            f"{here}; probes, scoring and start-up (seconds; a minute for k nearest neighbours of 50,000 labelled "
            "images) are not counted"
        )
    left = f", and for {', '.join(others)} from {here}" if others else ""
    return f"finished trials on {_devices(times)}{left}; scoring and the start of processes are not counted"


def _cautions(planned: SearchPlan, place: Target, measured: MeasuredTrials) -> list[str]:
    """Return what is to be known of the times of finished trials."""
    times, others = _measured(planned)
    found = []
    if others:
        found.append(f"{measured.place} has no finished trial like those of {', '.join(others)}: {ALIKE} must be alike")
    if times and place.file:
        found.append(f"all node types are priced at the speed of {_devices(times)}")
    if any(one.experiment.resources.gpus for one in planned.experiments) and "cpu (" in _devices(times):
        found.append("these trials are to run on GPUs, but the finished ones ran on a CPU")
    if any(one.num_epochs == 1 for one in times):
        found.append(
            "the finished trials have one epoch, and a first epoch is slower than others: train at least three"
        )
    return found


def _devices(times: Iterable[TrialTimes]) -> str:
    return ", ".join(dict.fromkeys(one.device for one in times))


def _measured(planned: SearchPlan) -> tuple[list[TrialTimes], list[str]]:
    """Return the times of finished trials, and the stages with trials to train that have none."""
    shapes = [(one.experiment.name, shape) for one in planned.experiments for shape in one.shapes if shape.seconds]
    others = dict.fromkeys(f"{name}/{shape.stage}" for name, shape in shapes if shape.times is None)
    return [shape.times for _, shape in shapes if shape.times is not None], list(others)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
