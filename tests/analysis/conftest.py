"""One search whose trials are all scored, and copies of its folder to be changed by the tests."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import raysl, write

from analysis.command import Arguments, execute
from raysl.results.store import Store
from raysl.results.tables import publish
from raysl.search.summary import summarise_store

Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, Path]:
    """A finished search with `--score all`: its YAML, and its results folder, which no test changes."""
    folder = tmp_path_factory.mktemp("searched")
    file, results = write(folder), folder / "results"
    done = raysl("tune", file, "--results", results, "--score", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    return file, results


@pytest.fixture
def results(searched: tuple[Path, Path]) -> str:
    return str(searched[1])


@pytest.fixture
def changed(searched: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the results folder."""
    return Path(shutil.copytree(searched[1], tmp_path / "changed"))


@pytest.fixture
def republish() -> Callable[[Path], None]:
    """Make a folder's tables anew from its rows, scores and records."""

    def made_anew(folder: Path) -> None:
        store = Store.open(str(folder), create=False)
        publish(store, summarise_store(store))

    return made_anew


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a report as its user does, into tmp_path / "out"; return what it printed."""

    def ran(main: Callable[[Arguments], None], *arguments: Any) -> tuple[str, str]:
        execute(main, [*map(str, arguments), "--out", str(tmp_path / "out")])
        printed = capsys.readouterr()
        return printed.out, printed.err

    return ran


@pytest.fixture
def fails(run: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a report that a mistake stops; return its message."""

    def failed(main: Callable[[Arguments], None], *arguments: Any) -> str:
        with pytest.raises(SystemExit) as ended:
            run(main, *arguments)
        printed = capsys.readouterr()
        assert ended.value.code == 2
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1, printed.err
        return printed.err

    return failed
