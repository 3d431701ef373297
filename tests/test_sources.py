"""Which code runs, and which of it decides numbers."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from raysl import methods
from raysl.sources import code_digest, copy_package, deciding, libraries, method_names

Edit = Callable[[str, Callable[[str], str]], None]


def changed_files(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.mark.parametrize("name", methods.names())
def test_a_method_is_decided_by_its_own_file_and_by_what_trains_and_scores_it(name: str) -> None:
    files = deciding((name,))
    wanted = {
        f"raysl/methods/{name}.py",
        "raysl/training/loop.py",
        "raysl/training/scoring.py",
        "raysl/data/augment/views.py",
    }
    assert wanted <= files.keys()
    assert not [file for file in files if file.startswith(("raysl/launch", "raysl/results", "raysl/config"))]
    assert not [file for file in files if file.endswith("/trimix.py")] or "trimix" in name


@pytest.mark.parametrize(
    ("module", "change"),
    [
        ("raysl.methods.supervised", lambda text: text.replace("cross_entropy", "mse_loss")),
        ("raysl.training.loop", lambda text: text + "\nCOLLAPSED = 0\n"),
        ("raysl.models.backbones", lambda text: text.replace("(", "(  ", 1).replace("3", "5", 1)),
        ("raysl.probes.linear_svm", lambda text: f"{text}\nC = 2\n"),
        ("raysl.data.storage.images", lambda text: text.replace("BILINEAR", "NEAREST")),
    ],
)
def test_what_changes_a_number_changes_the_code(edit: Edit, module: str, change: Callable[[str], str]) -> None:
    before = deciding(("supervised",))
    edit(module, change)
    assert changed_files(before, deciding(("supervised",))) == {f"{module.replace('.', '/')}.py"}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: f"# a remark\n{text}",
        lambda text: text.replace('"""', '"""Otherwise: ', 1),
        lambda text: text.replace("\n\n\n", "\n\n\n\n"),
    ],
)
def test_what_changes_no_number_does_not(edit: Edit, change: Callable[[str], str]) -> None:
    before = deciding(("supervised",))
    edit("raysl.methods.supervised", change)
    assert deciding(("supervised",)) == before


@pytest.mark.parametrize(
    "module",
    [
        "raysl.methods.byol",
        "raysl.launch.driver.search",
        "raysl.console.live",
        "raysl.sources",
        "raysl.outgoing.secrets",
    ],
)
def test_what_a_trial_does_without_is_none_of_its_code(edit: Edit, module: str) -> None:
    before = deciding(("supervised",))
    edit(module, lambda text: f"{text}\nMORE = 1\n")
    assert deciding(("supervised",)) == before


def test_the_code_of_the_start_is_part_of_a_trials() -> None:
    files = {"a.py": "1"}
    assert len({code_digest(files, start) for start in (None, "b", "c")}) == 3
    assert code_digest(files, "b") != code_digest({"a.py": "2"}, "b")


def test_nested_methods_are_part_of_one() -> None:
    assert method_names({"name": "semi", "pretext": {"name": "rotation"}, "lambda_l": 1.0}) == ("rotation", "semi")


def test_other_libraries_are_not_the_same_wherever_they_lie(edit: Edit) -> None:
    own = libraries()
    assert own.same(replace(own, raysl="elsewhere", torch="elsewhere"))
    assert not own.same(replace(own, torch_version="1.0"))
    edit("raysl.launch.driver.search", lambda text: f"{text}\n# a remark\n")
    assert not libraries().same(own)


@pytest.mark.slow
def test_the_version_of_torch_is_that_of_the_one_that_is_imported() -> None:
    code = "import torch; from raysl.sources import libraries; print(libraries().torch_version, torch.__version__)"
    told, is_ = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == is_.partition("+")[0]


def test_a_file_named_torch_has_no_version(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    code = "from raysl.sources import libraries; print(libraries())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert f"torch of no version of {tmp_path / 'torch.py'}" in done.stdout


def test_a_copy_is_what_this_process_has_loaded(edit: Edit, tmp_path: Path) -> None:
    edit("raysl.methods.byol", lambda text: f"{text}\nLOADED = 1\n")  # the file on the disk is not like it
    copy_package(tmp_path)
    assert (tmp_path / "raysl" / "methods" / "byol.py").read_text().endswith("LOADED = 1\n")
    code = "import raysl.sources as s; print(s.libraries().code, s.PACKAGE)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == [libraries().code, str(tmp_path / "raysl")]
