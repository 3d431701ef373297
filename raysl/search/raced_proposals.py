"""An adaptive search whose configs race: each gets one seed more at a time until it is dropped or has all."""

from collections.abc import Mapping
from dataclasses import replace

from raysl.results.records.proposals import Told
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.config_means import ended_values, standing_of
from raysl.search.experiment import Experiment, Stage
from raysl.search.race import Drop
from raysl.search.race_of_proposals import expected_mean, finished_values
from raysl.search.rules import RULES
from raysl.search.trials import Datas, Trial, member


class RacedProposals(AdaptiveSearch):
    """The configs of an adaptive stage, and as many seeds of each as the race gives it.

    Proposals and rows decide which seeds and drops there are, so they need no record of their own.

    The sampler is told of a config with all its seeds as without a race.  Of one that was dropped, or is undecided when
    another is proposed, it is told what the mean over all seeds would be (`expected_mean`).  Undecided ones are told so
    that proposals know of more than few configs where several trials run at once.  A config is told once.
    """

    def __init__(
        self,
        experiment: Experiment,
        stage: Stage,
        datas: Datas,
        starts: Mapping[int, str],
        store: Store | None,
        created_at: float,
        token: int = 0,
    ) -> None:
        """Begin a stage, or resume it; see `AdaptiveSearch`."""
        super().__init__(experiment, stage, datas, starts, store, created_at, token)
        assert stage.race is not None, "the stage is raced"
        self._first = stage.race.first
        self.news: tuple[Drop, ...] = ()  # what was decided last
        self.has_proposed = False  # whether a config was proposed last
        self.replay({})

    @property
    def every(self) -> list[Trial]:
        """All trials of its configs so far, with the seeds that they have not got."""
        return super().known

    @property
    def known(self) -> list[Trial]:
        """All its trials so far."""
        return [trial for number in range(len(self.trials)) for trial in self._given(number)]

    @property
    def num_trials_left(self) -> int:
        """The number of trials that may still be asked for, at most."""
        seeds = len(self.experiment.seeds)
        more = sum(seeds - self.standing.num_seeds[config_id] for config_id in self.standing.remaining)
        return super().num_trials_left + more

    @property
    def is_over(self) -> bool:
        """Whether nothing will be asked for any more."""
        return super().is_over and self.standing.is_over

    def replay(self, rows: Mapping[str, TrialRow]) -> None:
        """Decide all that can be decided; rows: by trial id."""
        self.record = replace(self.record, members=tuple(map(member, self.every)))
        self.standing = standing_of(self.record, rows)
        self.record = replace(self.record, members=tuple(map(member, self.known)))

    def propose(self, rows: Mapping[str, TrialRow]) -> tuple[Trial, ...]:
        """Return the seeds that configs get next; the first ones of a new config if none gets any."""
        before, most, drops = {trial.spec.id for trial in self.known}, self._most_trials, set(self.standing.drops)
        self.replay(rows)
        self.news = tuple(drop for drop in self.standing.drops if drop not in drops)
        self.num_saved = most - self._most_trials
        new = [trial for trial in self.known if trial.spec.id not in before]
        self.has_proposed = not new and bool(super().propose(rows))
        if self.has_proposed:
            self.replay(rows)
            new = list(self._given(len(self.trials) - 1))
        return tuple(new)

    @property
    def _most_trials(self) -> int:
        return len(self.known) + self.num_trials_left

    def _given(self, number: int) -> tuple[Trial, ...]:
        trials = self.trials[number]
        return trials[: self.standing.num_seeds[trials[0].config_id]]

    def _news(self, number: int, rows: Mapping[str, TrialRow]) -> Told | None:
        trials = self._given(number)
        config_id, is_whole = trials[0].config_id, len(trials) == len(self.experiment.seeds)
        is_in = config_id in self.standing.remaining or config_id in self.standing.dropped
        if number in self._told:
            return None
        if (is_whole or not is_in) and all(trial.spec.id in rows for trial in trials):
            return self._result(number, trials, rows)
        value = self._estimate(config_id, rows) if is_in else None
        return None if value is None else Told(number, "finished", (value,))

    def _estimate(self, config_id: str, rows: Mapping[str, TrialRow]) -> float | None:
        """Return the mean over all seeds that a config would have; None as long as nothing is known of that."""
        ended = ended_values(self.record, rows)
        seeds = self.experiment.seeds
        own = finished_values(ended[config_id], seeds)
        whole = [values for one in ended.values() if len(values := finished_values(one, seeds)) == len(seeds)]
        if len(own) < self._first or (not whole and self.standing.remaining):
            return None
        value = expected_mean(own, whole)
        return -value if RULES[self.record.rule].highest else value
