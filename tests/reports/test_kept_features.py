"""Which trials' test features a search keeps, and that they come back where they are lost."""

from collections.abc import Callable
from pathlib import Path

from tiny import here, inline

from raysl.reports import class_report
from raysl.results import read
from raysl.results.records.features import read_features
from raysl.results.records.rows import read_scores
from raysl.results.storage.store import Store


def selected_ids(results: Path) -> dict[str, str]:
    """Return trial -> stage of the selected trials."""
    trials = read(str(results)).trials.to_pylist()
    return {trial["trial_id"]: trial["stage"] for trial in trials if trial["selected"]}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_features_are_kept_of_selected_trials_alone(searched: tuple[Path, Path]) -> None:
    _, results = searched
    trials = read(str(results)).trials.to_pylist()
    assert all(trial["test_accuracy"] is not None for trial in trials)
    assert {path.stem for path in (results / "features").iterdir()} == set(selected_ids(results))


def test_predictions_give_the_published_accuracy_exactly(searched: tuple[Path, Path]) -> None:
    _, results = searched
    trials = {trial["trial_id"]: trial for trial in read(str(results)).trials.to_pylist()}
    for trial_id in selected_ids(results):
        found = read_features(str(results), trial_id)
        assert (found.predicted == found.labels).mean() == trials[trial_id]["test_accuracy"]


def test_lost_and_damaged_features_come_back_and_others_go(
    searched: tuple[Path, Path], changed: Path, fails: Callable[..., str]
) -> None:
    file, results = searched
    lost, damaged = sorted(trial_id for trial_id, stage in selected_ids(results).items() if stage == "semi")
    unselected = next(i for i in read_scores(Store.open(str(results), create=False)) if i not in selected_ids(results))
    features = changed / "features"
    (features / f"{unselected}.arrow").write_bytes((features / f"{lost}.arrow").read_bytes())
    (features / f"{lost}.arrow").unlink()
    (features / f"{damaged}.arrow").write_bytes((features / f"{damaged}.arrow").read_bytes()[:-300])
    assert "damaged" in fails(class_report.main, changed, "--seed", 0) + fails(class_report.main, changed, "--seed", 1)
    again = inline("tune", file, "--results", changed, "--score", "all")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "scoring 2" in again.stdout
    assert contents(features) == contents(results / "features")
    assert contents(changed / "scores") == contents(results / "scores")
    once_more = here("tune", file, "--results", changed, "--score", "all")
    assert "starting Ray" not in once_more.stdout
    assert "scoring" not in once_more.stdout
