"""The wheel, installed in an environment of its own, away from the checkout."""

import json
import os
import re
import signal
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(os.environ.get("UV_OFFLINE")), reason="packages cannot be installed"),
]

SEARCH = ["--backend", "inline", "--results", "results", "--set", "seeds=2", "--set", "stages.semi.epochs=1"]
USED = """
import raysl, torch
model = raysl.load_model("results")
print(raysl.__file__)
print(tuple(model(torch.zeros(2, 1, 8, 8)).shape), raysl.read("results").trials.num_rows)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return an empty folder; the environment is in `env` beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    constraints = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    (folder / "constraints.txt").write_text("\n".join(constraints))
    run(folder, "uv", "build", "--wheel", "--quiet", "--out-dir", folder / "dist", ROOT)
    run(folder, "uv", "venv", "--quiet", "--python", "3.11", folder / "env")
    [wheel] = (folder / "dist").glob("*.whl")
    python = folder / "env" / "bin" / "python"
    run(folder, "uv", "pip", "install", "--quiet", "--python", python, "-c", folder / "constraints.txt", wheel)
    work = folder / "work"
    work.mkdir()
    return work


def run(folder: Path, *command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    ended = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def serve(folder: Path, raysl: Path) -> None:
    """Start `raysl ui`, open the page that it links to, and end it as Ctrl-C does."""
    command = [str(raysl), "ui", "results", "--no-browser"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = next(found[0] for line in server.stdout if (found := re.search(r"http://127\S+", line)))
        assert urllib.request.urlopen(url).status == 200
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0


def test_all_of_it_works_away_from_the_checkout(installed: Path) -> None:
    raysl = installed.parent / "env" / "bin" / "raysl"
    names = [one["name"] for one in json.loads(run(installed, raysl, "experiments", "--format", "json"))]
    assert {"rotation_semi", "tables/trimix_table1"} <= set(names)
    run(installed, raysl, "tune", "rotation_semi", *SEARCH)
    assert "rotation_semi: semi, small_resnet" in run(installed, raysl, "show", "results")
    run(installed, raysl, "report", "results")
    assert "<html" in (installed / "report.html").read_text()[:200]
    assert "semi" in run(installed, raysl, "models", "results")
    serve(installed, raysl)
    run(installed, raysl, "plan", "tables/sidae_figure4", "--cells", "*/sidae/w0", "--steps", "1")
    run(installed, raysl, "new", "rotation_semi")
    run(installed, raysl, "tune", "rotation_semi.yaml", "--dry-run")
    schema = (installed / "rotation_semi.yaml").read_text().partition("\n")[0].partition("$schema=file://")[2]
    assert "definitions" in json.loads(Path(unquote(schema)).read_text())
    run(installed, raysl, "cluster-files", "cluster")
    assert (installed / "cluster" / "README.md").is_file()
    where, shape = run(installed, installed.parent / "env" / "bin" / "python", "-c", USED).splitlines()
    assert where.startswith(str(installed.parent / "env"))
    assert shape.endswith(" 6")
