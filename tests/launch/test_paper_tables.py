"""A paper's tables through the command line: what cells share is trained once, and an interrupted search goes on."""

import json
import shutil
import signal
import statistics
from pathlib import Path

import pyarrow as pa
import pytest
from tiny import ONE_PROCESS, here, inline, start, without_times, write
from waiting import PATIENCE, wait_for

import raysl as package

pytestmark = pytest.mark.slow

BASELINE = """\
name: baseline
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: 16}
seeds: 2
resources: {checkpoint_seconds: 0}
stages:
  supervised:
    method: {name: supervised}
    epochs: 40
    batch_size: 20
    optimizer: {name: adam, lr: {grid: [1e-2, 1e-3]}}
"""
PRETRAINED = """\
name: pretrained
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: 16}
seeds: 2
stages:
  rotation:
    method: {name: rotation}
    epochs: 2
    batch_size: 32
    optimizer: {name: adam, lr: 1e-3}
  finetune:
    method: {name: supervised}
    start_from: rotation
    epochs: 2
    batch_size: 20
    optimizer: {name: adam, lr: 1e-3}
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
      rotation: {title: Rotation, experiment: pretrained.yaml, stage: rotation}
      finetune: {title: Fine-tuned, experiment: pretrained.yaml, stage: finetune}
    published:
      supervised: {clean: [50.0, 1.0], attacked: [40.0, 1.0]}
      rotation: {clean: [30.0, 1.0]}
      finetune: {clean: [60.0, 1.0], attacked: [50.0, 1.0]}
"""


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "baseline.yaml").write_text(BASELINE)
    (folder / "pretrained.yaml").write_text(PRETRAINED)
    return write(folder, TABLE)


