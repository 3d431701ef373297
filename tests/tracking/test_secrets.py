"""Forms of secrets x ways in which a tracking server fails: nothing of a secret is shown or written."""

import logging
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hostile_server import BEHAVIOURS, hostile_server
from tiny import EXPERIMENT, inline, write

from raysl.errors import UserError
from raysl.tracking import Tracker, TrackingError, sync

FOLDER = "f01dacc0"
SECRET = "s3cret/p@ss wörd"
# Of each form: the address, and the environment.  `quoted`: the secret as it is written in an address.
FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "password": ("http://alice:{quoted}@{place}", {}),
    "token as the user": ("http://{quoted}@{place}", {}),
    "password of the environment": (
        "http://{place}",
        {"MLFLOW_TRACKING_USERNAME": "alice", "MLFLOW_TRACKING_PASSWORD": SECRET},
    ),
    "token of the environment": ("http://{place}", {"MLFLOW_TRACKING_TOKEN": "s3cret-p%ss=w0rd"}),
    "password that is not quoted": ("http://alice:{plain}@{place}", {}),
    "parameter": ("http://{place}/?access_token={quoted}", {}),
    "fragment": ("http://{place}/#{quoted}", {}),
    "database": ("postgresql://alice:{quoted}@{place}/runs", {}),
}  # fmt: skip
REFUSED = {"password that is not quoted", "parameter", "fragment"}


def parts_of(secret: str) -> list[str]:
    """Return what must not be seen of a secret: all of it, and all that could be told of it."""
    encoded = [b64encode(text.encode()).decode().rstrip("=")[:-1] for text in (f"alice:{secret}", f"{secret}:")]
    return [
        secret,
        quote(secret),
        quote(secret, safe=""),
        "s3cret",
        "w0rd",
        quote("wörd"),
        "ss wörd",
        "3cret",
        *encoded,
    ]


def assert_unseen(text: str) -> None:
    for part in parts_of(SECRET):
        assert part not in text, f"{part!r} in {text!r}"
    assert "\x1b" not in text


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_no_failing_server_has_a_secret_shown(
    behaviour: str,
    search: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1" if behaviour == "429" else "0")
    caplog.set_level(logging.DEBUG)
    search.end_all()
    reasons: dict[str, str] = {}
    for form, (address, environment) in FORMS.items():
        with hostile_server(behaviour) as server, monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            place = f"127.0.0.1:{server.server_port}"
            uri = address.format(place=place, quoted=quote(SECRET, safe=""), plain=SECRET.replace(" ", ""))
            try:
                tracker = Tracker(uri, search.tables, FOLDER)
            except UserError as error:
                assert form in REFUSED
                reasons[form] = str(error)
                continue
            status = tracker.close(timeout=20)
            assert not status.tracked
            reasons[form] = f"{status} {status!r} {tracker.warning}"
            assert len(server.requests) > 0 or form == "database"
    assert set(reasons) == set(FORMS)
    for form, reason in reasons.items():
        assert_unseen(reason)
        assert form in REFUSED or "127.0.0.1" in reason
    assert_unseen("".join(capfd.readouterr()) + caplog.text)


@pytest.mark.parametrize("behaviour", ["500", "garbage"])
def test_the_error_of_a_sync_says_no_secret_where_its_traceback_is_printed(behaviour: str, search: Any) -> None:
    import traceback

    search.end_all()
    with hostile_server(behaviour) as server:
        with pytest.raises(TrackingError) as caught:
            sync(search.tables(), f"http://alice:{quote(SECRET, safe='')}@127.0.0.1:{server.server_port}", FOLDER)
        assert server.requests
    assert_unseen("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize("form", ["password", "password of the environment"])
def test_a_whole_search_shows_and_writes_no_secret(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, environment = FORMS[form]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    short = (
        EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-3]").replace("seeds: 2", "seeds: 1")
    )
    with hostile_server("500") as server:
        place = f"127.0.0.1:{server.server_port}"
        uri = address.format(place=place, quoted=quote(SECRET, safe=""))
        done = inline("tune", write(tmp_path, short), "--results", tmp_path / "results", "--tracking", uri)
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.requests
    assert "not tracked in http://" in done.stdout
    assert_unseen(done.stdout + done.stderr)
    files = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not any(part.encode() in content for part in parts_of(SECRET)), path


def test_a_password_stays_supported(search: Any) -> None:
    """It is what the server is sent, though nobody else sees it."""
    search.end_all()
    with hostile_server("500") as server:
        tracker = Tracker(f"http://alice:p%40ss@127.0.0.1:{server.server_port}", search.tables, FOLDER)
        tracker.close(timeout=20)
    assert server.requests[0] == f"Basic {b64encode(b'alice:p@ss').decode()}"
    assert threading.active_count() < 50
