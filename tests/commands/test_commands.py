"""What the commands print, beyond a search itself."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import EXPERIMENT, Finished, here, inline, of_stages, write

from raysl.cli import main


def prints(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["raysl", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    return printed.out


@pytest.fixture
def trained(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with one trained trial of a stage of two seeds."""
    from raysl.config import load
    from raysl.data.storage.scan import inspect, resolve
    from raysl.results.records.stages import write_stage
    from raysl.results.storage.store import Store
    from raysl.search.trials import stage_record

    file = write(tmp_path)
    fixed = "stages.semi.optimizer.lr=1e-3"
    printed = prints(capsys, monkeypatch, "train", file, "--stage", "semi", "--set", fixed, "--results", tmp_path / "r")
    assert "epoch 4/4" in printed
    experiment = load(file, overrides=[fixed])
    datas = of_stages(experiment, resolve(experiment.data, inspect(experiment.data)))
    record = stage_record(experiment, experiment.stages[0], datas, {}, 0.0)
    write_stage(Store.open(str(tmp_path / "r"), create=False), record)
    return tmp_path / "r"


def test_dry_run_lists_every_trial_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = prints(capsys, monkeypatch, "tune", write(tmp_path), "--dry-run", "--results", tmp_path / "r")
    assert printed.count("seed=0") == 3
    assert printed.count("seed=1") == 3
    assert "40 labelled and 64 unlabelled images" in printed
    assert not (tmp_path / "r").exists()


def test_dry_run_and_plan_say_the_least_and_the_most_trials_of_a_race(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raced = [part for one in ("seeds=5", "stages.semi.search={race: {}}") for part in ("--set", one)]
    for command in (["tune", "--dry-run"], ["plan", "--steps", "1"]):
        printed = prints(capsys, monkeypatch, command[0], write(tmp_path), *command[1:], *raced)
        assert "7 to 10 trials (a race: 2 seeds each, then one more in each round; error 0.05)" in printed


def test_dry_run_and_plan_say_the_least_and_the_most_trials_of_a_race_of_proposed_configs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = "stages.semi.search={algorithm: optuna, num_configs: 4, race: {}}"
    rates = "stages.semi.optimizer.lr={loguniform: [1e-4, 1e-2]}"
    raced = [part for one in ("seeds=5", rates, search) for part in ("--set", one)]
    told = "11 to 20 trials (a race: 2 seeds each, then one more at a time; error 0.05)"
    for command in (["tune", "--dry-run"], ["plan", "--steps", "1"]):
        printed = prints(capsys, monkeypatch, command[0], write(tmp_path), *command[1:], *raced)
        assert told in " ".join(printed.split())
    printed = prints(capsys, monkeypatch, "tune", write(tmp_path), "--dry-run", "--format", "json", *raced)
    [stage, *_] = json.loads(printed)["experiments"][0]["stages"]
    assert (stage["configs"], stage["least_trials"]) == (4, 11)


def test_show_in_four_formats(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = {
        form: prints(capsys, monkeypatch, "show", trained, "--format", form)
        for form in ("table", "markdown", "csv", "json")
    }
    assert "seed 1 is not trained yet" in forms["table"]
    assert "| 1/2 |" in forms["markdown"]
    header, row = forms["csv"].strip().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert (values["num_finished"], values["eligible"], values["final_loss_mean"]) == ("1", "False", "")
    facts = json.loads(forms["json"])
    assert [trial["status"] for trial in facts["trials"]] == ["finished", "pending"]


def test_plan_counts_trials_and_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = prints(capsys, monkeypatch, "plan", write(tmp_path), "--results", tmp_path / "r", "--steps", "1")
    cells = {line.split()[1]: line.split() for line in printed.splitlines() if "│" in line}
    assert [cells["semi"][i] for i in (3, 9, 11)] == ["4", "4", "2"]  # trials, epochs, steps per epoch
    assert [cells["finetune"][i] for i in (3, 9, 11)] == ["2", "3", "2"]
    assert "criteria" not in printed


def test_plan_says_whose_times_it_takes(
    finished: Callable[..., Finished],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = finished()
    chosen = ["--results", tmp_path / "r", "--measured", done.results, "--steps", "1"]
    assert "an estimate from finished trials on cpu (" in prints(capsys, monkeypatch, "plan", done.file, *chosen)
    mixed = prints(capsys, monkeypatch, "plan", done.file, *chosen, "--set", "stages.semi.batch_size=8")
    assert "and for tiny/semi from 1 steps of each shape" in " ".join(mixed.split())
    assert f"{done.results} has no finished trial like those of tiny/semi: method," in " ".join(mixed.split())
    chosen += ["--set", "model.features=8"]
    printed = " ".join(prints(capsys, monkeypatch, "plan", done.file, *chosen).split())
    assert "no finished trial like those of tiny/semi, tiny/finetune:" in printed
    assert "an estimate from 1 steps" in printed
    stages = json.loads(prints(capsys, monkeypatch, "plan", done.file, *chosen[:-2], "--format", "json"))
    assert stages["experiments"][0]["stages"][0]["times"]["num_trials"] == 4


def test_plan_says_what_criteria_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("--set", "stages.semi.select=rankme", "--results", tmp_path / "r", "--steps", "1")
    printed = prints(capsys, monkeypatch, "plan", write(tmp_path), *chosen)
    assert re.search(r"^semi: the criteria take [\d.e-]+ s of each trial$", printed, re.M)
    assert "finetune: " not in printed


def test_lists(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "lambda_u=1.0" in prints(capsys, monkeypatch, "methods")
    assert "100000" in prints(capsys, monkeypatch, "datasets")
    assert "small_resnet" in prints(capsys, monkeypatch, "backbones")


@pytest.mark.usefixtures("tracked")
def test_printed_commands_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    results = tmp_path / "it's $HOME [bold]"
    results.mkdir()
    empty = here("show", results)
    assert shlex.split(empty.stderr.split("`")[1]) == ["raysl", "tune", "FILE", "--results", str(results)]
    file = write(tmp_path, EXPERIMENT.partition("  finetune:")[0].replace("  semi:", "  semi.v1:"))
    many = here("train", file, "--stage", "semi.v1")
    assert shlex.split(many.stderr.partition("fix ")[2])[:2] == ["--set", 'stages."semi.v1".optimizer.lr=...,']
    done = inline("tune", file, "--results", results, "--set", 'stages."semi.v1".optimizer.lr=0.01', "--set", "seeds=1")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("MLflow: ")]
    assert shlex.split(line.removeprefix("MLflow: ")) == ["raysl", "ui", str(results)]
    assert (results / "mlflow.db").is_file()
