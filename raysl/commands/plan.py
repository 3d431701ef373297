"""`raysl plan`."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from raysl.commands.setting_up import images_text, prepare_data, resolve_data, say_missing
from raysl.commands.wanted import read_wanted
from raysl.console.costs import show_costs
from raysl.console.screen import screen
from raysl.data.settings import TrialData
from raysl.launch import feasibility
from raysl.launch.node_types import ClusterFile, capacity, find_cluster_file
from raysl.results.rows import read_rows
from raysl.results.store import Store
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.chain import selected_starts
from raysl.search.experiment import Experiment, Resources, Stage
from raysl.search.trials import Datas, Trial, expand
from raysl.training.spec import TrialSpec

if TYPE_CHECKING:
    from raysl.training.measure import Cost


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
) -> None:
    """Print what a search would take, from a few steps of each distinct shape measured on this machine."""
    console = screen()
    wanted = read_wanted(file, profile, overrides, cells)
    if wanted.note:
        console.print(wanted.note, style="yellow", markup=False, soft_wrap=True)
    place = _place(address, cluster)
    for experiment in wanted.experiments:
        place.capacity(experiment)
    planner = _Planner(results or wanted.results, place, steps)
    total, missing = 0.0, dict[str, TrialData]()
    for experiment in wanted.experiments:
        datas = resolve_data(experiment, console, download=False)
        for data in {data.model_dump_json(): data for data in datas.values() if not data.is_missing}.values():
            prepare_data(data, console)
        missing |= {data.source: data for data in datas.values() if data.is_missing}
        total += planner.add(experiment, datas, console)
    say_missing(missing.values(), console)
    several = len(wanted.experiments) > 1
    if several:
        console.print(f"{len(planner.seen)} trials in all, what experiments share counted once")
    if place.file:
        show_costs(place.file, planner.needs, total, console)
    elif place.rate is not None:
        usd = place.rate * total / 3600
        console.print(f"about {usd:.2f} USD: {len(place.nodes)} node(s) of {place.rate:.2f} USD an hour in all")
    console.print(
        f"about {_duration(total)}: an estimate from {steps} steps of each shape on this machine's CPU, "
        "nothing beside them; probes, scoring and start-up (seconds; a minute for k nearest neighbours of 50,000 "
        "labelled images) are not counted" + (", and experiments one after the other" if several else "")
    )


class _Planner:
    """Adds up what experiments take; a trial that several of them need is counted once, and a shape measured once."""

    def __init__(self, uri: str, place: "_Place", steps: int) -> None:
        self.uri, self.place, self.steps = uri, place, steps
        self.needs: dict[Resources, float] = {}  # seconds of trials, by what each of them takes
        self.seen: set[str] = set()
        self._costs: dict[str, Cost] = {}

    def add(self, experiment: Experiment, datas: Datas, console: Console) -> float:
        """Print what an experiment takes beyond those before it; return seconds of wall time."""
        capacity = self.place.capacity(experiment)
        table = Table(title=f"{experiment.name}: {capacity} trials at once", title_justify="left")
        for column in COLUMNS:
            table.add_column(column, justify="left" if column == "stage" else "right")
        seconds = sum(self._add_stage(stage, experiment, datas, capacity, table) for stage in experiment.stages)
        console.print(table)
        resources = experiment.resources
        console.print(
            f"each trial: {resources.workers} worker(s) of {resources.cpus} CPU(s) and {resources.gpus:g} GPU(s); "
            + "; ".join(dict.fromkeys(map(images_text, datas.values()))),
            markup=False,
        )
        return seconds

    def _add_stage(self, stage: Stage, experiment: Experiment, datas: Datas, capacity: int, table: Table) -> float:
        trials, done = _trials(stage, experiment, datas, self.uri)
        seconds = 0.0
        for shape in _shapes(trials):
            cost = self._cost(shape[0].spec, experiment)
            shared = [trial for trial in shape if trial.spec.id in self.seen]
            finished = [trial for trial in shape if trial.spec.id in done - self.seen]
            left = [trial for trial in shape if trial.spec.id not in done | self.seen]
            epochs = shape[0].spec.epochs
            needed = sum(trial.spec.epochs for trial in left) * cost.steps * cost.seconds
            wall = needed / min(capacity, max(1, len(left)))
            seconds += wall
            self.needs[experiment.resources] = self.needs.get(experiment.resources, 0.0) + needed
            table.add_row(
                stage.name,
                *[str(n) for n in (len(shape), len(finished), len(shared), epochs, cost.steps)],
                f"{cost.num_parameters:,}",
                f"{cost.seconds:.4f}",
                *[f"{hours:.2f}" for hours in (needed / 3600, wall / 3600)],
            )
        self.seen |= {trial.spec.id for trial in trials}
        return seconds

    def _cost(self, spec: TrialSpec, experiment: Experiment) -> "Cost":
        shape = _shape(spec.model_copy(update={"data": spec.data.model_copy(update={"attack": None})}))
        if shape not in self._costs:
            self._costs[shape] = _measure(spec, experiment, self.steps)
        return self._costs[shape]


def _shapes(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Group trials whose steps cost the same: all that differs is a number in the optimizer or the seed."""
    shapes: dict[str, list[Trial]] = {}
    for trial in trials:
        shapes.setdefault(_shape(trial.spec), []).append(trial)
    return list(shapes.values())


