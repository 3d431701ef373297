"""`raysl experiments`, `raysl new`, `raysl cluster-files`, and lists as JSON."""

import json
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from tiny import here

import raysl
from raysl.config import json_schema

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_name_stands_for_its_file() -> None:
    by_name = here("tune", "rotation_semi", "--dry-run")
    assert by_name.returncode == 0, by_name.stderr
    assert by_name.stdout == here("tune", ROOT / "search_spaces" / "rotation_semi.yaml", "--dry-run").stdout
    wrong = here("tune", "rotation_sem", "--dry-run")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean 'rotation_semi'" in wrong.stderr


def test_a_copy_is_the_same_experiment_and_is_never_overwritten() -> None:
    made = here("new", "sidae")
    assert made.returncode == 0, made.stderr
    assert raysl.load("sidae.yaml").stages == raysl.load(ROOT / "search_spaces" / "sidae.yaml").stages
    first, _, copied = Path("sidae.yaml").read_text().partition("\n")
    assert "raysl tune sidae.yaml" in copied
    schema = Path(url2pathname(urlsplit(first.removeprefix("# yaml-language-server: $schema=")).path))
    assert json.loads(schema.read_text()) == json.loads(json_schema.text())
    Path("sidae.yaml").write_text("mine")
    again = here("new", "sidae")
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    assert Path("sidae.yaml").read_text() == "mine"
    Path("folder").mkdir()
    assert here("new", "sidae", "--output", "folder").returncode == 0
    assert Path("folder/sidae.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no packaged experiment"),
        (["tables/sidae_table1"], "names experiments beside it"),
        (["sidae", "--output", "missing/sidae.yaml"], "cannot be written"),
    ],
)
def test_what_cannot_be_copied_is_one_message(arguments: list[str], said: str) -> None:
    ended = here("new", *arguments)
    assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


def test_cluster_files_go_into_a_folder_of_their_own() -> None:
    assert here("cluster-files", "mine").returncode == 0
    assert Path("mine/aws.yaml").read_bytes() == (ROOT / "cluster" / "aws.yaml").read_bytes()
    again = here("cluster-files", "mine")
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


def test_lists_are_json_too() -> None:
    def told(*arguments: str) -> object:
        ended = here(*arguments, "--format", "json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    [method] = told("methods", "trimix")  # type: ignore[misc]
    assert method["hyperparameters"]["tau"] == {"type": "number > 0", "required": False, "default": 2.0}
    assert len(told("methods")) == len(raysl.methods.names())  # type: ignore[arg-type]
    assert {"name": "digits", "num_classes": 10}.items() <= told("datasets")[0].items()  # type: ignore[index]
    assert "small_resnet" in told("backbones")  # type: ignore[operator]
    assert {one["name"] for one in told("experiments")} >= {"trimix", "tables/trimix_table1"}  # type: ignore[attr-defined]
    [dry] = told("tune", "tables/sidae_figure4", "--cells", "*/sidae/w0", "--dry-run")["experiments"]  # type: ignore[index]
    assert [len(trial["id"]) for trial in dry["stages"][0]["trials"]] == [16, 16, 16]
    plan = told("plan", "supervised", "--set", "seeds=1", "--set", "stages.supervised.optimizer.lr=0.1", "--steps", "1")
    [stage] = plan["experiments"][0]["stages"]  # type: ignore[index]
    assert (stage["num_trials"], stage["epochs"] > 0, stage["step_seconds"] > 0) == (1, True, True)


@pytest.mark.parametrize("command", [("methods",), ("plan", "supervised"), ("tune", "supervised", "--dry-run")])
def test_an_unknown_form_is_refused(command: tuple[str, ...]) -> None:
    ended = here(*command, "--format", "xml")
    assert (ended.returncode, "choices: json, table" in ended.stderr) == (2, True)


def test_a_search_has_no_form_of_its_own() -> None:
    ended = here("tune", "supervised", "--format", "json")
    assert (ended.returncode, "only with --dry-run" in ended.stderr) == (2, True)


def test_a_method_is_explained() -> None:
    printed = here("methods", "byol").stdout
    assert "Grill" in printed
    assert "experiments: byol" in printed
    wrong = here("methods", "bioul")
    assert (wrong.returncode, "did you mean 'byol'" in wrong.stderr) == (2, True)
