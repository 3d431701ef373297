"""The experiments that come with raysl, by name."""

from pathlib import Path

import pytest

import raysl
from raysl.config.document import ConfigError
from raysl.config.packaged import experiment_file, packaged_experiments, packaged_files, packaged_folder

SPACES = Path(__file__).parents[2] / "search_spaces"


def test_every_experiment_of_the_checkout_has_a_name() -> None:
    assert set(packaged_files().values()) == {*SPACES.glob("*.yaml"), *SPACES.glob("tables/*.yaml")}
    assert packaged_files()["tables/sidae_table1"] == SPACES / "tables" / "sidae_table1.yaml"
    assert (packaged_folder("cluster") / "README.md").is_file()


def test_each_says_what_it_is_and_of_whom() -> None:
    found = {one.name: one for one in packaged_experiments()}
    assert len(found) == len(packaged_files())
    for one in found.values():
        assert 20 < len(one.summary) < 300, one
        assert one.summary[-1] not in ".,:", one
        assert " 20" in one.paper, one
        assert len(one.paper) < 80, one
    semi, table = found["rotation_semi"], found["tables/trimix_table1"]
    assert (semi.paper, semi.num_trials, semi.num_epochs) == ("Cavallari & Ponti 2022", 15, 15 * 15)
    assert semi.summary == "Supervised learning and rotation prediction at once, on shared weights"
    assert "fashion_mnist" in semi.profiles
    assert (table.paper, table.num_trials, table.profiles) == ("Bdair et al. 2022, Table I", None, ("laptop", "paper"))


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert experiment_file(Path("rotation_semi")) == SPACES / "rotation_semi.yaml"
    assert experiment_file(Path("own.yaml")) == Path("own.yaml")  # whoever reads it says that it is not there
    Path("rotation_semi").mkdir()  # of results, perhaps
    assert experiment_file(Path("rotation_semi")) == SPACES / "rotation_semi.yaml"
    Path("rotation_semi").rmdir()
    Path("rotation_semi").write_text("mine")
    assert experiment_file(Path("rotation_semi")) == Path("rotation_semi")


@pytest.mark.parametrize("given", ["rotation_semmi", "../search_spaces/rotation_semi", "/rotation_semi"])
def test_what_is_no_name_is_refused_with_the_choices(given: str) -> None:
    with pytest.raises(ConfigError, match=r"no such file, and no packaged experiment; .*choices: barlow_twins"):
        experiment_file(Path(given))


def test_python_takes_names_too() -> None:
    assert raysl.load("rotation_semi").name == "rotation_semi"
    with pytest.raises(raysl.UserError, match="did you mean 'rotation_semi'"):
        raysl.load("rotation_sem")
