"""`raysl ui`: MLflow's pages of a results folder."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from shlex import quote
from urllib.parse import urlsplit

from rich.console import Console

from raysl.api.syncing import sync_folder
from raysl.console.screen import screen
from raysl.errors import ResultsError, UserError
from raysl.launch.signals import ended_by, raised
from raysl.outgoing.harmless import one_line
from raysl.results.storage.store import Store, folder_id
from raysl.results.tables.build import Tables
from raysl.search.summary import summarise_store
from raysl.tracking.links import Link, best_link, links
from raysl.tracking.server import free_port, serving
from raysl.tracking.sync_manifest import read_target
from raysl.tracking.uri import UNTRACKED, default_uri, environment_uri, is_database, validate_uri, without_password

SYNC_SECONDS = 600.0  # for which a sync is waited for
MOST_LINKS = 30


def ui(results: str, port: int | None, browser: bool, tracking: str | None) -> None:
    """Serve a results folder's tracking store on this machine until Ctrl-C, or link to the server that holds it."""
    store = Store.open(results, create=False)
    tables = summarise_store(store, curves=False)
    if tables.configs.num_rows == 0:
        raise ResultsError(
            f"{store}: no search has been here; `raysl tune FILE --results {quote(str(store))}` starts one"
        )
    uri = validate_uri(_uri(store, tracking))
    console = screen()
    if uri.startswith(("http://", "https://")):
        _sync(store, uri, console)
        parts = urlsplit(uri)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # a browser asks for the password
        _show(links(tables, folder_id(store), uri, address), console, browser)
        return
    if not is_database(uri):
        raise UserError(f"tracked in {without_password(uri)}, whose own pages show it; raysl serves databases")
    free_port(port)  # a taken one is said before the sync
    with raised():
        try:
            _serve(store, tables, uri, port, console, browser)
        except KeyboardInterrupt as error:
            ended = ended_by(error)
            console.print("the server has ended", markup=False)
            sys.exit(0 if str(ended) == "interrupted" else ended.exit_code)


def _uri(store: Store, given: str | None) -> str:
    """Return the URI of a results folder's tracking store: the given one, else that of its last sync."""
    last, environment = read_target(store), environment_uri()
    if environment == UNTRACKED:
        environment = None
    if given or last is None:
        return given or environment or default_uri(store)
    if environment is not None and last == without_password(environment):
        return environment  # with its password
    if "***" in last:
        raise UserError(f"tracked in {last}, whose password is not kept: --tracking or MLFLOW_TRACKING_URI gives it")
    return last


def _serve(store: Store, tables: Tables, uri: str, port: int | None, console: Console, browser: bool) -> None:
    _sync(store, uri, console)
    with serving(uri, port) as server:
        server.wait_until_it_answers()
        _show(links(tables, folder_id(store), uri, server.address), console, browser)
        console.print("Ctrl-C ends the server", markup=False)
        server.wait()


def _sync(store: Store, uri: str, console: Console) -> None:
    try:
        status = sync_folder(store, uri, SYNC_SECONDS)
    except ResultsError as error:  # somebody else's folder: what the store holds is shown
        console.print(f"not synced: {error}", style="yellow", markup=False, soft_wrap=True)
        return
    if not status.tracked:
        console.print(str(status), style="yellow", markup=False, soft_wrap=True)


def _show(found: Sequence[Link], console: Console, browser: bool) -> None:
    best = best_link(found)
    if best is None:
        raise UserError("MLflow holds no experiment of this results folder")
    _print(best, console)
    others = [link for link in found if link is not best]
    for link in others[:MOST_LINKS]:
        _print(link, console)
    if len(others) > MOST_LINKS:
        console.print(f"and {len(others) - MOST_LINKS} more, in the pages' menu of views", markup=False)
    if browser and sys.stdout.isatty() and _has_screen():
        with suppress(webbrowser.Error):
            webbrowser.open(best.url)


def _print(link: Link, console: Console) -> None:
    name = one_line(f"{link.experiment}: {link.name}")
    console.print(f"{name}: {link.url}", markup=False, soft_wrap=True, highlight=False)


def _has_screen() -> bool:
    """Return whether a browser would have a window, rather than take this terminal."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
