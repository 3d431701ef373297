"""A grid that grows beyond an end as long as the best value lies there."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raysl.errors import UserError
from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import StageRecord
from raysl.search.experiment import Config, Experiment, Stage
from raysl.search.grid_ends import GridEnd, grid_ends, too_many
from raysl.search.selection import select
from raysl.search.settings import MOST_ADDED
from raysl.search.spacing import End, may_grow, next_value
from raysl.search.trials import Datas, Trial, expand, member, stage_record, with_cohorts


class ExtendedSearch:
    """The trials of a grid, and of the values that are added beyond its ends.

    When all trials have ended and the best config has the smallest or largest number of an evenly spaced grid, the next
    number of that spacing is added, in all combinations with the other keys' values.  The best is that of the rule's
    best value even where `ties: cheapest` selects another: training times are noise, and would add other values each
    time.  Nothing but the rows decides it, so a search that was killed, one that is repeated, and two on one results
    folder add the same values.
    """

    def __init__(
        self, experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str], created_at: float
    ) -> None:
        """Begin with the grid.

        starts: seed -> id of the trial that this seed starts from.  created_at: unix seconds.
        """
        self.experiment, self.stage, self.datas, self.starts = experiment, stage, datas, starts
        self.record = stage_record(experiment, stage, datas, starts, created_at)
        self.known: list[Trial] = list(with_cohorts(expand(experiment, stage, datas, starts), self.record.stage_id))
        self.news: dict[str, float] = {}  # the values that were added last, by key
        self.num_saved = 0  # trials that are not needed any more: a grid only grows
        self.is_over = False
        self._values = {key: list(dimension.ends) for key, dimension in stage.space.items()}
        self._num_added: Counter[tuple[str, End]] = Counter()

    @property
    def num_trials_left(self) -> int:
        """The number of trials that are sure to follow: none."""
        return 0

    def propose(self, rows: Mapping[str, TrialRow]) -> tuple[Trial, ...]:
        """Return the trials that are added; empty if none is (`is_over`), or not all trials have ended yet.

        rows: of the trials that have ended, by id.
        """
        if self.is_over or any(trial.spec.id not in rows for trial in self.known):
            return ()
        self.news = self._beyond(rows)
        configs = self._add(self.news)
        if not configs:
            self.is_over, self.news = True, {}
            return ()
        expanded = expand(self.experiment, self.stage, self.datas, self.starts, configs)
        trials = with_cohorts(expanded, self.record.stage_id)
        self.known += trials
        self.record = replace(self.record, members=(*self.record.members, *map(member, trials)))
        return trials

    def _beyond(self, rows: Mapping[str, TrialRow]) -> dict[str, float]:
        """Return the values beyond the ends at which the best config lies, by key."""
        selection = select(self.record, rows, self.record.created_at)
        if not selection.ranking:
            return {}
        found: dict[str, float] = {}
        best = selection.ranking[0].config_id
        params = next(member.params for member in self.record.members if member.config_id == best)
        for end in ends_of(self.record, best, self.stage):
            is_left = self._num_added[end.key, end.end] < MOST_ADDED
            value = next_value(self._values[end.key], end.end) if is_left else None
            if value is not None and self._configured({**params, end.key: value}) is not None:
                self._num_added[end.key, end.end] += 1
                found[end.key] = value
        return found

    def _add(self, news: Mapping[str, float]) -> list[Config]:
        """Add values to the grid, and return the configs that have one; none if it would have too many."""
        for key, value in news.items():
            self._values[key].append(value)
        num_configs = math.prod(map(len, self._values.values()))
        if not news or too_many(num_configs, num_configs * len(self.experiment.seeds)):
            return []
        points = (dict(zip(self._values, values, strict=True)) for values in itertools.product(*self._values.values()))
        added = (point for point in points if any(point[key] == value for key, value in news.items()))
        return [config for point in added if (config := self._configured(point)) is not None]

    def _configured(self, params: Mapping[str, Any]) -> Config | None:
        """Return a config; None if its settings refuse a value."""
        try:
            return self.stage.configure(params)
        except UserError:
            return None


def ends_of(record: StageRecord, config_id: str, stage: Stage) -> Sequence[GridEnd]:
    """Return which numbers of a config are at an end of their grid, of the keys that `extend` may let grow."""
    params = {one.config_id: one.params for one in record.members}
    configs = [
        {"config_id": name, **{f"params.{key}": value for key, value in own.items()}} for name, own in params.items()
    ]
    found = grid_ends(configs, config_id, stage.settings.method["name"])
    return [end for end in found if may_grow(end.key, stage.space[end.key])]
