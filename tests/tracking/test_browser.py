"""MLflow's pages as a user sees them in a browser: the views that `raysl ui` links to, of three kinds of searches.

The form of the views is MLflow's own and undocumented; this notices when another version reads them otherwise.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chromium import PROGRAM, Page, chromium
from clusters import free_port
from tiny import EXPERIMENT, command, inline, write
from waiting import PATIENCE

import raysl
from raysl.tracking.intervals import interval_text

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")]

OF_GENAI = {
    "GenAI", "Traces", "MLflow Assistant", "Overview", "Sessions", "Judges", "Prompts", "Evaluation runs",
    "Agent versions",
}  # fmt: skip
PROPOSED = """\
name: proposed
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: 16}
seeds: 2
stages:
  semi:
    method: {name: semi, pretext: {name: rotation}, lambda_u: {uniform: [0.1, 2.0]}}
    epochs: 2
    batch_size: 32
    optimizer: {name: adam, lr: {loguniform: [1e-4, 1e-2]}}
    select: probe_accuracy
    search: {algorithm: optuna, num_configs: 5}
"""
BASELINE = """\
name: baseline
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: 16}
seeds: 2
stages:
  supervised:
    method: {name: supervised}
    epochs: 2
    batch_size: 20
    optimizer: {name: adam, lr: {grid: [1e-2, 1e-3]}}
"""
TABLE = """\
name: example
source: Somebody 2020
profiles: {laptop: {digits: {}}}
tables:
  t1:
    title: A table
    data: digits
    columns:
      clean: {title: Clean}
      attacked: {title: Attacked, set: {data.attack: {name: one_pixel}}}
    rows:
      supervised: {title: Supervised, experiment: baseline.yaml, stage: supervised}
    published:
      supervised: {clean: [50.0, 1.0], attacked: [40.0, 1.0]}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@contextmanager
def links_to(results: Path) -> Iterator[list[str]]:
    """Yield the lines with links that `raysl ui` prints, while it serves."""
    process = subprocess.Popen(
        command("ui", results, "--port", free_port(), "--no-browser"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed: list[str] = []
    for line in process.stdout:
        printed.append(line.strip())
        if line.startswith("Ctrl-C"):
            break
    try:
        yield [line for line in printed if "http" in line]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)


def searched(folder: Path, text: str) -> Path:
    """Run a search in this process; return its results folder."""
    done = inline("tune", write(folder, text), "--results", folder / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results"


def see(page: Page, line: str, *words: str, charts: int = 6, curves: int = 0) -> set[str]:
    """Open the link of a line, wait until its runs, charts and curves are there; return the lines of its text."""
    page.open(line.rpartition(": ")[2], height=3000)
    drawn = "document.querySelectorAll('.main-svg .barlayer, .main-svg .scatterlayer').length"
    traces = "document.querySelectorAll('.scatterlayer .trace').length"

    def is_there(text: str) -> bool:
        lines = set(text.split("\n"))
        if "viewing a shared view" not in text or not lines.issuperset(words):
            return False
        return bool(page.evaluate(drawn) >= charts and page.evaluate(traces) >= curves)

    page.wait(f"view with {words}", is_there)
    if folder := os.environ.get("RAYSL_SCREENSHOTS"):
        page.screenshot(Path(folder) / f"{line.partition(': http')[0].replace(' ', '_').replace(':', '')}.png")
    lines = set(page.text().split("\n"))
    assert not OF_GENAI & lines
    return lines


def shown(config: dict[str, Any], *columns: str) -> set[str]:
    """Return values of a config as bars show them."""
    return {f"{config[column]:.2f}" for column in columns if config[column] is not None}


STATISTICS = ("final_loss_mean", "final_loss_std", "probe_accuracy_mean", "probe_accuracy_std", "test_accuracy_mean")


def test_a_grid_search(page: Page, tmp_path: Path) -> None:
    results = searched(tmp_path, EXPERIMENT)
    configs = raysl.read(str(results)).configs.to_pylist()
    with links_to(results) as links:
        assert links[0].startswith("tiny: semi, 2 configs: ")
        lines = see(page, links[0], "lr=0.01", "lr=0.001", "2 matching runs", curves=2 + 2 * 3)
        for config in configs[:2]:
            assert shown(config, *STATISTICS) <= lines
        assert "semi" not in lines, "the stage's run stands beside its configs"
        lines = see(page, links[1], "Group: semi", "Group: finetune", "2 matching runs")
        [selected] = [config for config in configs if config["stage"] == "semi" and config["selected"]]
        assert shown(selected, *STATISTICS) <= lines
        table = links[0].rpartition(": ")[2].replace("&compareRunsMode=CHART", "")
        page.open(table, width=2400)
        intervals = {interval_text(config, "final_loss") for config in configs[:2]}
        page.wait("intervals beside the means", lambda text: intervals <= set(text.split("\n")))
        trials = links[0].replace("-configs&", "-trials&").replace("configs:", "trials:")
        see(page, trials, "Group: lr=0.01", "Group: lr=0.001", "lr=0.01 seed=0", "lr=0.01 seed=1", "4 matching runs")


def test_an_adaptive_search(page: Page, tmp_path: Path) -> None:
    results = searched(tmp_path, PROPOSED)
    configs = raysl.read(str(results)).configs.to_pylist()
    with links_to(results) as links:
        names = [line.partition(": http")[0] for line in links]
        assert names == ["proposed: semi, 5 configs", "proposed: semi, search"]
        lines = see(page, links[0], "5 matching runs", curves=5 + 5 * 3)
        names = [line for line in lines if "lambda_u=" in line and "(" not in line]
        assert len(names) == 5
        for config in configs:
            assert f"lr={config['params.optimizer.lr']:.6g}" in " ".join(names)
            assert shown(config, *STATISTICS) <= lines
        # The axes are drawn seconds after the page.
        see(page, links[1], "Parallel Coordinates", "5 matching runs", "method.lambda_u", "optimizer.lr")


def test_the_table_of_a_paper(page: Page, tmp_path: Path) -> None:
    (tmp_path / "baseline.yaml").write_text(BASELINE)
    results = searched(tmp_path, TABLE)
    configs = raysl.read(str(results)).configs.to_pylist()
    with links_to(results) as links:
        selected = next(line for line in links if "selected configs" in line)
        groups = "Group: supervised", "Group: supervised training-only one_pixel white"
        lines = see(page, selected, *groups, "2 matching runs", curves=2 + 2 * 3)
        for config in configs:
            if config["selected"]:
                assert shown(config, *STATISTICS) <= lines
