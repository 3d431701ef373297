"""Settings of every test: one thread, a cache of its own, no leftovers in the caller's folders."""

import fcntl
import gc
import hashlib
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Read when numpy's libraries are loaded, and so before anything is imported that imports it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and what commands print would be as narrow as the terminal

from tiny import EXPERIMENT, Finished, inline, raysl, write
from waiting import slowness

from raysl import sources
from raysl.outgoing.secrets import forget
from raysl.tracking.uri import UNTRACKED

# A shell has its background jobs ignore the one, nohup the other, and so would the searches that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

MOST_PROCESSES = 4  # each has torch in it, and a search of Ray's at times
PARTS = 3  # of tests that are alike
# The slow tests in the order of what they guard; those that are not named come in between.
FIRST = (
    "test_chaos",
    "test_readme",
    "test_two_drivers",
    "test_sealed",
    "test_object_store",
    "test_full_disk",
    "test_nodes",
    "test_tune",
)
LAST = ("test_projections", "test_benchmarks")
TOGETHER = ("test_paper_tables", "test_from_outside")  # each has a fixture of its module that takes long
OVER = "the time for tests was over"
TOO_SLOW = 2.0  # times as slow as a quiet machine: what holds within seconds there need not hold here


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `.ci/run` gives: its budget, and the part that it runs of tests that are alike."""
    parser.addoption("--until", type=float, help="seconds since 1970: a test that would begin later is not run")
    parser.addoption("--part", type=int, help=f"run one of {PARTS} parts of the tests marked `alike`, by any number")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run tests: a few files are sooner done in this one.

    There is one more than CPUs, because tests also wait: for servers, time limits and processes that start.
    """
    if config.args_source == pytest.Config.ArgsSource.ARGS:
        return 0
    return min((os.cpu_count() or 1) + 1, MOST_PROCESSES)


class TestByTest(LoadScopeScheduling):
    """Gives each process test by test, but the files of TOGETHER at once.

    xdist's own groups do nothing with pytest 9.2: it no longer reads the name that they are written into.
    """

    __test__ = False

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if Path(file).stem in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """Return what shares tests out: `--dist=loadgroup`, as `.ci/run` asks for, is test by test."""
    return TestByTest(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_configure() -> None:
    """Collect no garbage while the tests are imported: all of it stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage again, but not among what the tests have imported."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let all of it go at the end, or libraries would report leaks."""
    gc.unfreeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other parts of tests that are alike, and put the rest into the order of what they are worth."""
    part = config.getoption("--part")
    if part is not None and (others := _of_other_parts(items, part)):
        config.hook.pytest_deselected(items=[item for item in items if item in others])
        items[:] = [item for item in items if item not in others]
    items.sort(key=lambda item: _rank(item.path.stem))


def _of_other_parts(items: list[pytest.Item], part: int) -> set[pytest.Item]:
    """Return the tests marked `alike` that this part leaves out: two of three, in turn within each kind.

    The mark's argument names the kind; without one, the tests of a function are a kind.
    """
    marked = [(mark, item) for item in items if (mark := item.get_closest_marker("alike"))]
    marked.sort(key=lambda one: (*(one[0].args or (one[1].nodeid.partition("[")[0],)), one[1].nodeid))
    return {item for number, (_, item) in enumerate(marked) if (number - part) % PARTS}


def _rank(file: str) -> int:
    if file in FIRST:
        return FIRST.index(file) - len(FIRST)
    return LAST.index(file) + 1 if file in LAST else 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a test out where the budget is used up."""
    until = item.config.getoption("--until")
    if until is not None and time.time() > until:
        pytest.skip(OVER)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that the budget has left out."""
    skipped = terminalreporter.stats.get("skipped", [])
    if left_out := [report.nodeid for report in skipped if OVER in str(report.longrepr)]:
        terminalreporter.section(f"{len(left_out)} tests were not run: {OVER}")
        terminalreporter.write_line("\n".join(left_out))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Let a test that holds within seconds fail only where the machine is as fast as those seconds suppose."""
    report = yield
    if report.failed and item.get_closest_marker("clock") and (times := slowness()) > TOO_SLOW:
        report.outcome, report.wasxfail = "skipped", f"the machine is {times:.1f} x as slow as a quiet one"
    return report


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of decoded images that this session's tests share, subprocesses included."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYSL_CACHE", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", UNTRACKED)  # most searches: MLflow takes a fifth of a tiny one's CPU
        yield folder


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have MLflow track the searches of a test where it tracks those of users: in their results folders."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


@pytest.fixture(autouse=True)
def no_secrets() -> Iterator[None]:
    """No secret of another test, which would be masked in what this one prints."""
    yield
    forget()


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return what edits a module, as if this process had been started afterwards; what the module does is as before.

    Its arguments are the module and what makes another text of its text, which adds a line if it is not given.
    """

    def edited(module: str, change: Callable[[str], str] = "{}\nEDITED = 1\n".format) -> None:
        before = sources._SOURCES[module].decode()
        assert change(before) != before
        monkeypatch.setattr(sources, "_SOURCES", {**sources._SOURCES, module: change(before).encode()})
        forget()

    def forget() -> None:
        for cached in (sources.deciding, sources.libraries, sources._tree, sources._meaning):
            cached.cache_clear()

    forget()
    yield edited
    monkeypatch.undo()
    forget()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Callable[..., Finished]:
    """Return a function that gives a finished search of an experiment, made once for all tests that ask for it.

    Its arguments are the experiment's text and the command's options; `ray=True` has Ray train it, `tracked=True` has
    MLflow track it in its results folder.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # with the other processes of this session

    def search(text: str = EXPERIMENT, *options: object, ray: bool = False, tracked: bool = False) -> Finished:
        key = hashlib.blake2b(repr((text, options, ray, tracked)).encode(), digest_size=8).hexdigest()
        folder = shared / f"finished-{key}"
        folder.mkdir(exist_ok=True)
        file, results, printed = folder / "tiny.yaml", folder / "results", folder / "printed.txt"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not printed.exists():
                write(folder, text)
                where = ("--tracking", f"sqlite:///{results}/mlflow.db") if tracked else ()
                done = (raysl if ray else inline)("tune", file, "--results", results, *where, *options)
                assert done.returncode == 0, done.stdout + done.stderr
                printed.write_text(done.stdout)
        return Finished(file, results, printed.read_text())

    return search
