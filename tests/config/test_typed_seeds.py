"""Seeds as levels of random streams in an experiment's YAML."""

from pathlib import Path

import pytest
from tiny import write

from raysl.config import load
from raysl.config.document import ConfigError

LEVELS = "seeds={labels: 3, init: 2}"


def test_the_seeds_are_the_numbers_of_the_cells(tmp_path: Path) -> None:
    experiment = load(write(tmp_path), overrides=[LEVELS])
    assert experiment.seeds == (0, 1, 2, 3, 7, 8)
    assert str(experiment.design) == "labels x init"
    assert str(load(write(tmp_path), overrides=[LEVELS, "design=nested"]).design) == "labels > init"
    assert load(write(tmp_path)).design is None
    assert experiment.num_trials == 6 * 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["seeds={lables: 3}"], "seeds.lables: must be one of 'split', 'init'"),
        (["seeds={labels: 0}"], "seeds.labels: must be greater than or equal to 1, not 0"),
        (["seeds={}"], "at least 1"),
        (["seeds={labels: 40, init: 40}"], "seeds: 1,600 cells of"),
        (
            ["seeds={split: 85, init: 1, order: 1, augmentation: 1, labels: 1}"],
            "too many levels of one of 5 streams; up to 84 fit",
        ),
        ([LEVELS, "streams={init: 4}"], "streams.init: a seed of a stream that seeds varies"),
        (["design=nested"], "design: of seeds that are levels of streams"),
        ([LEVELS, "stages.semi.ties=cheapest"], "stages.semi.ties: tests differences over independent seeds"),
        ([LEVELS, "stages.semi.search={race: {}}"], "stages.semi.search.race: tests differences over independent"),
    ],
)
def test_a_mistake_is_refused_with_its_place(tmp_path: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(write(tmp_path), overrides=overrides)
    assert words in str(refused.value)
    assert str(refused.value).startswith("--set ")
    assert "\n" not in str(refused.value)
    assert "must be a valid integer, not {" not in str(refused.value)
