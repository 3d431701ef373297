"""What ends a search from outside: a message and an exit code at once, and nothing left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from clusters import descendants
from tiny import EXPERIMENT, start, write
from waiting import PATIENCE, wait_for

from raysl.launch import signals
from raysl.launch.signals import Ended, raised, undisturbed

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "ended by SIGHUP"}


@pytest.mark.parametrize("number", CODES)
def test_a_signal_is_raised_once_and_its_handler_is_as_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Ended) as ended, raised():
        signal.raise_signal(number)
    assert (ended.value.exit_code, str(ended.value)) == (CODES[number], WORDS[number])
    assert signal.getsignal(number) is before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_is_lost_is_raised_again() -> None:
    class Lost:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with raised():
        signals.check()
        Lost()
        with pytest.raises(Ended) as again:
            signals.check()
        assert again.value.number == signal.SIGTERM
    with raised():
        signals.check()


def test_what_the_caller_ignores_stays_ignored() -> None:
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raised():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_cleans_up_is_not_disturbed() -> None:
    done = []

    def clean_up() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            done.append("cleaned up")
        done.append("went on")

    with pytest.raises(Ended), raised():
        clean_up()
    assert done == ["cleaned up"]


def test_a_program_of_others_is_not_ended_and_its_own_handler_is_called() -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
    try:
        with undisturbed():
            for _ in range(signals.INSISTENT):
                signal.raise_signal(signal.SIGINT)
            assert told == []
        assert told == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_ends_already_goes_on_to_end_as_it_did() -> None:

    def end() -> None:
        try:
            raise ZeroDivisionError
        finally:
            with undisturbed():
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(ZeroDivisionError), raised():
        end()


def test_the_third_one_ends_what_hangs() -> None:
    code = (
        "import os, signal, time\n"
        "from raysl.launch.signals import raised, undisturbed\n"
        "with raised(), undisturbed():\n"
        "    for _ in range(3): os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(600)\n"
    )
    assert signals.INSISTENT == 3
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE).returncode == 130


@pytest.mark.alike
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "moment"),
    [
        ((signal.SIGTERM,), "starting Ray"),
        ((signal.SIGINT, signal.SIGINT), "starting Ray"),
        ((signal.SIGTERM,), "training"),
        ((signal.SIGHUP,), "training"),
    ],
)
def test_a_search_ends_with_a_message_and_leaves_nothing(
    tmp_path: Path, sent: tuple[signal.Signals, ...], moment: str
) -> None:
    file, results = write(tmp_path, EXPERIMENT.replace("epochs: 4", "epochs: 400")), tmp_path / "results"
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as temporary:  # short, for Ray's sockets
        environment = {**os.environ, "TMPDIR": temporary}
        driver = start(file, results, "--tracking", f"sqlite:///{tmp_path}/mlflow.db", env=environment)
        if moment == "training":
            wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")), driver)
        else:
            wait_for("Ray", lambda: list(Path(temporary).glob("raysl-*/r/session_*")), driver)
        children = descendants(driver.pid)
        for number in sent:
            driver.send_signal(number)
            time.sleep(0.5)
        printed, _ = driver.communicate(timeout=PATIENCE)
        assert driver.returncode == CODES[sent[0]], printed
        assert f"{WORDS[sent[0]]}: finished trials are kept; the same command goes on from here" in printed
        assert "Traceback" not in printed
        wait_for("end of its processes", lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
        # torch's own cache stays, for whoever comes next.
        assert [path for path in Path(temporary).iterdir() if not path.name.startswith("torchinductor")] == []
    assert [path for folder in ("claims", "drivers") for path in (results / folder).iterdir()] == []
