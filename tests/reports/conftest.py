"""One search whose trials are all scored, copies of its folder to be changed by the tests, and folders made by hand."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny import EXPERIMENT, Finished

from raysl.reports.command import Arguments, execute
from raysl.results.records.rows import Score, TrialRow, read_rows, write_row, write_score
from raysl.results.records.seed_design import SeedDesign, cells, paired
from raysl.results.records.stages import Member, StageRecord, write_selection, write_stage
from raysl.results.storage.store import Store
from raysl.results.tables.build import publish
from raysl.search.selection import select
from raysl.search.summary import summarise_store

Run = Callable[..., tuple[str, str]]
DATA = {"source": "digits", "labels": 50, "unlabelled": 100, "image_size": 8}


def add_stage(
    store: Store,
    name: str,
    configs: Sequence[Mapping[str, Any]],
    outcome: Callable[[Mapping[str, Any], int], Mapping[str, Any]],
    *,
    rule: Any = "probe_accuracy",
    num_seeds: int = 2,
    design: SeedDesign | None = None,
    levels: tuple[int, ...] = (),
) -> None:
    """Write a stage whose trials have ended, as a search does, and select its config.

    design, levels: of typed seeds, whose cells are the seeds.
    outcome: config and seed -> what its row has otherwise than a finished one; `test_accuracy` is its score.
    """
    members = []
    for place, params in enumerate(configs):
        for seed in range(num_seeds) if design is None else map(paired, cells(levels)):
            facts = dict(outcome(params, seed))
            member = Member(f"{name}-{place}-{seed}", f"c{place}", seed, dict(params))
            score, probe = facts.pop("test_accuracy", None), facts.pop("probe_accuracy", 0.5)
            facts["probe"] = {} if probe is None else {"accuracy": probe}
            write_row(store, TrialRow(**ENDED | {"trial_id": member.trial_id, "seed": seed} | facts))
            if score is not None:
                write_score(store, Score(member.trial_id, {"accuracy": score}, 500, "{}"))
            members.append(member)
    searched = tuple(configs[0])
    model = {"backbone": "tiny"}
    stage = StageRecord("swept", "", name, name, rule, 0, DATA, searched, tuple(members), 1.0, model, design=design)
    write_stage(store, stage)
    write_selection(store, select(stage, read_rows(store), 2.0))


ENDED: Mapping[str, Any] = {
    "status": "finished", "reason": "", "method": "sidae", "final_loss": 1.0, "epochs": 1,
    "num_parameters": 1, "seconds": 1.0, "started_at": 0.0, "finished_at": 1.0, "workers": 1, "device": "cpu",
    "raysl_version": "0", "torch_version": "0", "spec": "{}", "curve": (),
}  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., str]:
    """Make a results folder of stages, each given as the arguments of `add_stage`."""

    def make(*stages: tuple[Any, ...], name: str = "made", **options: Any) -> str:
        store = Store.open(str(tmp_path / name), create=True)
        for arguments in stages:
            add_stage(store, *arguments, **options)
        publish(store, summarise_store(store))
        return store.uri

    return make


@pytest.fixture
def searched(finished: Callable[..., Finished]) -> tuple[Path, Path]:
    """A finished search with `--score all`: its YAML, and its results folder, which no test changes."""
    return finished(EXPERIMENT, "--score", "all")[:2]


@pytest.fixture
def results(searched: tuple[Path, Path]) -> str:
    return str(searched[1])


@pytest.fixture
def changed(searched: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the results folder."""
    return Path(shutil.copytree(searched[1], tmp_path / "changed"))


@pytest.fixture
def republish() -> Callable[[Path], None]:
    """Make a folder's tables anew from its rows, scores and records."""

    def made_anew(folder: Path) -> None:
        store = Store.open(str(folder), create=False)
        publish(store, summarise_store(store))

    return made_anew


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a report as its user does, into tmp_path / "out"; return what it printed."""

    def ran(main: Callable[[Arguments], None], *arguments: Any) -> tuple[str, str]:
        execute(main, [*map(str, arguments), "--out", str(tmp_path / "out")])
        printed = capsys.readouterr()
        return printed.out, printed.err

    return ran


@pytest.fixture
def fails(run: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a report that a mistake stops; return its message."""

    def failed(main: Callable[[Arguments], None], *arguments: Any) -> str:
        with pytest.raises(SystemExit) as ended:
            run(main, *arguments)
        printed = capsys.readouterr()
        assert ended.value.code == 2
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1, printed.err
        return printed.err

    return failed
