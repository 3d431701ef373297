"""`raysl tune`."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from raysl.api.launching import Launch, launch_options
from raysl.api.preparing import PreparedSearch, prepare_search, resolve_request
from raysl.api.search_request import read_request
from raysl.api.searching import SearchEnd, run_search
from raysl.commands.dry_run import show_dry_run
from raysl.commands.public import check_public
from raysl.commands.table import show_tables
from raysl.console.live import Display
from raysl.console.progress import preparation
from raysl.console.report import show
from raysl.console.screen import screen
from raysl.launch.cluster.budget import LimitError
from raysl.launch.signals import ended_by, raised
from raysl.results.storage.store import Store
from raysl.search.summary import summarise_store

GOES_ON = "finished trials are kept; the same command goes on from here"
MOST_SHOWN = 50  # configs of a stage that are shown after its search
LIMITED = 3  # exit code of a search that has reached a limit


def tune(
    file: Path,
    profile: str | None,
    overrides: Sequence[str],
    cells: Sequence[str],
    launch: Launch,
    dry_run: bool,
    form: str,
) -> None:
    """Search an experiment or a paper's tables, or with dry_run only list the trials that it would train.

    form: of that list, `table` or `json`.
    """  # fmt: skip
    with raised():
        try:
            _tune(file, profile, overrides, cells, launch, dry_run, form)
        except KeyboardInterrupt as error:
            ended = ended_by(error)
            sys.stderr.write(f"{ended}; the same command goes on from here\n")
            sys.exit(ended.exit_code)


def _tune(
    file: Path, profile: str | None, overrides: Sequence[str], cells: Sequence[str], launch: Launch, dry_run: bool,
    form: str,
) -> None:  # fmt: skip
    console = screen()
    options = launch_options(launch)
    if launch.address is not None and not dry_run:  # Ray shows the driver's command line to the cluster
        check_public(
            [
                f"--tracking={launch.tracking or ''}",
                f"--results={launch.results or ''}",
                *[f"--set={one}" for one in overrides],
            ]
        )
    request = read_request(file, profile, overrides, cells)
    with preparation(console if form == "table" else screen(sys.stderr)) as told:
        if dry_run:
            resolved = resolve_request(request, launch, told, download=False)
        else:
            search = prepare_search(request, launch, told)
    if dry_run:
        show_dry_run(request, resolved, form, console)
        return
    end = run_search(search, options, _displayed(search, console))
    if end.stopped:
        sys.exit(LIMITED)
    _show_end(search, end, console)


@contextmanager
def _displayed(search: PreparedSearch, console: Console) -> Iterator[Display]:
    """Yield the display of a search; if a limit or a signal ends it, print that, and exit after a signal."""
    try:
        with Display(console, search.store, many=len(search.resolved) > 1) as display:
            yield display
    except LimitError as error:
        stopped = f"stopped: {error}; {GOES_ON} with a higher limit"
        console.print(stopped, style="yellow", markup=False, soft_wrap=True)
        raise
    except KeyboardInterrupt as error:  # some libraries replace `Ended` by a new one
        ended = ended_by(error)
        with suppress(OSError):  # if the terminal is closed
            console.print(Text.assemble((str(ended), "yellow"), f": {GOES_ON}"))
        sys.exit(ended.exit_code)


def _show_end(search: PreparedSearch, end: SearchEnd, console: Console) -> None:
    store, tables = search.store, search.request.tables
    if tables is None:
        show(summarise_store(store, curves=False), str(store), "table", console, MOST_SHOWN)
    else:
        show_tables(store, "text", None, console, only=tables.path)
    _say_where(store, console)
    _say_what_failed(end, console)


def _say_where(store: Store, console: Console) -> None:
    console.print(
        f"tables: {store}/{{trials,curves,configs,selections}}.arrow; in Python: raysl.read({str(store)!r})",
        markup=False,
        soft_wrap=True,
    )
    where = shlex.join(["raysl", "ui", str(store)])
    console.print(f"MLflow: {where}", markup=False, soft_wrap=True)


def _say_what_failed(end: SearchEnd, console: Console) -> None:
    outcome = end.outcome
    for stage in dict.fromkeys(outcome.unselected):
        console.print(f"stage {stage}: nothing could be selected", style="red", markup=False)
    if outcome.failed:
        console.print(f"{len(outcome.failed)} trial(s) failed; the same command tries them again", style="red")
    if outcome.failed or outcome.unselected:
        sys.exit(1)
