"""A search whose results folder is on an object store: killed, left alone by its server, and the same in the end."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import descendants
from s3_server import BUCKET, KEY, SECRET, S3Server, s3_server
from tiny import EXPERIMENT, ONE_PROCESS, Finished, raysl, start, tables_of, write
from waiting import PATIENCE, wait_for

import raysl as package
from raysl.results.records.rows import read_rows
from raysl.results.storage.store import Store

pytestmark = pytest.mark.slow

FOLDER = f"s3://{BUCKET}/results"
TRIAL = "ray::TrialProcess"  # the title of a process that trains


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


def rows_of(server: S3Server) -> dict[str, bytes]:
    return server.objects("results/rows/")


def assert_equal(folder: str, reference: Path) -> None:
    """Tables, and what stands behind them, are those of the reference; times aside."""
    assert tables_of(folder) == tables_of(reference)
    rows, expected = (read_rows(Store.open(str(place), create=False)) for place in (folder, reference))
    assert rows.keys() == expected.keys()


def assert_clean(server: S3Server, printed: str) -> None:
    """Nothing half-written is there, and the keys are nowhere."""
    objects = server.objects()
    assert not server.bucket.multiparts
    assert not [key for key in objects if ".tmp" in key or ("/checkpoints/" in key and not key.endswith("/"))]
    for key, content in objects.items():
        assert SECRET.encode() not in content, key
        assert KEY.encode() not in content, key
    assert SECRET not in printed
    assert KEY not in printed
    assert not list(Path(tempfile.gettempdir()).glob("raysl-*.log"))


def test_a_killed_search_goes_on_to_the_same_tables(undisturbed: Finished, server: S3Server, tmp_path: Path) -> None:
    """As with MinIO or R2, with the server and the keys in the environment."""
    file, reference, _ = undisturbed
    driver = start(file, FOLDER, *ONE_PROCESS, cwd=tmp_path)
    wait_for("finished trial", lambda: rows_of(server) or driver.poll() is not None)
    assert driver.poll() is None, driver.communicate()
    children = descendants(driver.pid)
    driver.kill()
    driver.wait()
    trials = [pid for pid, line in children.items() if line.startswith(TRIAL)]
    wait_for("end of the killed search's trials", lambda: not any(Path(f"/proc/{pid}").exists() for pid in trials))
    rows = rows_of(server)
    assert 0 < len(rows) < 6, "the search was over before it was killed"
    again = raysl("tune", file, "--results", FOLDER, *ONE_PROCESS, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{max(0, 4 - len(rows))} to train" in again.stdout
    assert rows.items() <= rows_of(server).items()
    assert_equal(FOLDER, reference)
    shown = raysl("show", FOLDER, "--format", "csv")
    assert shown.returncode == 0, shown.stderr
    config = package.read(str(reference)).selections["config_id"][0].as_py()
    assert config in shown.stdout
    assert_clean(server, again.stdout + again.stderr + shown.stdout + shown.stderr)
    assert all(f"logs/{Path(key).stem}.log" in "\n".join(server.objects()) for key in rows_of(server))


def test_keys_and_server_in_the_address_are_shown_nowhere(
    undisturbed: Finished, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's workers open the folder by the address alone."""
    _, reference, _ = undisturbed
    short = (
        EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-3]").replace("seeds: 2", "seeds: 1")
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    folder = f"s3://{KEY}:{SECRET}@{BUCKET}/results?{server.query}"
    done = raysl("tune", write(tmp_path, short), "--results", folder, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.host not in done.stdout + done.stderr
    assert FOLDER in done.stdout
    shown = raysl("show", folder)
    assert shown.returncode == 0
    assert_clean(server, done.stdout + done.stderr + shown.stdout + shown.stderr)
    [trial] = package.read(folder).trials.to_pylist()
    numbers = {t["trial_id"]: t["final_loss"] for t in package.read(str(reference)).trials.to_pylist()}
    assert trial["final_loss"] == numbers[trial["trial_id"]]


def test_a_server_that_dies_ends_the_search_and_loses_nothing(
    undisturbed: Finished, server: S3Server, tmp_path: Path
) -> None:
    """Its driver makes two attempts of each request, and not five, to end sooner."""
    file, reference, _ = undisturbed
    impatient = "import raysl.results.storage.store as s; s._ATTEMPTS = 2; from raysl.cli import main; main()"
    driver = subprocess.Popen(
        [sys.executable, "-c", impatient, "tune", str(file), "--results", FOLDER, *ONE_PROCESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )
    wait_for("finished trial", lambda: rows_of(server) or driver.poll() is not None)
    assert driver.poll() is None, driver.communicate()
    server.stop()
    printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1, printed
    assert "Could not connect to server" in printed
    assert "the same command goes on from here" in printed
    assert "Traceback" not in printed
    server.start()
    rows = rows_of(server)
    again = raysl("tune", file, "--results", FOLDER, *ONE_PROCESS, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {key: rows_of(server)[key] for key in rows} == rows
    assert_equal(FOLDER, reference)
    assert_clean(server, printed + again.stdout + again.stderr)
