"""`raysl tune`."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast, get_args

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from raysl.commands.setting_up import images_text, prepare_data, resolve_data, say_missing, send_data
from raysl.commands.table import show_tables
from raysl.commands.wanted import Wanted, read_wanted
from raysl.console.live import Display
from raysl.console.report import show
from raysl.console.screen import screen
from raysl.data.carried import carried_sources
from raysl.data.settings import TrialData
from raysl.errors import ResultsError, SearchError, UserError, checked_path, choices
from raysl.launch.address import check_address, is_job_server
from raysl.launch.carry import fetch
from raysl.launch.leases import Leases
from raysl.launch.limits import LimitError, Limits
from raysl.launch.node_types import find_cluster_file
from raysl.launch.options import Backend, Options, Outcome, Retrain, WhoseScores
from raysl.launch.search import Search
from raysl.launch.signals import ended_by, raised
from raysl.outgoing import ADDRESS, read_address
from raysl.outgoing.known import mask_known
from raysl.results.stages import read_stages
from raysl.results.store import Store, folder_id
from raysl.search.checks import cautions
from raysl.search.experiment import Experiment, Stage
from raysl.search.selection import params_text
from raysl.search.summary import curves_of, summarise_store
from raysl.search.trials import Datas, expand
from raysl.tracking.facts import RunFacts
from raysl.tracking.tracked import Tracked
from raysl.tracking.tracker import Tracker
from raysl.tracking.uri import default_uri, validate_uri

GOES_ON = "finished trials are kept; the same command goes on from here"
STARTING_SECONDS = 15.0  # before the first sync: until then, a search starts its processes
MOST_LISTED = 1000  # trials of a stage, in a dry run
MOST_SHOWN = 50  # configs of a stage, at the end of its search
TRACKING_SECONDS = 60.0  # how long the end of a search waits for a slow tracking server

Prepared = Sequence[tuple[Experiment, Datas]]


@dataclass(frozen=True)
class Launch:
    """Where a search goes and what it may take, as the command line has it."""

    results: str | None
    backend: str
    address: str | None
    cluster: Path | None
    tracking: str | None
    max_concurrent: int | None
    max_hours: float | None
    max_cost: float | None
    score: str
    retrain: str

    @property
    def from_outside(self) -> bool:
        """Whether the cluster is reached through its job server, and its head drives the search."""
        return is_job_server(self.address)


def tune(
    file: Path, profile: str | None, overrides: Sequence[str], cells: Sequence[str], launch: Launch, dry_run: bool
) -> None:
    """Search an experiment or a paper's tables, or with dry_run only list what would be trained."""
    with raised():
        try:
            _tune(file, profile, overrides, cells, launch, dry_run)
        except KeyboardInterrupt as error:
            ended = ended_by(error)
            sys.stderr.write(f"{ended}; the same command goes on from here\n")
            sys.exit(ended.exit_code)


def _tune(
    file: Path, profile: str | None, overrides: Sequence[str], cells: Sequence[str], launch: Launch, dry_run: bool
) -> None:
    console = screen()
    options = launch_options(launch)
    if launch.address is not None and not dry_run:  # Ray tells the cluster what command its driver is
        check_public(
            [
                f"--tracking={launch.tracking or ''}",
                f"--results={launch.results or ''}",
                *[f"--set={one}" for one in overrides],
            ]
        )
    wanted = read_wanted(file, profile, overrides, cells)
    if wanted.note:
        console.print(wanted.note, style="yellow", markup=False, soft_wrap=True)
    tracking = launch.tracking or os.environ.get("MLFLOW_TRACKING_URI")
    if tracking is not None:
        validate_uri(tracking)
    for carried in carried_sources().values():
        fetch(carried.source, carried.digest, Store.open(launch.results or wanted.results, create=False))
    prepared = [
        (experiment, resolve_data(experiment, console, download=not dry_run)) for experiment in wanted.experiments
    ]
    for text in dict.fromkeys(text for one in prepared for text in cautions(*one)):
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    if dry_run:
        say_missing(_distinct(prepared), console)
        list_trials(wanted, prepared, console)
        return
    store = Store.open(launch.results or wanted.results, create=True)
    _say_what_changed(store, prepared, console)
    for data in _distinct(prepared):
        prepare_data(data, console)
        if launch.address is not None:
            send_data(data, store, console)
    outcome = _search(wanted, prepared, store, options, tracking or default_uri(store), console)
    _say_what_failed(outcome, console)


