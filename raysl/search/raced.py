"""The race of a stage's configs over its seeds: the trials of each round, from the rows of the rounds before it."""

from collections.abc import Mapping
from dataclasses import replace

from raysl.results.records.rows import TrialRow
from raysl.search.config_means import standing_of
from raysl.search.experiment import Experiment, Stage
from raysl.search.race import Drop
from raysl.search.trials import Datas, Trial, expand, stage_record, with_cohorts


class RacedSearch:
    """The trials of a race, round by round.

    They are trials of the whole grid, and nothing but their rows decides which come next.  So a search that was killed,
    one that is repeated, and two on one results folder take the same decisions, without a record of them.
    """

    def __init__(
        self, experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str], created_at: float
    ) -> None:
        """Begin a race; starts: seed -> id of the trial that this seed starts from.  created_at: unix seconds."""
        self.experiment = experiment
        every = expand(experiment, stage, datas, starts)
        self.whole = stage_record(experiment, stage, datas, starts, created_at, every)
        self.every = with_cohorts(every, self.whole.stage_id)
        self.replay({})
        self.news: tuple[Drop, ...] = ()  # what the rounds that ended last have decided
        self.num_saved = 0  # by these

    @property
    def is_over(self) -> bool:
        """Whether no trial will be asked for any more."""
        return self.standing.is_over

    @property
    def num_trials_left(self) -> int:
        """The number of trials that later rounds may ask for, at most."""
        if self.is_over:
            return 0
        seeds = len(self.experiment.seeds)
        return sum(seeds - self.standing.num_seeds[config_id] for config_id in self.standing.remaining)

    @property
    def most(self) -> int:
        """The number of trials of the whole race, at most."""
        return len(self.known) + self.num_trials_left

    def replay(self, rows: Mapping[str, TrialRow]) -> None:
        """Decide the rounds whose trials have all ended; rows: by trial id."""
        self.standing = standing_of(self.whole, rows)
        given = {
            (config_id, seed)
            for config_id, count in self.standing.num_seeds.items()
            for seed in self.experiment.seeds[:count]
        }
        asked = [number for number, t in enumerate(self.every) if (t.config_id, t.spec.seed) in given]
        self.known = [self.every[number] for number in asked]
        self.record = replace(self.whole, members=tuple(self.whole.members[number] for number in asked))
        self._awaited = {t.spec.id for t in self.known if t.spec.id not in rows}

    def propose(self, rows: Mapping[str, TrialRow]) -> tuple[Trial, ...]:
        """Return the trials of the next round; empty if there is none (`is_over`), or this one has not ended yet."""
        self.news, self.num_saved = (), 0
        if self.is_over or any(trial_id not in rows for trial_id in self._awaited):
            return ()
        before, most, drops = {t.spec.id for t in self.known}, self.most, self.standing.drops
        self.replay(rows)
        self.news, self.num_saved = self.standing.drops[len(drops) :], most - self.most
        return tuple(t for t in self.known if t.spec.id not in before)
