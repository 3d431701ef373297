"""An adaptive stage that several experiments of one command have."""

from pathlib import Path

import pytest
from tiny import of_stages, write

from raysl.config import load
from raysl.data.settings import TrialData
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.options import Options
from raysl.launch.driver.search import Search
from raysl.launch.driver.session import Session, Working
from raysl.launch.driver.stage_run import StageRun, num_todo, searches_of
from raysl.results.storage.store import Store

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)
OPTUNA = [
    "stages.semi.optimizer.lr={loguniform: [1e-4, 1e-1]}",
    "stages.semi.search={algorithm: optuna, num_configs: 6}",
]


def _without_work(opening: Working[StageRun | None]) -> StageRun | None:
    """Return what comes of opening a stage, which waits for nothing here."""
    with pytest.raises(StopIteration) as ended:
        next(opening)
    step: StageRun | None = ended.value.value
    return step


@pytest.mark.parametrize(("other", "num_searches"), [("stages.finetune.epochs=5", 1), ("stages.semi.epochs=5", 2)])
def test_a_stage_that_experiments_share_is_searched_once(tmp_path: Path, other: str, num_searches: int) -> None:
    """Each by itself would propose its own configs, train them, and overwrite what the other has written."""
    file = write(tmp_path)
    found = [load(file, overrides=[*OPTUNA, *more]) for more in ([], [other])]
    store = Store.open(str(tmp_path / "results"), create=True)
    observer: object = None
    session = Session(found, Leases(store), Options(), observer, lambda outcome: None)  # type: ignore[arg-type]
    search = Search([(experiment, of_stages(experiment, DATA)) for experiment in found], session, lambda: None)
    steps = [step for index in range(2) if (step := _without_work(search._open(index, 0))) is not None]
    assert len(searches_of(steps)) == num_searches
    assert num_todo(steps) == num_searches * 6 * 2
