"""An adaptive search of a stage: each config is proposed from the results of earlier ones; a kill loses nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raysl.results.records.proposals import Told, read_proposals, write_proposal
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.search.config_means import summarise
from raysl.search.experiment import Experiment, Stage
from raysl.search.rules import OBJECTIVES
from raysl.search.sampling import Sampler, told_of
from raysl.search.trials import Datas, Trial, expand, member, stage_record, with_cohorts


class AdaptiveSearch:
    """The configs of an adaptive stage, proposed one by one; each result is a mean over all seeds.

    A proposal is written before it is trained, with the results that the sampler had been told until then.  A search
    that was killed replays these in the same order, and continues as it would have without the kill.
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
        """Begin a stage, or resume it from the results folder.

        starts: seed -> id of the trial that this seed starts from.
        store: the results folder; None if there is none and nothing will be proposed.
        created_at: unix seconds, for a stage that begins now.
        token: the fencing token of the claim to propose configs; 0 without a claim.
        """
        self.experiment, self.stage, self.datas, self.starts, self.store = experiment, stage, datas, starts, store
        self.token = token
        self.record = stage_record(experiment, stage, datas, starts, created_at, ())
        self.sampler = Sampler(stage.settings.search, stage.space, stage.objectives)
        self.sampler.replay(read_proposals(store, self.record.stage_id) if store is not None else [])
        self.trials: list[tuple[Trial, ...]] = []
        for proposal in self.sampler.proposals[: self.most]:
            self._add(proposal.params)
        self.num_saved = 0  # trials that are not needed any more
        self._told = {one.number for proposal in self.sampler.proposals for one in proposal.told}
        self._used_up = False

    @property
    def most(self) -> int:
        """The number of configs of the whole search, at most the size of the space."""
        return self.stage.num_configs

    @property
    def num_left(self) -> int:
        """The number of configs that are left to propose, at most."""
        return 0 if self._used_up else self.most - len(self.trials)

    @property
    def known(self) -> list[Trial]:
        """All its trials so far."""
        return [trial for trials in self.trials for trial in trials]

    @property
    def num_trials_left(self) -> int:
        """The number of trials of the configs that may still be proposed."""
        return self.num_left * len(self.experiment.seeds)

    @property
    def is_over(self) -> bool:
        """Whether nothing will be proposed any more."""
        return self.num_left == 0

    def propose(self, rows: Mapping[str, TrialRow]) -> tuple[Trial, ...]:
        """Return the trials of the next config; an empty tuple if no config is left.

        rows: of the trials that have ended, by id.
        """
        if self.num_left == 0:
            return ()
        told = [one for number in range(len(self.trials)) if (one := self._news(number, rows)) is not None]
        params = self.sampler.propose(told)
        if params is None:
            self._used_up = True
            return ()
        self._told |= {one.number for one in told}
        assert self.store is not None
        number = len(self.sampler.proposals) - 1
        write_proposal(self.store, self.record.stage_id, number, self.token, self.sampler.proposals[number])
        self._add(params)
        return self.trials[-1]

    def _add(self, params: Mapping[str, Any]) -> None:
        config = self.stage.configure(params)
        trials = expand(self.experiment, self.stage, self.datas, self.starts, [config])
        self.trials.append(with_cohorts(trials, self.record.stage_id))
        self.record = replace(self.record, members=(*self.record.members, *map(member, self.trials[-1])))

    def _news(self, number: int, rows: Mapping[str, TrialRow]) -> Told | None:
        """Return a config's result; None if the sampler was told of it already, or a seed has not ended yet."""
        trials = self.trials[number]
        if number in self._told or any(trial.spec.id not in rows for trial in trials):
            return None
        return self._result(number, trials, rows)

    def _result(self, number: int, trials: Sequence[Trial], rows: Mapping[str, TrialRow]) -> Told:
        """Return the result of a config whose trials have ended."""
        [summary] = summarise(replace(self.record, members=tuple(map(member, trials)), race=None), rows, {})
        values = [summary.means.get(OBJECTIVES[name].column) for name in self.stage.objectives]
        return told_of(number, {trial.spec.seed: rows[trial.spec.id].status for trial in trials}, values)