def _shape(spec: TrialSpec) -> str:
    apart = {"seed", "optimizer", "schedule", "start", "start_epoch", "probe", "streams"}
    return spec.model_dump_json(exclude=apart) + (spec.optimizer.name if spec.optimizer else "")


def _trials(stage: Stage, experiment: Experiment, datas: Datas, uri: str) -> tuple[Sequence[Trial], set[str]]:
    """Return a stage's trials, and the ids of those that the results folder holds already."""
    store = Store.open(uri, create=False) if "://" in uri or os.path.exists(uri) else None
    starts = selected_starts(experiment, stage, datas, store) if store else {} if stage.start_from is None else None
    if starts is None:  # what an earlier stage will select is not known yet, and none of these trials is trained
        starts = dict.fromkeys(experiment.seeds, f"{experiment.name}/{stage.start_from}")
        return _expected(experiment, stage, datas, starts, None), set()
    trials = _expected(experiment, stage, datas, starts, store)
    rows = read_rows(store, [trial.spec.id for trial in trials]) if store else {}
    return trials, {trial_id for trial_id, row in rows.items() if row.status != "failed"}


def _expected(
    experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str], store: Store | None
) -> list[Trial]:
    """Return a stage's trials; a config that is still to be proposed costs what one at an end of the space does."""
    if not stage.adaptive:
        return list(expand(experiment, stage, datas, starts))
    search = AdaptiveSearch(experiment, stage, datas, starts, store, 0.0)
    known = [trial for trials in search.trials for trial in trials]
    return known + search.num_left * list(expand(experiment, stage, datas, starts, stage.extremes[:1]))


def _measure(spec: TrialSpec, experiment: Experiment, steps: int) -> "Cost":
    from raysl.training.loop import Execution
    from raysl.training.measure import measure

    with tempfile.TemporaryDirectory() as scratch:
        return measure(spec, Store.open(scratch, create=True), Execution(threads=experiment.resources.cpus), steps)


@dataclass(frozen=True)
class _Place:
    """Where a search would go: the nodes that are there, and how far their cluster can grow.

    rate: what an hour of those nodes costs in USD; None where that is not known.
    """

    nodes: Sequence[feasibility.Node]
    file: ClusterFile | None
    rate: float | None = None

    def capacity(self, experiment: Experiment) -> int:
        """Return how many trials there are at once at most; raises ResourcesError where one can never be."""
        return capacity(experiment.resources, self.nodes, self.file, experiment.place("resources"))


def _place(address: str | None, path: Path | None) -> _Place:
    """Return the cluster at an address, or as a file describes it; without either, this machine."""
    file = find_cluster_file(path, address)
    if address is not None:
        from raysl.launch.cluster import cluster, nodes, priced_nodes

        with cluster(address):
            prices = [node.price for node in priced_nodes(file)]
            rate = None if None in prices else sum(price for price in prices if price is not None)
            return _Place(nodes(), file, rate)
    if file is not None:
        return _Place([], file)
    import torch

    return _Place([feasibility.Node(cpus=os.cpu_count() or 1, gpus=torch.cuda.device_count())], None)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
