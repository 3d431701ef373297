"""Addresses of tracking stores."""

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import unquote

from raysl.errors import UserError
from raysl.outgoing import learn_address, read_address
from raysl.outgoing.addresses import is_readable
from raysl.results.storage.store import Store

UNTRACKED = "none"  # in a URI's place: the search is not tracked; `raysl ui` syncs its folder when it is looked at
_FORMS: Mapping[str, str] = {
    r"sqlite:///.+": "sqlite:///PATH.db",
    r"https?://[^/].*": "http(s)://HOST[:PORT]",
    r"(postgresql|mysql|mssql)(\+\w+)?://.+": "postgresql|mysql|mssql://USER@HOST/NAME",
    r"databricks(://.+)?": "databricks[://PROFILE]",
}


def validate_uri(uri: str, *others: str) -> str:
    """Return a tracking URI, checked without importing MLflow.

    others: what may stand in its place.  Its secrets are masked in raysl's output from now on.
    Raises UserError, with the value and the valid forms, if MLflow cannot take it.
    """
    if uri in others:
        return uri
    learn_address(uri)
    plugins = _plugins()
    if any(re.fullmatch(form, uri) for form in _FORMS) or uri.partition("://")[0] in plugins:
        if why := _why_unreadable(uri):
            raise UserError(f"tracking URI {without_password(uri)!r}: {why}")
        return uri
    folder = uri.startswith("file:") or not re.match(r"[\w+.-]+:", uri)
    why = "MLflow keeps runs in a database or on a server, not in a folder; " if folder else ""
    raise UserError(
        f"tracking URI {without_password(uri)!r}: {why}valid forms: {', '.join([*_FORMS.values(), *plugins, *others])}"
    )


@lru_cache(maxsize=1)
def _plugins() -> list[str]:
    return sorted(entry.name for entry in entry_points(group="mlflow.tracking_store"))


def _why_unreadable(uri: str) -> str:
    """Return why MLflow cannot take an address of a valid form; empty if it can."""
    if uri.startswith("sqlite:"):
        return ""
    if not uri.isprintable() or " " in uri:
        return "spaces and control characters are written %20 and the like"
    if read_address(uri).is_ambiguous:
        return "in a user's name or password, / ? # @ and : are written %2F %3F %23 %40 and %3A"
    if not uri.startswith(("http://", "https://")):
        return ""
    if re.search("[?#]", uri):
        return "MLflow takes neither ?... nor #... on a server; MLFLOW_TRACKING_TOKEN holds a token"
    return "" if is_readable(uri) else f"no host, or an invalid port; valid form: {_FORMS[r'https?://[^/].*']}"


def environment_uri() -> str | None:
    """Return the tracking URI of the environment; None if it is unset, or blank as in an unfilled form."""
    return os.environ.get("MLFLOW_TRACKING_URI", "").strip() or None


def default_uri(store: Store) -> str:
    """Return the URI of a results folder's SQLite database; for an object store, of one in the working directory."""
    path = store.local_path("mlflow.db") or Path("mlflow.db").absolute()
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite URI; None for any other."""
    address = uri.partition("?")[0]
    return Path(unquote(address.removeprefix("sqlite:///"))) if address.startswith("sqlite:///") else None


def is_database(uri: str) -> bool:
    """Return whether a tracking URI names a database, for which a server can be started."""
    return re.match(r"(sqlite|postgresql|mysql|mssql)\b", uri) is not None


def without_password(uri: str) -> str:
    """Return a URI with its secrets masked, for messages."""
    return read_address(uri).shown
