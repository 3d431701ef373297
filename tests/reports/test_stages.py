"""Stages are found by their names, told apart by their titles, and a mistake is one message."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from raysl.errors import UserError
from raysl.reports import audit, class_report, grid, importance, loss_curves, loss_vs_lr, slices, tsne, umap
from raysl.reports.stages import (
    Searched,
    attack,
    params_text,
    read_selected,
    read_stages,
    source,
    titles,
    without_common,
)

Fails = Callable[..., str]


@pytest.fixture
def stage(results: str) -> Searched:
    return read_selected([results], "semi")[0]


def test_stages_are_named_by_stage_experiment_or_id(results: str, stage: Searched) -> None:
    for name in ("semi", "tiny/semi", stage.stage_id):
        assert [found.stage_id for found in read_selected([results], name)] == [stage.stage_id]
    assert [found.stage for found in read_selected([results], "finetune, semi")] == ["finetune", "semi"]


def test_selected_trials_come_by_seed(stage: Searched) -> None:
    assert [trial["seed"] for trial in stage.selected] == [0, 1]
    assert {trial["config_id"] for trial in stage.selected} == {stage.selection["config_id"]}  # type: ignore[index]


def test_a_title_says_images_labels_and_attack(stage: Searched) -> None:
    white = {"name": "one_pixel", "value": "white", "seed": 0}
    attacked = replace(stage, data={**stage.data, "attack": white})
    clean = replace(stage, data={**stage.data, "attack": None})
    assert titles([attacked, clean, stage])[0] == "tiny/semi, digits, 40 labels, one_pixel white attack"
    assert attack(clean) == attack(stage) == ""
    assert attack(attacked) == "one_pixel white"  # of before `probe` could be chosen
    probed = [replace(stage, data=stage.data | {"attack": white | {"probe": one}}) for one in ("clean", "attacked")]
    assert [attack(one) for one in probed] == ["training-only one_pixel white", "one_pixel white"]


def test_a_file_is_named_without_the_way_to_it(stage: Searched) -> None:
    assert source(replace(stage, data={**stage.data, "source": "parquet:/home/me/cells.parquet"})) == "cells"


def test_titles_that_would_be_the_same_say_what_differs(stage: Searched) -> None:
    larger = replace(stage, data={**stage.data, "image_size": 32}, model={"backbone": "resnet50"})
    again = replace(larger, uri="/elsewhere/others")
    found = titles([stage, larger, again])
    assert len(set(found)) == 3
    assert found[1].startswith("tiny/semi, digits, 40 labels, image_size 32, backbone resnet50, folder ")
    same = replace(stage, uri=f"/elsewhere/{Path(stage.uri).name}")
    assert len(set(titles([stage, same]))) == 2


def test_starts_are_told_apart_by_a_short_digest_and_by_what_was_varied(stage: Searched) -> None:
    """Not by the numbers of the weights' normalisation, and not by a folder that they share."""
    weights = {"digest": 32 * "8", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    trained = replace(stage, model=stage.model | {"weights": weights})
    varied = tuple(config | {"variant": "stages.semi.start_from=null"} for config in stage.configs)
    found = titles([stage, trained, replace(trained, configs=varied)])
    assert [text.removeprefix("tiny/semi, digits, 40 labels, ") for text in found] == [
        "weights none, variant none",
        "weights 88888888, variant none",
        "weights 88888888, variant stages.semi.start_from=null",
    ]


def test_what_titles_share_is_said_once() -> None:
    found = without_common(["supervised, digits, 40 labels", "tiny/semi, digits, 50 labels"])
    assert found == ("digits", ["supervised, 40 labels", "tiny/semi, 50 labels"])
    assert without_common(["supervised, digits"]) == ("", ["supervised, digits"])


def test_searched_values_are_words() -> None:
    config = {"config_id": "c0", "params.optimizer.lr": 1e-3, "params.method.name": "semi", "params.other": None}
    assert params_text(config) == "lr 0.001, name semi"
    assert params_text(config, without="params.optimizer.lr") == "name semi"


def test_several_folders_are_one_report(results: str, changed: Path) -> None:
    assert [stage.uri for stage in read_stages([results, str(changed), results])] == [results] * 2 + [str(changed)] * 2
    with pytest.raises(UserError, match="the name of 2 stages; give an id"):
        read_selected([results, str(changed)], "semi")


REPORTS = [audit, class_report, grid, importance, loss_curves, loss_vs_lr, slices, tsne, umap]


@pytest.mark.parametrize("report", REPORTS, ids=lambda r: r.__name__)
def test_no_such_folder_and_nothing_selected(
    report: object, tmp_path: Path, changed: Path, republish: Callable[[Path], None], fails: Fails
) -> None:
    main = report.main  # type: ignore[attr-defined]
    assert "no such folder" in fails(main, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "is it the folder of a search?" in fails(main, tmp_path / "empty")
    for record in (changed / "selections").iterdir():
        record.unlink()
    republish(changed)
    assert "nothing is selected" in fails(main, changed)


@pytest.mark.parametrize("report", [class_report, tsne, umap], ids=lambda r: r.__name__)
def test_missing_and_damaged_features(report: object, changed: Path, stage: Searched, fails: Fails) -> None:
    main = report.main  # type: ignore[attr-defined]
    file = changed / "features" / f"{stage.selected[0]['trial_id']}.arrow"
    file.write_bytes(file.read_bytes()[:-200])
    assert f"{file.name}: damaged" in fails(main, changed)
    shutil.rmtree(changed / "features")
    message = fails(main, changed)
    assert "no test features" in message
    assert f"raysl tune FILE --results {changed}" in message


def test_wrong_names_and_seeds_are_answered_with_the_choices(results: str, fails: Fails) -> None:
    message = fails(class_report.main, results, "--stages", "semy")
    assert "choices: tiny/finetune, tiny/semi" in message
    assert "choices: 0, 1" in fails(class_report.main, results, "--seed", 7)
    assert "4 images or more" in fails(tsne.main, results, "--images", 3)
    assert "tiny/finetune: no learning rate was searched" in fails(loss_vs_lr.main, results, "--stages", "finetune")


def test_files_go_beside_the_results_unless_told_otherwise(changed: Path) -> None:
    command = [sys.executable, "-m", "analysis.class_report", str(changed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(audit.__file__).parents[2])
    assert (changed / "analysis" / "class_report.txt").read_text() == done.stdout


def test_an_out_that_is_a_file_is_one_message(results: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "analysis.audit", results, "--out", str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(audit.__file__).parents[2])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: --out {tmp_path / 'file'}: File exists\n"
