"""Which trial each seed of a stage starts from."""

from raysl.data.settings import TrialData
from raysl.results.stages import read_selections
from raysl.results.store import Store
from raysl.search.experiment import Experiment, Stage
from raysl.search.trials import expand, stage_record


def selected_starts(experiment: Experiment, stage: Stage, data: TrialData, store: Store) -> dict[int, str] | None:
    """Return seed -> id of the trial that it starts from: that of the earlier stage's selected config.

    The earlier stage is this experiment's own on these data, and not another search's of the same name.
    Empty for a stage that starts from scratch; None where nothing is selected for it yet.
    """
    if stage.start_from is None:
        return {}
    earlier = next(other for other in experiment.stages if other.name == stage.start_from)
    starts = selected_starts(experiment, earlier, data, store)
    if starts is None:
        return None
    record = stage_record(experiment, earlier, expand(experiment, earlier, data, starts), created_at=0.0)
    selection = read_selections(store).get(record.stage_id)
    if selection is None or selection.config_id is None:
        return None
    return dict(zip(experiment.seeds, selection.trial_ids, strict=True))
