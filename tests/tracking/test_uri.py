import subprocess
import sys
from pathlib import Path

import pytest

from raysl.errors import UserError
from raysl.results.storage.store import Store
from raysl.tracking import default_uri, validate_uri
from raysl.tracking.uri import UNTRACKED, environment_uri, sqlite_path, without_password


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db",
        "sqlite:////abs/mlflow.db",
        "http://localhost:5000",
        "https://user:word@host/path",
        "postgresql+psycopg2://user@host/runs",
        "databricks",
        "databricks://profile",
    ],
)
def test_what_mlflow_takes_passes(uri: str) -> None:
    assert validate_uri(uri) == uri


@pytest.mark.parametrize(
    "uri", ["", "mlruns", "./mlruns", "file:///tmp/mlruns", "http://", "sqlite://mlflow.db", "htp://h"]
)
def test_anything_else_is_refused_with_the_valid_forms(uri: str) -> None:
    with pytest.raises(UserError, match=r"sqlite:///PATH.db, http\(s\)://HOST") as caught:
        validate_uri(uri)
    assert repr(uri) in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("http://alice:pa/ss@host", "%2F"),
        ("http://alice:12/s3cretpw@host", "%2F"),
        ("http://alice:pa#ss@host", "%23"),
        ("http://tok/en@host", "%2F"),
        ("postgresql://alice:s3cret@pw@host/runs", "%40"),
        ("http://host/?token=s3cretpw", "MLFLOW_TRACKING_TOKEN"),
        ("http://host/#s3cretpw", "MLFLOW_TRACKING_TOKEN"),
        ("http://alice:s3cretpw@", "no host"),
        ("http://alice:s3cretpw@host:port", "an invalid port"),
        ("http://alice:s3cretpw@[::1", "no host"),
        ("http://alice:s3cret pw@host", "%20"),
        ("htp://alice:s3cretpw@host", "valid forms"),
        ("alice:s3cretpw@host:5000", "valid forms"),
    ],
)
def test_what_mlflow_would_read_otherwise_is_refused_without_its_secret(uri: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        validate_uri(uri)
    shown = str(caught.value)
    assert hint in shown
    assert not any(part in shown for part in ("s3cret", "pw", "pa/", "pa#", "tok/", "ss@"))


def test_a_folder_is_told_apart_from_a_misspelling() -> None:
    with pytest.raises(UserError, match="not in a folder"):
        validate_uri("./mlruns")
    with pytest.raises(UserError, match="'htp://host': valid forms"):
        validate_uri("htp://host")


def test_none_is_taken_only_where_a_search_need_not_be_tracked() -> None:
    assert validate_uri(UNTRACKED, UNTRACKED) == UNTRACKED
    with pytest.raises(UserError, match=r"not in a folder.* databricks(?!.*none)"):
        validate_uri(UNTRACKED)
    with pytest.raises(UserError, match=r"databricks.*, none"):
        validate_uri("None", UNTRACKED)


@pytest.mark.parametrize("name", ["results", "a b", "50%", "what?"])
def test_the_default_is_a_database_in_the_results_folder(tmp_path: Path, name: str) -> None:
    uri = default_uri(Store.open(str(tmp_path / name), create=True))
    assert validate_uri(uri) == uri
    assert sqlite_path(uri) == tmp_path / name / "mlflow.db"
    from sqlalchemy.engine import make_url

    assert make_url(uri).database == str(tmp_path / name / "mlflow.db")


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:se:cret@host/runs") == "postgresql://me:***@host/runs"
    assert without_password("http://localhost:5000/a%40b") == "http://localhost:5000/a%40b"


def test_importing_the_package_does_not_import_mlflow() -> None:
    check = "import sys, raysl.tracking; assert not {'mlflow', 'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize(
    ("value", "read"), [("", None), (" ", None), ("http://host", "http://host"), (" databricks\n", "databricks")]
)
def test_a_blank_address_of_the_environment_counts_as_none(
    value: str, read: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert environment_uri() == read


def test_no_address_in_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert environment_uri() is None
