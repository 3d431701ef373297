"""Scores selected trials on the test set, and keeps their models and test features."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from raysl.errors import SearchError
from raysl.launch.driver.missing_artifacts import Unscored, missing_artifacts
from raysl.launch.driver.score_source import ScoreSource
from raysl.launch.driver.session import Session, Working
from raysl.launch.driver.stage_run import StageRun
from raysl.launch.driver.stage_training import train_queue
from raysl.launch.driver.trial_queue import TrialQueue, united
from raysl.results.records.rows import TrialRow, read_rows
from raysl.results.records.stages import SelectionRecord
from raysl.search.code import other_code
from raysl.search.experiment import Resources
from raysl.search.trials import Trial
from raysl.training.kept_models import has_model, kept_model_path


def score(
    session: Session, chosen: Sequence[tuple[StageRun, SelectionRecord]], rows: Mapping[str, TrialRow]
) -> Working[None]:
    """Score the selected trials and keep their test features; trials whose needed models are missing are retrained.

    rows: of all trials of the stages.
    """
    found = missing_artifacts(chosen, rows, session.store, score_all=session.options.score == "all")
    lost = united(trial for _, trials in found.lost.values() for trial in trials)
    if lost:
        _refuse_other_code(session, [trial for trial in lost if not _is_given(session, trial, found.models)])
        session.observer.models_lost(len(lost))

    def trained(trial: Trial) -> TrialRow | None:
        return rows[trial.spec.id] if found.has_models(trial) else None

    for experiment, trials in found.lost.values():
        queue = TrialQueue(
            united(trials), (), {}, session.leases, session.weights, found=session.trial_found, done=trained
        )
        yield from train_queue(session, experiment, queue)
    if found.unscored:
        session.observer.scoring_started(len(found.unscored))
        yield from _score(session, found.unscored.values())


def _score(session: Session, trials: Iterable[Unscored]) -> Working[None]:
    parts: dict[Resources, list[Unscored]] = {}
    for one in trials:
        parts.setdefault(one.experiment.resources, []).append(one)
    for resources, part in parts.items():
        scoring = ScoreSource(part, session.leases, resources, session.limit(part[0].experiment), session.observer)
        while not scoring.is_exhausted:
            if scoring.peek():
                yield scoring
            elif not scoring.is_exhausted:
                yield from session.wait("scores that another search is about to write")


def _is_given(session: Session, trial: Trial, wanted: Mapping[str, Collection[int | None]]) -> bool:
    """Return whether another trial with the same weights has all wanted models of a trial."""
    if trial.stop is not None:
        return False
    return any(
        all(has_model(session.store, row.trial_id, epoch) for epoch in wanted[trial.spec.id])
        for row in session.weights.donors(trial.spec)
    )


def _refuse_other_code(session: Session, trials: Iterable[Trial]) -> None:
    """Raise SearchError if models are missing that other code made: this code would give other numbers."""
    rows = read_rows(session.store, [trial.spec.id for trial in trials])
    found = other_code(session.store, [row for row in rows.values() if row.code is not None])
    if found.trial_ids:
        place = session.store.address(kept_model_path(session.store, found.trial_ids[0]))
        raise SearchError(f"{place}: gone, and {found}; --retrain code trains them again with new numbers")
