"""An adaptive search whose configs race: each gets one seed more at a time until it is dropped or has all."""

from collections.abc import Mapping
from dataclasses import replace

from raysl.results.records.proposals import Told
from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import Member
from raysl.results.storage.store import Store
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.config_means import compared_value, standing_of
from raysl.search.experiment import Experiment, Stage
from raysl.search.race import Drop
from raysl.search.rules import RULES
from raysl.search.trials import Datas, Trial, member


class RacedProposals(AdaptiveSearch):
    """The configs of an adaptive stage, and as many seeds of each as the race gives it.

    Proposals and rows decide which seeds and drops there are, so they need no record of their own.

    The sampler is told of a config with all its seeds as without a race.  Of a dropped one it is told what the config
    would have had with all seeds, if it stayed as much worse than its leader as it was: the leader's value plus the
    mean difference over the seeds of both.  Its own mean would compare easy seeds with hard ones.
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
        self._numbers = {trials[0].config_id: number for number, trials in enumerate(self.trials)}
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
        config_id = trials[0].config_id
        if number in self._told or not self._is_settled(config_id, rows):
            return None
        if config_id in self.standing.dropped and (value := self._estimate(config_id, rows)) is not None:
            return Told(number, "finished", (value,))
        return self._result(number, trials, rows)

    def _is_settled(self, config_id: str, rows: Mapping[str, TrialRow]) -> bool:
        """Return whether it is known what the sampler is told of a config."""
        if drop := self.standing.dropped.get(config_id):
            return self._is_settled(drop.leader, rows)
        trials = self._given(self._numbers[config_id])
        is_left = config_id in self.standing.remaining and len(trials) < len(self.experiment.seeds)
        return not is_left and all(trial.spec.id in rows for trial in trials)

    def _estimate(self, config_id: str, rows: Mapping[str, TrialRow]) -> float | None:
        """Return the mean over all seeds that a config has, or would have; None if a seed did not finish.

        Where the leader of a dropped config has none, it is the config's mean over its own seeds.
        """
        own = compared_value(self.record, self._members(config_id), rows)
        drop = self.standing.dropped.get(config_id)
        if drop is None or (leader := self._estimate(drop.leader, rows)) is None:
            return own
        return leader + (-drop.difference if RULES[self.record.rule].highest else drop.difference)

    def _members(self, config_id: str) -> list[Member]:
        return [member(trial) for trial in self._given(self._numbers[config_id])]
