"""What the command line itself says: of mistakes in it, of faults of raysl's, and of itself."""

from pathlib import Path

import pytest
from tiny import here

from raysl.commands import catalogue

SECRET = "http://alice:s3cretpw@host"


@pytest.mark.parametrize(
    "arguments",
    [
        ["tune", "a.yaml", SECRET],
        ["tune", "a.yaml", "--max-hours", SECRET],
        ["tune", "a.yaml", f"--max-concurrent={SECRET}"],
        ["tune", "a.yaml", f"--trakcing={SECRET}"],
        ["tune", SECRET],
        ["show", f"{SECRET}/folder"],
        ["show", "nowhere", "--format", SECRET],
        ["table", f"s3x://alice:s3cretpw@host/{'long/' * 50}"],
        [SECRET],
    ],
)
def test_a_mistaken_argument_is_named_without_its_secret(arguments: list[str]) -> None:
    done = here(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    said = "".join(done.stderr.split())
    assert "s3cretpw" not in said
    assert len(said) > 20


def test_a_fault_of_raysl_s_is_a_traceback_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cretpw")

    def broken(*arguments: object) -> None:
        try:
            raise KeyError("s3cretpw")
        except KeyError as error:
            raise RuntimeError(f"{SECRET} \x1b[31m") from error

    monkeypatch.setattr(catalogue, "methods", broken)
    done = here("methods")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert r"RuntimeError: http://***@host \x1b[31m" in done.stderr
    assert "s3cretpw" not in done.stderr.replace('raise KeyError("s3cretpw")', "")
    assert "\x1b" not in done.stderr


def test_help_is_plain_text(tmp_path: Path) -> None:
    done = here("tune", "--help")
    assert done.returncode == 0
    assert "--max-concurrent" in done.stdout
    assert done.stdout.isascii()
