"""What stages with a selected config still lack: scores, test features, and models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raysl.launch.driver.stage_run import StageRun
from raysl.results.records.features import has_features
from raysl.results.records.rows import TrialRow, read_scores
from raysl.results.records.stages import SelectionRecord
from raysl.results.storage.store import Store
from raysl.search.experiment import Experiment, Resources
from raysl.search.trials import Trial
from raysl.training.kept_models import has_model
from raysl.training.spec import TrialSpec


class Unscored(NamedTuple):
    """A finished trial to score on the test set.

    experiment: one that contains it.  keep_features: whether its test features are kept.
    """

    spec: TrialSpec
    experiment: Experiment
    keep_features: bool


@dataclass
class MissingArtifacts:
    """The scores, features and models that trials lack.

    unscored: trials to score, by id.
    models: the models that are needed, by trial id: the number of epochs after which each was kept, None for the end.
    lost: trials to train again because a needed model is missing, by their resources, with an experiment of these
        resources.
    """

    store: Store
    unscored: dict[str, Unscored] = field(default_factory=dict)
    models: dict[str, set[int | None]] = field(default_factory=dict)
    lost: dict[Resources, tuple[Experiment, list[Trial]]] = field(default_factory=dict)

    def has_models(self, trial: Trial) -> bool:
        """Return whether all needed models of a trial exist and are undamaged.

        A trial that trains nothing has no model of its own; that of its start is checked with the earlier stage.
        """
        wanted = self.models[trial.spec.id] if trial.spec.trains else ()
        return all(has_model(self.store, trial.spec.id, epoch) for epoch in wanted)


def missing_artifacts(
    chosen: Sequence[tuple[StageRun, SelectionRecord]], rows: Mapping[str, TrialRow], store: Store, *, score_all: bool
) -> MissingArtifacts:
    """Return the scores, features and models that stages lack.

    rows: of their trials.  score_all: whether trials that are not selected are scored too; those of folds never are.
    """
    found = MissingArtifacts(store)
    selected = {trial_id for _, selection in chosen for trial_id in selection.trial_ids}
    for step, selection in chosen:
        wanted = (t for t in step.trials if t.spec.id in selection.trial_ids or (score_all and t.spec.fold is None))
        finished = {t.spec.id: t for t in wanted if t.spec.id in rows and rows[t.spec.id].status == "finished"}
        scores = read_scores(store, finished)
        starts = step.start_epochs()
        experiment, resources = step.experiment, step.experiment.resources
        for i, trial in finished.items():
            is_chosen = i in selection.trial_ids
            if i not in scores or (is_chosen and not has_features(store, i)):
                found.unscored[i] = Unscored(trial.spec, experiment, i in selected)
            elif not (is_chosen and starts):
                continue
            found.models[i] = found.models.get(i, {None}) | (starts if is_chosen else set())
            if not found.has_models(trial):
                found.lost.setdefault(resources, (experiment, []))[1].append(trial)
    return found