def launch_options(launch: Launch) -> Options:
    """Return how a search is launched.  Raises UserError where what the command line says of it cannot be."""
    check_address(launch.address)
    for option, place in (("--results", launch.results), ("--tracking", launch.tracking)):
        checked_path(Path(place or ""), option)
    named = (
        ("--score", launch.score, WhoseScores),
        ("--backend", launch.backend, Backend),
        ("--retrain", launch.retrain, Retrain),
    )
    for option, value, type_ in named:
        if value not in get_args(type_):
            raise UserError(f"{option} {value}: {choices(value, get_args(type_))}")
    if launch.backend == "inline":
        _check_inline(launch)
    if launch.max_cost is not None and launch.address is None:
        raise UserError(
            f"--max-cost {launch.max_cost:g}: this machine has no price; --address names a cluster that has"
        )
    file = find_cluster_file(launch.cluster, launch.address)
    limits = Limits(launch.max_hours, launch.max_cost, file)
    backend, score, retrain = (
        cast(Backend, launch.backend),
        cast(WhoseScores, launch.score),
        cast(Retrain, launch.retrain),
    )
    return Options(backend, launch.address, launch.max_concurrent, score, retrain, file, limits)


def check_public(options: Sequence[str]) -> None:
    """Raise UserError where an option holds a secret, for a command line that a whole cluster may read."""
    for option in options:
        address = ADDRESS.search(option)
        if mask_known(option) != option or (address and read_address(address[0]).secrets):
            shown = option.replace(address[0], read_address(address[0]).shown) if address else option
            raise UserError(
                f"{shown.replace('=', ' ', 1)}: a job's command line is there for all to see, and this holds a secret; "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD belong into the head's environment, and a "
                "store's keys into that of the nodes, or into their role"
            )


def _check_inline(launch: Launch) -> None:
    given = {"--address": launch.address, "--cluster": launch.cluster}
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option} {value}: --backend inline trains in this process; leave one of the two out")
    if launch.max_concurrent is not None and launch.max_concurrent > 1:
        raise UserError(
            f"--max-concurrent {launch.max_concurrent}: --backend inline trains one trial at a time; choices: 1, "
            "--backend ray"
        )


def _search(
    wanted: Wanted, prepared: Prepared, store: Store, options: Options, tracking: str, console: Console
) -> Outcome:
    with Leases(store) as leases:
        with leases.turn("folder"):
            identity = folder_id(store)
        tracker = _tracker(store, tracking, identity, partial(leases.turn, "tracking"))
        try:
            with Display(console, store, many=len(prepared) > 1) as display:
                recorder = wanted.recorder(store, lambda: leases.turn("cells"))

                def changed(outcome: Outcome) -> None:
                    tracker.notify()
                    recorder(outcome.stage_ids)

                search = Search(prepared, leases, options, display, changed, tracker.finish)
                outcome = _executed(search)
        except LimitError as error:
            console.print(f"stopped: {error}; {GOES_ON}", style="yellow", markup=False)
            sys.exit(3)
        except KeyboardInterrupt as error:  # some libraries raise a new one
            ended = ended_by(error)
            with suppress(OSError):  # of a terminal that is closed
                console.print(Text.assemble((str(ended), "yellow"), f": {GOES_ON}"))
            sys.exit(ended.exit_code)
        finally:
            status = tracker.close(timeout=min(TRACKING_SECONDS, max(0.0, options.limits.seconds_left / 2)))
            if not status.tracked:
                console.print(f"MLflow: {status}", style="yellow", markup=False)
    search.prune()  # of searches that end together, the last one to leave sees nobody
    if wanted.tables is None:
        show(summarise_store(store, curves=False), str(store), "table", console, MOST_SHOWN)
    else:
        show_tables(store, "text", None, console, only=wanted.tables.path)
    _say_where(store, status.uri, console)
    return outcome


def _tracker(store: Store, uri: str, folder_id: str, turn: Callable[[], AbstractContextManager[None]]) -> Tracker:
    def curves(run: RunFacts) -> pa.Table:
        return curves_of(store, run.stage_id, run.tags["raysl.trial_id"])

    tables = partial(summarise_store, store, curves=False)
    return Tracker(uri, tables, folder_id, turn, STARTING_SECONDS, curves=curves, tracked=Tracked(store, uri))


