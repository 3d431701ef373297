"""`raysl tune --address http://...`: submits a search that the cluster's head drives, and follows it from outside."""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from raysl.api.dataset_setup import resolve_data
from raysl.api.launching import Launch, launch_options
from raysl.api.search_request import SearchRequest, read_request
from raysl.commands.public import check_public
from raysl.console.output import write
from raysl.console.progress import preparation, progress
from raysl.console.screen import screen
from raysl.data.storage.shipped import Carried, as_variable
from raysl.errors import ResultsError, UserError
from raysl.launch.cluster.address import shown
from raysl.launch.cluster.shipping import send
from raysl.results.storage.store import Store
from raysl.tracking.uri import UNTRACKED, sqlite_path, validate_uri


def submit(
    file: Path,
    profile: str | None,
    overrides: Sequence[str],
    cells: Sequence[str],
    launch: Launch,
    options: Sequence[str],
) -> None:
    """Check a search on this machine, submit it to the cluster's job server, follow it, and exit with its exit code.

    options: those of the command line, except the address and those that name files.
    """
    console = screen()
    launch_options(launch)
    _check_tracking(launch.tracking)
    results = _checked_results(launch.results)
    check_public(options)
    request = read_request(file, profile, overrides, cells)
    own = _own_sets(request, console)
    assert launch.address is not None, "it is that of a job server"
    from raysl.launch.cluster import job_client

    client = job_client.connect(launch.address)
    _send(own, results, console)
    with tempfile.TemporaryDirectory() as folder:
        paths = _copied(
            [file, *_experiment_files(file, request), *([launch.cluster] if launch.cluster else [])], folder
        )
        cluster = [f"--cluster={paths[launch.cluster]}"] if launch.cluster else []
        arguments = ["tune", paths[file], *options, *cluster, "--address=auto"]
        job_id = job_client.submit(client, arguments, Path(folder), as_variable(own))
    _say_how_to_go_on(launch.address, job_id, console)
    try:
        code = job_client.follow(client, job_id, write)
    except KeyboardInterrupt:
        console.print(Text.assemble(("no longer followed", "yellow"), ": the search goes on"))
        _say_how_to_go_on(launch.address, job_id, console)
        sys.exit(130)
    sys.exit(code)


def _check_tracking(tracking: str | None) -> None:
    if tracking is None:
        return
    validate_uri(tracking, UNTRACKED)
    if sqlite_path(tracking) is not None:
        raise UserError(f"--tracking {tracking}: the cluster does not see this machine; give http(s)://HOST or none")


def _checked_results(results: str | None) -> str:
    if results is None or "://" not in results:
        raise UserError(
            f"--results {results or 'is not given'}: the cluster does not see this machine's folders; give "
            "s3://BUCKET/NAME, gs://BUCKET/NAME, or file:///PATH of a folder that all its nodes share"
        )
    return results


def _own_sets(request: SearchRequest, console: Console) -> dict[str, Carried]:
    """Return the sets that only this machine has, by source; check the data as far as they are on this machine."""
    own: dict[str, Carried] = {}
    unseen: dict[str, None] = {}
    for experiment in request.experiments:
        with preparation(console) as told:
            datas = resolve_data(experiment, told, download=False)
        for stage in experiment.stages:
            source = stage.data.source
            if datas[stage.name].is_missing:
                unseen[source] = None
            elif ":" in source:
                own[source] = Carried(datas[stage.name].source, datas[stage.name].digest)
    for source in unseen:
        console.print(f"{source}: not on this machine; the cluster's head checks it", markup=False)
    return own


def _send(own: dict[str, Carried], results: str, console: Console) -> None:
    """Copy sets to the results folder; if there are none, this machine need not be able to reach it."""
    try:
        if own or not results.startswith("file:"):
            store = Store.open(results, create=True)
    except ResultsError as error:
        if own:
            raise
        console.print(f"not to be reached from this machine, the cluster's nodes must: {error}", markup=False)
    for source, carried in own.items():
        with progress(console) as report:
            send(source, carried.digest, store, report)


def _experiment_files(file: Path, request: SearchRequest) -> list[Path]:
    """Return the paths of the experiments' YAMLs that a table file names."""
    tables = request.tables.tables if request.tables else ()
    return sorted({file.parent / cell.experiment for table in tables for cell in table.cells})


def _copied(files: Sequence[Path], folder: str) -> dict[Path, str]:
    """Copy files to a folder, with their relative locations; return their new paths, relative to the folder."""
    found = {file: Path(os.path.normpath(file.absolute())) for file in files}
    root = Path(*_common([path.parent.parts for path in found.values()]))
    for path in found.values():
        target = Path(folder) / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return {file: str(path.relative_to(root)) for file, path in found.items()}


def _common(parts: Sequence[Sequence[str]]) -> Iterator[str]:
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            return
        yield level[0]


def _say_how_to_go_on(address: str, job_id: str, console: Console) -> None:
    at = shlex.join(["--address", shown(address)])
    for what, command in (("follow", f"ray job logs {at} --follow {job_id}"), ("stop", f"ray job stop {at} {job_id}")):
        console.print(f"to {what} it: {command}", markup=False, soft_wrap=True)
