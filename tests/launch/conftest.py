"""A finished search to hold others against."""

from pathlib import Path

import pytest
from tiny import raysl, write


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tiny experiment's YAML, and the local results folder of its search; not to be changed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    file, results = write(folder), folder / "results"
    done = raysl("tune", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    return file, results