def _executed(search: Search) -> Outcome:
    """Search; a results folder that was writable and is no longer is no mistake of the user's."""
    try:
        return search.execute()
    except ResultsError as error:
        raise SearchError(str(error)) from None


def _distinct(prepared: Prepared) -> list[TrialData]:
    return list({data.model_dump_json(): data for _, datas in prepared for data in datas.values()}.values())


def list_trials(wanted: Wanted, prepared: Prepared, console: Console) -> None:
    """Print the trials that a search would train, each with its id where nothing has to be selected before.

    Where the images are not on this machine, `-` stands for the id.
    """
    seen: set[str] = set()
    for index, (experiment, datas) in enumerate(prepared):
        console.print(
            f"{experiment.name}: {'; '.join(dict.fromkeys(map(images_text, datas.values())))}",
            markup=False,
            soft_wrap=True,
        )
        if wanted.tables is not None:
            console.print(f"  for {', '.join(wanted.cells[index])}", markup=False, soft_wrap=True)
        for stage in experiment.stages:
            _list_stage(experiment, stage, datas, seen, console)
    if wanted.tables is not None:
        console.print(f"{len(seen)} trials of first stages, each trained once; {len(prepared)} searches")
        for key, reason in wanted.tables.reasons.items():
            console.print(f"not searched: {key}: {reason}", markup=False)


def _list_stage(experiment: Experiment, stage: Stage, datas: Datas, seen: set[str], console: Console) -> None:
    after = f", each from the model of {stage.start_from} that its seed has" if stage.start_from else ""
    if stage.adaptive:
        num_configs, num_seeds = stage.settings.search.num_configs, len(experiment.seeds)
        proposed = f"each config proposed by {stage.settings.search.sampler['name']} from the results of those before"
        line = f": {num_configs} configs x {num_seeds} seeds, select: {stage.select}{after}; {proposed}"
        console.print(Text.assemble("stage ", (stage.name, "bold"), line), soft_wrap=True)
        for key, dimension in stage.space.items():
            console.print(f"  {key}: {dimension}", markup=False, highlight=False)
        return
    starts = dict.fromkeys(experiment.seeds, "-") if stage.start_from else {}
    trials = expand(experiment, stage, datas, starts)
    line = f": {len(trials)} trials, select: {stage.select}{after}"
    console.print(Text.assemble("stage ", (stage.name, "bold"), line))
    for trial in trials[:MOST_LISTED]:
        shared = " (shared with one above)" if trial.spec.id in seen else ""
        name = "" if stage.start_from else "-  " if trial.spec.data.is_missing else f"{trial.spec.id}  "
        line = f"  {name}{params_text(trial.params)} seed={trial.spec.seed}{shared}"
        console.print(line, markup=False, highlight=False)
    if len(trials) > MOST_LISTED:
        console.print(f"  and {len(trials) - MOST_LISTED:,} more")
    if not stage.start_from:
        seen |= {trial.spec.id for trial in trials}


def _say_what_changed(store: Store, prepared: Prepared, console: Console) -> None:
    before = {(stage.data.get("source"), stage.data.get("digest")) for stage in read_stages(store)}
    now = {(data.source, data.digest) for data in _distinct(prepared)}
    for source in sorted({source for source, _ in now - before} & {source for source, _ in before}):
        console.print(
            f"{source}: not the images or labels that {store} was trained on; trials are trained anew",
            style="yellow",
            markup=False,
        )


def _say_where(store: Store, tracking_uri: str, console: Console) -> None:
    console.print(
        f"tables: {store}/{{trials,curves,configs,selections}}.arrow; in Python: raysl.read({str(store)!r})",
        markup=False,
        soft_wrap=True,
    )
    local = tracking_uri.startswith("sqlite")
    where = shlex.join(["mlflow", "ui", "--backend-store-uri", tracking_uri]) if local else tracking_uri
    console.print(f"MLflow: {where}", markup=False, soft_wrap=True)


def _say_what_failed(outcome: Outcome, console: Console) -> None:
    for stage in dict.fromkeys(outcome.unselected):
        console.print(f"stage {stage}: nothing could be selected", style="red", markup=False)
    if outcome.failed:
        console.print(f"{len(outcome.failed)} trial(s) failed; the same command tries them again", style="red")
    if outcome.failed or outcome.unselected:
        sys.exit(1)
