"""Which part of an address is secret."""

import pytest

from raysl.outgoing import read_address

SHOWN = {
    "http://alice:s3cret@host:5000/a": "http://***@host:5000/a",
    "HTTPS://alice:s3cret@host": "HTTPS://***@host",
    "http://s3cret@host": "http://***@host",  # a token
    "http://:s3cret@host": "http://***@host",
    "http://alice:s3/cret@host": "http://***@host",
    "http://alice:s3/cr?et#@host": "http://***",
    "http://[::1]:5000/#token=s3@cret@x": "http://***",
    "s3://bucket/a?endpoint_override=s3cret@host": "s3://bucket/a?endpoint_override=***",
    "http://s3/cret@host": "http://***@host",
    "http://host/a?token=s3cret&sslmode=require": "http://host/a?token=***&sslmode=require",
    "http://host/?s3cret": "http://host/?***",
    "http://host?host=a:s3cret@b": "http://***",
    "http://host/#s3cret": "http://host/#***",
    "http://host/?a=s3cret#s3cret": "http://host/?a=***#***",
    "s3://KEY:s3/cret@bucket/a?region=eu&secret_key=s3cret": "s3://***@bucket/a?region=eu&secret_key=***",
    "jdbc://host:1433;user=me;password=s3cret": "jdbc://host:1433;user=***;password=***",
    "http://host/a;b/c": "http://host/a;b/c",
    "gs://anonymous@bucket/a": "gs://anonymous@bucket/a",
    "abfs://container@account/a?sas_token=s3cret": "abfs://container@account/a?sas_token=***",
    "file:///home/me@here": "file:///home/me@here",
    "postgresql://me@host/runs?sslmode=require": "postgresql://***@host/runs?sslmode=require",
    "postgresql://host/runs#s3cret": "postgresql://host/runs#***",
    "mysql:///me:s3cret@host": "mysql:///***@host",
    "sqlite:////home/me@here/mlflow.db": "sqlite:////home/me@here/mlflow.db",
    "postgresql+psycopg2://me:s3:cr/et@host/runs": "postgresql+psycopg2://me:***@host/runs",
    "mysql://me:s3%40cret@[::1]:3306/runs?ssl_key=s3cret": "mysql://me:***@[::1]:3306/runs?ssl_key=***",
    "postgresql://host/runs?password=s3cret": "postgresql://host/runs?password=***",
    "mssql+pyodbc:///?odbc_connect=Driver%3DX%3BPWD%3Ds3cret": "mssql+pyodbc:///?odbc_connect=***",
    "postgresql://me:s3@cret@host/runs": "postgresql://***@host/runs",
    "mysql://me:s3cret@host:port/runs": "mysql://***@host:port/runs",
    "sqlite:////a/mlflow.db?mode=ro": "sqlite:////a/mlflow.db?mode=ro",
    "alice:s3cret@host": "***@host",
    "http:/alice:s3cret@host": "http:/***@host",
    "plugin://alice:s3cret@host": "plugin://***@host",
}


@pytest.mark.parametrize("address", SHOWN)
def test_an_address_is_shown_without_its_secrets(address: str) -> None:
    found = read_address(address)
    assert found.shown == SHOWN[address]
    assert "s3" not in found.bare.removeprefix("s3://")
    assert read_address(found.shown).shown == found.shown


@pytest.mark.parametrize(
    ("address", "secrets"),
    [
        ("http://alice:p%40ss@host", {"p%40ss", "p@ss"}),
        ("postgresql://me:p%40ss@host/runs", {"p%40ss", "p@ss"}),
        ("mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D%7Bpw%7D", {"pw", "{pw}"}),
        ("http://alice:p@ss/word@host", {"p@ss/word", "word"}),
        ("s3://bucket/a?region=eu", set()),
        ("postgresql://me@host/runs", set()),  # a name: it may stand on a job's command line
    ],
)
def test_secrets_are_known_as_they_are_written_and_decoded(address: str, secrets: set[str]) -> None:
    found = read_address(address)
    assert secrets <= found.secrets
    assert bool(secrets) == bool(found.secrets)
