"""`raysl tune --address http://...`: what is refused on the user's own machine, and what goes along."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from rich.console import Console
from tiny import write

from raysl.api.search_request import read_request
from raysl.cli import main
from raysl.cli.searching import _given
from raysl.commands.public import check_public
from raysl.commands.submit import _copied, _experiment_files, _own_sets

ROOT = Path(__file__).parents[2]
ADDRESS = ("--address", "http://127.0.0.1:1")
BUCKET = ("--results", "s3://bucket/tiny")


def fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["raysl", "tune", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2, printed.out + printed.err
    return printed.err


REFUSED = {
    "no results": ([], ["--results", "is not given", "s3://"]),
    "results on this machine": (["--results", "results/tiny"], ["--results results/tiny", "file:///"]),
    "keys in the results": (["--results", "s3://me:secret@bucket/tiny"], ["--results", "keys"]),
    "tracking on this machine": ([*BUCKET, "--tracking", "sqlite:///a.db"], ["--tracking", "this machine"]),
    "password in tracking": ([*BUCKET, "--tracking", "https://me:secret@host"], ["MLFLOW_TRACKING_PASSWORD"]),
    "a token in tracking": ([*BUCKET, "--tracking", "https://secret-token@host"], ["MLFLOW_TRACKING_PASSWORD"]),
    "a parameter in tracking": (
        [*BUCKET, "--tracking", "https://host/?token=secret"],
        ["tracking URI", "MLFLOW_TRACKING_TOKEN"],
    ),
    "a password of a database": (
        [*BUCKET, "--tracking", "mssql+pyodbc:///?odbc_connect=PWD%3Dsecret"],
        ["--tracking mssql+pyodbc:///?odbc_connect=***", "to see"],
    ),
    "a parameter of a database": (
        [*BUCKET, "--tracking", "postgresql://me@host/runs?sslmode=require&sslpassword=secret"],
        ["sslmode=require&sslpassword=***", "to see"],
    ),
    "keys in the results' parameters": (
        ["--results", "s3://bucket/tiny?access_key=me&secret_key=secret"],
        ["--results s3://bucket/tiny?access_key=***&", "to see"],
    ),
    "a secret in an override": (
        [*BUCKET, "--set", "name=http://me:secret@host"],
        ["--set name=http://***@host", "to see"],
    ),
    "a mistake in the experiment": ([*BUCKET, "--set", "data.labls=9"], ["did you mean 'labels'?"]),
    "a mistake in the options": ([*BUCKET, "--score", "every"], ["--score every"]),
    "data that are not there": ([*BUCKET, "--set", "data.source=parquet:/nowhere.parquet"], ["/nowhere.parquet"]),
    "labels that are not there": ([*BUCKET, "--set", "data.labels=1298"], ["data.labels", "1297"]),
    "nobody there": ([*BUCKET], ["http://127.0.0.1:1", "no Ray cluster answers"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_be_refused_here_is(
    case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments, expected = REFUSED[case]
    printed = fails(capsys, monkeypatch, write(tmp_path), *ADDRESS, *arguments)
    for text in expected:
        assert text in printed
    assert "secret" not in printed.replace("this holds a secret", "")


def test_a_secret_that_this_process_knows_is_no_option_of_a_job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
    printed = fails(capsys, monkeypatch, write(tmp_path), *ADDRESS, *BUCKET, "--set", "data.source=secret%2Dtoken")
    assert "to see" in printed
    assert "secret" not in printed.replace("a secret", "")


@pytest.mark.parametrize("option", ["--tracking", "--results"])
def test_a_node_of_a_cluster_is_given_no_secret_on_its_command_line_either(
    option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray shows the whole cluster the command lines of its drivers."""
    given = {"--tracking": "http://alice:s3cretpw@host", "--results": "s3://KEY:s3cretpw@bucket/a"}[option]
    printed = fails(capsys, monkeypatch, write(tmp_path), "--address", "127.0.0.1:1", option, given)
    assert "to see" in printed
    assert "s3cretpw" not in printed


def test_a_database_s_user_may_be_an_option_of_a_job() -> None:
    check_public(["--tracking=postgresql://me@host/runs?sslmode=require", "--results=abfs://container@account/a"])
    check_public(["--results=file:///shared/me@here/results", "--set=name=a@b", "--tracking=http://host:5000"])


def test_the_ray_client_is_refused_with_what_to_give_instead(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "http://head:8265" in fails(capsys, monkeypatch, write(tmp_path), "--address", "ray://head:10001")
    assert not (Path("results") / "tiny").exists()


def test_the_options_of_a_command_line_are_those_that_the_head_is_given() -> None:
    app = typer.Typer()
    found: list[str] = []

    @app.command()
    def tune(
        context: typer.Context,
        file: str,
        overrides: Annotated[list[str] | None, typer.Option("--set")] = None,
        max_hours: float | None = None,
        seeds: int = 0,
        dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
        all_scores: Annotated[bool, typer.Option("--all-scores")] = False,
        address: str | None = None,
    ) -> None:
        found.extend(_given(context, {"file", "address"}))

    app(
        ["a.yaml", "--set", "a=-1", "--set", "b={c: 'd e'}", "--max-hours", "1.5", "--all-scores", "--address", "x"],
        standalone_mode=False,
    )
    assert found == ["--set=a=-1", "--set=b={c: 'd e'}", "--max-hours=1.5", "--seeds=0", "--all-scores"]


def test_a_table_file_brings_its_experiments_along(tmp_path: Path) -> None:
    file = ROOT / "search_spaces" / "tables" / "cavallari2022_table1.yaml"
    wanted = read_request(file, "laptop", (), ())
    paths = _copied([file, *_experiment_files(file, wanted)], str(tmp_path))
    copied = tmp_path / paths[file]
    assert copied.read_bytes() == file.read_bytes()
    again = read_request(copied, "laptop", (), ())
    assert again.tables is not None
    assert again.tables == wanted.tables


def test_own_images_go_along_and_known_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from raysl.data.registry.sets import locate

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.parquet").write_bytes(locate("digits").read_bytes())
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAYSL_DATA", raising=False)
    stage = "stages.finetune.data={source: stl10, channels: 1, labels: all, draw: uniform}"
    console = Console(force_terminal=False)
    for source, expected in {"digits": {}, "parquet:mine.parquet": f"parquet:{tmp_path}/mine.parquet"}.items():
        overrides = [f"data.source={source}", stage, "stages.finetune.freeze=backbone"]
        own = _own_sets(read_request(write(tmp_path), None, overrides, ()), console)
        assert {name: carried.source for name, carried in own.items()} == ({source: expected} if expected else {})
        assert all(len(carried.digest) == 32 for carried in own.values())
        assert "stl10: not on this machine" in capsys.readouterr().out
    assert not list((tmp_path / "cache").rglob("stl10*"))


def test_nothing_is_sent_where_nobody_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from raysl.data.registry.sets import locate

    mine = tmp_path / "mine.parquet"
    mine.write_bytes(locate("digits").read_bytes())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        at = f"http://127.0.0.1:{taken.getsockname()[1]}"
        results, source = f"file://{tmp_path}/results", f"data.source=parquet:{mine}"
        fails(capsys, monkeypatch, write(tmp_path), "--address", at, "--results", results, "--set", source)
    assert not os.path.exists(tmp_path / "results")
