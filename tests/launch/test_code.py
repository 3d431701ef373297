"""Which code trains: that of the search's own process and no other, and what rows of other code come to."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from clusters import descendants
from tiny import EXPERIMENT, ONE_PROCESS, Finished, here, inline, start, tables_of, write
from waiting import PATIENCE, wait_for

import raysl as package
from raysl import sources
from raysl.errors import LibrariesError
from raysl.launch.runtime.task_runner import do_task
from raysl.launch.runtime.tasks import ScoreTask, Task, TrainTask
from raysl.launch.runtime.trial_log import last_error
from raysl.results.records.rows import read_rows, read_scores, write_row
from raysl.results.storage.store import Store
from raysl.search.experiment import Resources
from raysl.sources import deciding, libraries

Edit = Callable[[str], None]
SUPERVISED, SEMI, LOOP = "raysl.methods.supervised", "raysl.methods.semi", "raysl.training.loop"
TRIAL = "ray::TrialProcess"  # in the titles of processes
AGAIN = "`--retrain code` trains them again"


@pytest.fixture
def searched(undisturbed: Finished, tmp_path: Path) -> Path:
    """A copy of a finished search."""
    return Path(shutil.copytree(undisturbed.results, tmp_path / "results"))


def trained(results: Path) -> int:
    """Return how many trials the logs say that have begun."""
    return sum(path.read_text().count(" begins on ") for path in (results / "logs").glob("*.log"))


def test_rows_and_scores_say_which_code_they_are_of(undisturbed: Finished) -> None:
    store = Store.open(str(undisturbed.results), create=False)
    rows, scores = read_rows(store), read_scores(store)
    codes = {row.method: row.code for row in rows.values()}
    assert {row.code for row in rows.values()} == set(codes.values())
    assert len(set(codes.values())) == 2
    assert all(scores[name].code == rows[name].code for name in scores)
    files = {method: deciding((method, "rotation") if method == "semi" else (method,)) for method in codes}
    assert codes["semi"] == sources.code_digest(files["semi"], None)
    assert codes["supervised"] == sources.code_digest(files["supervised"], codes["semi"])
    assert package.read(str(undisturbed.results)).trials["code"].null_count == 0


@pytest.mark.parametrize(
    ("module", "first", "second"), [(SUPERVISED, 4, 2), (SEMI, 4, 0), (LOOP, 4, 2)], ids=["supervised", "semi", "loop"]
)
def test_an_edited_file_is_noticed_and_changes_nothing_unasked(
    undisturbed: Finished, searched: Path, edit: Edit, module: str, first: int, second: int
) -> None:
    edit(module)
    done = inline("tune", undisturbed.file, "--results", searched)
    assert done.returncode == 0, done.stdout + done.stderr
    file = f"{module.replace('.', '/')}.py"
    told = [line for line in done.stdout.splitlines() if AGAIN in line]
    stages = [f"{first} of 4 trials were trained with other code: {file}; {AGAIN}"]
    stages += [f"{second} of 2 trials were trained with other code: {file}; {AGAIN}"] * bool(second)
    assert told == stages
    assert tables_of(searched) == tables_of(undisturbed.results)
    shown = here("show", searched).stdout
    assert (
        f"{first + second} of 6 trials were trained with other code: {file}; `raysl tune FILE --retrain code`" in shown
    )


def test_nothing_is_said_where_nothing_was_edited(undisturbed: Finished, searched: Path, edit: Edit) -> None:
    edit("raysl.methods.byol")
    done = inline("tune", undisturbed.file, "--results", searched, "--retrain", "code")
    assert "code" not in done.stdout
    assert "0 to train" in done.stdout
    assert "code" not in here("show", searched).stdout


@pytest.mark.slow
def test_they_are_trained_again_beside_the_old_ones(undisturbed: Finished, searched: Path, edit: Edit) -> None:
    """What starts from one that is trained again is trained again as well, though its own files are as they were."""
    before = {path.name: path.read_bytes() for path in (searched / "rows").iterdir()}
    begun = trained(searched)
    edit(SEMI)
    done = inline("tune", undisturbed.file, "--results", searched, "--retrain", "code")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("they are trained again") == 2
    assert trained(searched) - begun == 6
    kept = {path.name.split(".")[0] + ".parquet": path.read_bytes() for path in (searched / "replaced/rows").iterdir()}
    assert kept == before
    assert len(list((searched / "replaced/scores").iterdir())) == 4
    own, wanted = tables_of(searched), tables_of(undisturbed.results)
    for table in (own, wanted):
        for row in table["trials"]:
            del row["code"]
    assert own == wanted, "what was edited changes no number"
    again = inline("tune", undisturbed.file, "--results", searched)
    assert "code" not in again.stdout
    assert "0 to train" in again.stdout


def test_rows_of_an_earlier_version_are_of_code_that_is_not_known(undisturbed: Finished, searched: Path) -> None:
    store = Store.open(str(searched), create=False)
    for row in read_rows(store).values():
        write_row(store, replace(row, code=None))
    done = inline("tune", undisturbed.file, "--results", searched)
    assert f"4 of 4 trials were trained with other code: code that was not recorded; {AGAIN}" in done.stdout
    assert done.returncode == 0


@pytest.mark.slow
def test_a_checkpoint_of_other_code_is_not_gone_on_from(undisturbed: Finished, tmp_path: Path, edit: Edit) -> None:
    results = tmp_path / "results"
    driver = start(undisturbed.file, results, "--backend", "inline", "--set", "stages.semi.epochs=1000")
    wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")), driver)
    driver.kill()
    driver.communicate()
    [checkpoint] = (results / "checkpoints").glob("*.pt")
    edit(LOOP)
    again = inline(
        "tune", undisturbed.file, "--results", results, "--set", "stages.semi.epochs=1000", "--max-hours", 32 / 3600
    )
    assert again.returncode == 3, again.stdout + again.stderr
    log = (results / "logs" / f"{checkpoint.stem}.log").read_text()
    assert "starts again: " in log
    assert "written by other code" in log
    assert "goes on after" not in log


@pytest.mark.slow
def test_a_model_that_is_gone_is_not_made_anew_by_other_code(undisturbed: Finished, searched: Path, edit: Edit) -> None:
    trials = package.read(str(searched)).trials.to_pylist()
    selected = next(t["trial_id"] for t in trials if t["stage"] == "semi" and t["selected"])
    model = searched / "models" / f"{selected}.safetensors"
    model.unlink()
    edit(SEMI)
    done = inline("tune", undisturbed.file, "--results", searched)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{model}: gone, and 1 of 1 trials were trained with other code: raysl/methods/semi.py" in done.stderr
    assert "--retrain code" in done.stderr
    assert not model.exists()
    assert inline("tune", undisturbed.file, "--results", searched, "--retrain", "code").returncode == 0


def test_a_single_trial_says_so_too(undisturbed: Finished, searched: Path, edit: Edit) -> None:
    command = ("train", undisturbed.file, "--stage", "finetune", "--results", searched)
    before = here(*command)
    assert before.returncode == 0, before.stderr
    assert "code" not in before.stdout
    edit(SEMI)
    told = here(*command)
    assert told.returncode == 0, told.stderr
    assert "1 of 2 trials were trained with other code: raysl/methods/semi.py; " in told.stdout
    edit(SUPERVISED)
    trials = package.read(str(searched)).trials.to_pylist()
    [row] = [trial for trial in trials if trial["stage"] == "finetune" and trial["seed"] == 0]
    (searched / "models" / f"{row['trial_id']}.safetensors").unlink()
    refused = here(*command)
    assert refused.returncode == 2
    assert f"{row['trial_id']}.safetensors: gone, and it was trained with other code" in refused.stderr


def test_another_word_for_what_to_train_again_is_refused(tmp_path: Path) -> None:
    refused = here("tune", write(tmp_path), "--results", tmp_path / "r", "--retrain", "cod")
    assert refused.returncode == 2
    assert "--retrain cod: did you mean 'code'? choices: code, nothing" in refused.stderr


@pytest.mark.slow
def test_beside_files_named_like_libraries_a_search_ends_as_elsewhere(undisturbed: Finished, tmp_path: Path) -> None:
    """The current directory is that of a clone with another raysl, and of files that no process must import."""
    here = tmp_path / "here"
    shutil.copytree(Path(package.__file__).parent, here / "raysl")
    for path in (here / "raysl").rglob("*.py"):
        path.write_text("raise AssertionError('a raysl that is not the one that runs')\n")
    names = ("torch", "sklearn", "numpy", "ray", "pyarrow", "mlflow", "timm", "yaml", "pydantic", "typing_extensions")
    for name in (*names, "json", "random", "sitecustomize"):
        (here / f"{name}.py").write_text(f"raise AssertionError('{name} of the current directory')\n")
    script = Path(sys.executable).with_name("raysl")
    done = subprocess.run(
        [script, "tune", undisturbed.file, "--results", "r", *ONE_PROCESS],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables_of(here / "r") == tables_of(undisturbed.results)


@pytest.mark.slow
def test_what_is_edited_meanwhile_is_not_what_runs(tmp_path: Path) -> None:
    """A process that starts after the edit trains what the first one did."""
    shutil.copytree(Path(package.__file__).parent, tmp_path / "code" / "raysl")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "code")}
    file = write(tmp_path, EXPERIMENT[: EXPERIMENT.index("  finetune:")])
    driver = start(file, tmp_path / "r", "--max-concurrent", 1, env=environment)
    wait_for("first row", lambda: list((tmp_path / "r" / "rows").glob("*.parquet")), driver)
    for edited in (tmp_path / "code" / "raysl" / "methods").glob("*.py"):
        edited.write_text("raise OSError('an edited file')\n")
    for pid, line in descendants(driver.pid).items():
        if TRIAL in line:
            os.kill(pid, signal.SIGKILL)
    printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, printed
    rows = read_rows(Store.open(str(tmp_path / "r"), create=False)).values()
    assert [row.status for row in rows] == ["finished"] * 4
    assert len({row.code for row in rows}) == 1


@pytest.mark.parametrize("changes", [{"code": "another"}, {"torch_version": "1.0"}, {"torch_version": None}])
@pytest.mark.parametrize("kind", [TrainTask, ScoreTask])
def test_a_process_with_other_libraries_than_its_driver_refuses(
    undisturbed: Finished, tmp_path: Path, kind: type[Task], changes: dict[str, str | None]
) -> None:
    store = Store.open(str(tmp_path), create=True)
    driver = replace(libraries(), raysl="/of/the/driver", **changes)  # type: ignore[arg-type]
    row = next(iter(read_rows(Store.open(str(undisturbed.results), create=False)).values()))
    task = kind(row.trial_id, row.spec, store.uri, Resources(), driver=driver)
    with suppress(LibrariesError):
        do_task(task, 0, lambda report: None)
    reason = last_error(store, "")
    assert reason.startswith("raysl.errors.LibrariesError: ")
    assert all(str(one) in reason for one in (driver, libraries()))


@pytest.mark.slow
def test_a_process_that_dies_before_its_log_begins_leaves_one(tmp_path: Path) -> None:
    """As where a library is broken in the workers alone."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, sys\nif any('default_worker' in word for word in sys.orig_argv):\n    sys.modules['torch'] = None\n"
    )
    file = write(tmp_path, EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-2]"))
    code = "import os; os.environ['PYTHONPATH'] = os.environ['BROKEN']; from raysl.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "tune", file, "--results", tmp_path / "r"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "BROKEN": str(broken)},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    rows = package.read(str(tmp_path / "r")).trials.to_pylist()
    assert [row["status"] for row in rows] == ["failed"] * 2
    for row in rows:
        log = tmp_path / "r" / "logs" / f"{row['trial_id']}.log"
        assert str(log) in done.stdout
        assert "torch" in log.read_text()
        assert "torch" in row["reason"]


def test_python_m_leaves_the_current_directory_alone(tmp_path: Path) -> None:
    for name in ("typer", "pyarrow", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('of the current directory')\n")
    done = subprocess.run(
        [sys.executable, "-m", "raysl", "datasets"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