@pytest.fixture(scope="module")
def resumed(table_file: Path) -> tuple[Path, str, str]:
    """Interrupt a search of a table's first rows, and give the command for the whole table.

    Returns the results folder, what the interrupted command printed and what the last one did.
    """
    results = table_file.parent / "results"
    driver = start(table_file, results, "--cells", "t1/supervised/*", *ONE_PROCESS)
    wait_for("trial that is done", lambda: list((results / "rows").glob("*.parquet")))
    driver.send_signal(signal.SIGINT)
    interrupted, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130, interrupted
    done = inline("tune", table_file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    return results, interrupted, done.stdout


def test_an_interrupted_table_goes_on(resumed: tuple[Path, str, str]) -> None:
    results, interrupted, printed = resumed
    assert "the same command goes on from here" in interrupted
    assert "taken from" in printed
    trials = package.read(str(results)).trials.to_pylist()
    assert {trial["status"] for trial in trials} == {"finished"}


def test_what_cells_share_is_trained_once(resumed: tuple[Path, str, str]) -> None:
    results, _, _ = resumed
    trials = package.read(str(results)).trials.to_pylist()
    # Supervised clean and attacked, 2 x 2 each; rotation once; fine-tuning clean and attacked, 2 each, from it.
    assert len({trial["trial_id"] for trial in trials}) == len(list((results / "rows").glob("*.parquet"))) == 14
    pretrained = {t["trial_id"] for t in trials if t["stage"] == "rotation"}
    starts = [json.loads(trial["spec"])["start"] for trial in trials if trial["stage"] == "finetune"]
    assert len(starts) == 4
    assert set(starts) == pretrained


def test_each_cell_is_the_mean_of_its_selected_trials(resumed: tuple[Path, str, str], tmp_path: Path) -> None:
    results, _, printed = resumed
    output = tmp_path / "table.arrow"
    assert here("table", results, "--format", "arrow", "--output", output).returncode == 0
    cells = pa.ipc.open_file(output).read_all().to_pylist()
    assert len(cells) == 5
    trials = {t["trial_id"]: t for t in package.read(str(results)).trials.to_pylist()}
    for cell in cells:
        assert [trials[i]["seed"] for i in cell["trial_ids"]] == [0, 1]
        assert all(trials[i]["stage"] == cell["stage"] and trials[i]["selected"] for i in cell["trial_ids"])
        attacked = ["attack" in t for i in cell["trial_ids"] if (t := json.loads(trials[i]["spec"])["data"])["attack"]]
        assert len(attacked) == (2 if cell["column"] == "Attacked" else 0)
        accuracies = [100 * trials[i]["test_accuracy"] for i in cell["trial_ids"]]
        assert cell["mean"] == pytest.approx(statistics.fmean(accuracies))
        assert cell["std"] == pytest.approx(statistics.stdev(accuracies))
        assert f"{cell['mean']:.1f} ± {cell['std']:.1f}" in printed


def test_a_rerun_trains_nothing_and_changes_nothing(resumed: tuple[Path, str, str], table_file: Path) -> None:
    results, _, _ = resumed
    before, record = package.read(str(results)), (results / "tables/example@laptop.json").read_text()
    again = here("tune", table_file, "--results", results, "--cells", "t1/rotation/*")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "starting Ray" not in again.stdout
    assert (results / "tables/example@laptop.json").read_text() == record  # the other cells keep their stages
    assert "missing" not in again.stdout
    after = package.read(str(results))
    for name in ("trials", "configs", "selections"):
        assert without_times(getattr(after, name)) == without_times(getattr(before, name))


def test_a_plan_counts_what_cells_share_once(table_file: Path, tmp_path: Path) -> None:
    done = here("plan", table_file, "--steps", 1, "--results", tmp_path / "none")
    assert done.returncode == 0, done.stderr
    assert "14 trials in all, what experiments share counted once" in done.stdout
    [shared] = [line for line in done.stdout.splitlines() if "rotation" in line and "│" in line][1:]
    assert [cell.strip() for cell in shared.split("│")[2:5]] == ["2", "0", "2"]  # trials, done, shared
    listed = here("tune", table_file, "--dry-run")
    assert "for t1/rotation/clean, t1/finetune/clean" in listed.stdout
    assert listed.stdout.count("shared with one above") == 2


def test_mistakes_are_refused(resumed: tuple[Path, str, str], table_file: Path, tmp_path: Path) -> None:
    results, _, _ = resumed
    experiment = table_file.parent / "baseline.yaml"
    write(tmp_path, TABLE.replace("{laptop: {digits: {}}}", "{laptop: {digits: {}}, none: {}}")).rename(
        tmp_path / "empty.yaml"
    )
    for arguments, words in (
        (("table", results, "--format", "word"), ["--format word", "markdown"]),
        (("table", results, "--format", "arrow"), ["--output"]),
        (("table", results, "--format", "latex", "--output", tmp_path / "no" / "t.tex"), ["--output", "No such file"]),
        (("table", tmp_path), ["no table file was searched here"]),
        (("tune", experiment, "--cells", "t1/*"), ["--cells t1/*", "is an experiment"]),
        (("tune", tmp_path / "empty.yaml", "--profile", "none"), ["no cell is left to search", "not in profile none"]),
        (("train", table_file), ["a table file, and not an experiment"]),
        (("tune", table_file, "--set", "data.labels=5"), ["--set data.labels=5", "at most"]),
    ):
        refused = here(*arguments)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert [word for word in words if word not in refused.stderr] == [], refused.stderr
        assert "Traceback" not in refused.stderr


def test_an_edited_experiment_takes_its_number_out_of_the_table(
    resumed: tuple[Path, str, str], table_file: Path, tmp_path: Path
) -> None:
    """Other cells are searched; nothing new is known of this one, and the old number is not that of its YAML."""
    folder = tmp_path / "edited"
    shutil.copytree(table_file.parent, folder)
    experiment, results = folder / "pretrained.yaml", folder / "results"
    experiment.write_text(PRETRAINED.replace("    epochs: 2\n    batch_size: 20", "    epochs: 3\n    batch_size: 20"))
    done = inline("tune", folder / table_file.name, "--results", results, "--cells", "t1/rotation/*")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((results / "tables/example@laptop.json").read_text())
    assert set(cells["stages"]) == {"t1/supervised/clean", "t1/supervised/attacked", "t1/rotation/clean"}
    assert "missing, not among --cells (2): t1/finetune/clean, t1/finetune/attacked" in done.stdout


def test_a_failed_search_leaves_no_old_number_behind(
    resumed: tuple[Path, str, str], table_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "diverged"
    shutil.copytree(table_file.parent, folder)
    (folder / "pretrained.yaml").write_text(PRETRAINED.replace("lr: 1e-3", "lr: 1e30", 1))
    done = inline("tune", folder / table_file.name, "--results", folder / "results", "--cells", "t1/*t*/*")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "missing, no config is eligible: none of 1 has all its seeds finished (1): t1/rotation/clean" in done.stdout
    why = "missing, nothing could be selected in the stage that it starts from (2)"
    assert f"{why}: t1/finetune/clean, t1/finetune/attacked" in done.stdout
