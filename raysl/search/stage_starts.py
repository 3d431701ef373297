"""Finds the trial that each seed of a stage starts from."""

from raysl.results.records.stages import read_selections
from raysl.results.storage.store import Store
from raysl.search.experiment import Experiment, Stage
from raysl.search.trials import Datas, stage_id


def selected_starts(experiment: Experiment, stage: Stage, datas: Datas, store: Store) -> dict[int, str] | None:
    """Return seed -> id of the trial that it starts from, which is of the earlier stage's selected config.

    The earlier stage is this experiment's own, on these data; stages of the same name of other searches do not count.
    Returns an empty dict for a stage that starts from scratch, and None if the earlier stage has no selection yet.
    """
    if stage.start_from is None:
        return {}
    earlier = experiment.chain(stage)[-2]
    starts = selected_starts(experiment, earlier, datas, store)
    if starts is None:
        return None
    selection = read_selections(store).get(stage_id(experiment, earlier, datas, starts))
    if selection is None or selection.config_id is None:
        return None
    return dict(zip(experiment.seeds, selection.trial_ids, strict=True))
