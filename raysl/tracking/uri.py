"""Addresses of tracking stores."""

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import unquote

from raysl.errors import UserError
from raysl.results.store import Store

_FORMS: Mapping[str, str] = {
    r"sqlite:///.+": "sqlite:///PATH.db",
    r"https?://[^/].*": "http(s)://HOST[:PORT]",
    r"(postgresql|mysql|mssql)(\+\w+)?://.+": "postgresql|mysql|mssql://USER@HOST/NAME",
    r"databricks(://.+)?": "databricks[://PROFILE]",
}


def validate_uri(uri: str) -> str:
    """Return a tracking URI that MLflow can take; cheap, without importing MLflow.

    Raises UserError, naming the value and the valid forms.
    """
    plugins = sorted(entry.name for entry in entry_points(group="mlflow.tracking_store"))
    if any(re.fullmatch(form, uri) for form in _FORMS) or uri.partition("://")[0] in plugins:
        return uri
    folder = uri.startswith("file:") or not re.match(r"[\w+.-]+:", uri)
    why = "MLflow keeps runs in a database or on a server, not in a folder; " if folder else ""
    raise UserError(
        f"tracking URI {without_password(uri)!r}: {why}valid forms: {', '.join([*_FORMS.values(), *plugins])}"
    )


def default_uri(store: Store) -> str:
    """Return the SQLite database of a results folder; in the working directory where that is an object store."""
    path = store.local_path("mlflow.db") or Path("mlflow.db").absolute()
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite URI; None for any other."""
    address = uri.partition("?")[0]
    return Path(unquote(address.removeprefix("sqlite:///"))) if address.startswith("sqlite:///") else None


def without_password(uri: str) -> str:
    """Return a URI as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", uri)
