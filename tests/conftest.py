"""Settings of every test: one thread, a cache of its own, no leftovers in the caller's folders."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny import EXPERIMENT, Finished, inline, raysl, write

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell has its background jobs ignore it, and so would the searches that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of decoded images that this session's tests share, subprocesses included."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYSL_CACHE", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Callable[..., Finished]:
    """Return a function that gives a finished search of an experiment, made once for all tests that ask for it.

    Its arguments are the experiment's text and the command's options; `ray=True` has Ray train it.
    """
    known: dict[tuple[object, ...], Finished] = {}

    def search(text: str = EXPERIMENT, *options: object, ray: bool = False) -> Finished:
        key = (text, options, ray)
        if key not in known:
            folder = tmp_path_factory.mktemp("finished")
            file, results = write(folder, text), folder / "results"
            done = (raysl if ray else inline)("tune", file, "--results", results, *options)
            assert done.returncode == 0, done.stdout + done.stderr
            known[key] = Finished(file, results, done.stdout)
        return known[key]

    return search
