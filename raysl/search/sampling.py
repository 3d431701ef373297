"""Optuna's samplers over a stage's space, as functions of the proposals asked for and the results told.

A sampler has no other state, so replaying both in the same order restores it.
"""

import logging
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raysl.results.records.proposals import Proposal, Told
from raysl.search.rules import OBJECTIVES
from raysl.search.samplers import SamplerError, build_sampler
from raysl.search.settings import SearchSettings
from raysl.search.space import Dimension, Grid, IntRange, Space, size

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

MOST_REPEATS = 100  # repeated proposals in a row, after which the first remaining config is taken
Params = dict[str, Any]


class Sampler:
    """Proposes configs that were not proposed before.

    The sampler is told that a diverged config is as bad as the worst finished one.  While none has finished, it is told
    that the config was pruned, which samplers rank below all others.  Optuna does not support pruning with several
    objectives; a diverged config then waits until one has finished.
    """

    def __init__(self, settings: SearchSettings, space: Space, objectives: Sequence[str]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.distributions = {key: _distribution(dimension) for key, dimension in space.items()}
        self.single = len(objectives) == 1
        self._worse = [min if OBJECTIVES[name].highest else max for name in objectives]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about samplers that Optuna calls experimental
            self.study = optuna.create_study(
                sampler=build_sampler(settings),
                directions=["maximize" if OBJECTIVES[name].highest else "minimize" for name in objectives],
            )
        self._random = optuna.samplers.RandomSampler(seed=(settings.seed + 1) % 2**32)  # not the sampler's seed
        self.proposals: list[Proposal] = []
        self._worst: list[float] = []  # of each objective
        self._waiting: list[optuna.Trial] = []  # diverged, until one has finished
        self._trials: list[optuna.Trial] = []
        self._numbers: dict[tuple[Any, ...], int] = {}  # index of a proposal, by its values
        self._space = space
        self._known: dict[int, Told] = {}

    def replay(self, proposals: Sequence[Proposal]) -> None:
        """Repeat earlier proposals and results, in their order."""
        for proposal in proposals:
            params = self._ask(proposal.told)
            if params != proposal.params:
                # For example with another version of Optuna: the configs that were proposed and trained are kept.
                log.warning("%s was proposed, and %s is now; the former stands", proposal.params, params)
                self._replace(proposal.params)
            self.proposals.append(proposal)

    def propose(self, told: Sequence[Told]) -> Params | None:
        """Return the next config's values; None if the space has no new config.

        told: the results of earlier configs that came since the last proposal.
        """
        params = self._ask(told)
        if params is not None:
            self.proposals.append(Proposal(dict(params), tuple(told)))
        return params

    def _ask(self, told: Sequence[Told]) -> Params | None:
        for one in told:
            self._known[one.number] = one
            self._tell(self._trials[one.number], one)
        for _ in range(MOST_REPEATS):
            trial = self._suggest()
            before = self._number_of(trial.params)
            if before is None:
                return self._take(trial)
            self._tell(trial, self._known.get(before, Told(before, "failed")))
        left = self._first_left()
        if left is None:
            return None
        self.study.enqueue_trial(left)
        return self._take(self._suggest())

    def _take(self, trial: "optuna.Trial") -> Params:
        params = dict(trial.params)
        self._numbers[self._key(params)] = len(self._trials)
        self._trials.append(trial)
        return params

    def _key(self, params: Params) -> tuple[Any, ...]:
        return tuple(params.get(key) for key in self.distributions)

    def _first_left(self) -> Params | None:
        """Return the first point of a finite space that was not proposed; None if there is none.

        In an infinite space it is a random point, because a sampler that learns nothing from failed configs would
        propose the same one for ever.
        """
        if size(self._space) == sys.maxsize:
            space = self.distributions.items()
            return {key: self._random.sample_independent(self.study, None, key, one) for key, one in space}  # type: ignore[arg-type]
        for index in range(min(size(self._space), len(self._trials) + 1)):
            params = _point(self._space, index)
            if self._number_of(params) is None:
                return params
        return None

    def _suggest(self) -> "optuna.Trial":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.study.ask(self.distributions)

    def _number_of(self, params: Params) -> int | None:
        return self._numbers.get(self._key(params))

    def _tell(self, trial: "optuna.Trial", told: Told) -> None:
        from optuna.trial import TrialState

        diverged = told.status == "diverged"
        if told.status == "finished":
            self._worst = [
                worse(pair) for worse, *pair in zip(self._worse, self._worst or told.values, told.values, strict=True)
            ]
            self.study.tell(trial, list(told.values))
            while self._waiting:
                self.study.tell(self._waiting.pop(0), self._worst)
        elif diverged and self._worst:
            self.study.tell(trial, self._worst)
        elif diverged and not self.single:
            self._waiting.append(trial)
        elif (diverged or told.status == "stopped") and self.single:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def _replace(self, params: Params) -> None:
        if len(self._trials) > len(self.proposals):
            trial = self._trials.pop()
            del self._numbers[self._key(trial.params)]
            self._tell(trial, Told(len(self.proposals), "failed"))
        self.study.enqueue_trial(params)
        self._take(self._suggest())


def draw(settings: SearchSettings, space: Space) -> list[Params]:
    """Return the configs of a random search: independent draws, each config once; a longer search begins with them."""
    assert settings.num_configs is not None, "it is checked"
    random = settings.model_copy(update={"sampler": {"name": "RandomSampler"}})
    sampler = Sampler(random, space, ["train_loss"])
    found: list[Params] = []
    while len(found) < settings.num_configs and (params := sampler.propose(())) is not None:
        found.append(params)
    return found


def rehearse(settings: SearchSettings, space: Space, objectives: Sequence[str]) -> None:
    """Propose a few configs without using them, to find errors of Optuna before anything is trained.

    Raises SamplerError if Optuna refuses the settings.
    """
    try:
        sampler = Sampler(settings, space, objectives)
        sampler.propose(())
        sampler.propose([Told(0, "finished", (0.5,) * len(objectives))])
    except (SamplerError, MemoryError):
        raise
    except Exception as error:
        raise SamplerError(f"{settings.sampler['name']} cannot search this space: {error}") from None


def _distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    from optuna import distributions

    if isinstance(dimension, Grid):
        return distributions.CategoricalDistribution(dimension.values)
    if isinstance(dimension, IntRange):
        return distributions.IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _point(space: Space, index: int) -> Params:
    """Return the point of an index (0-based) in a space, with the last key varying fastest."""
    params: Params = {}
    for key, dimension in reversed(list(space.items())):
        index, place = divmod(index, size({key: dimension}))
        params[key] = dimension.values[place] if isinstance(dimension, Grid) else dimension.low + place
    return {key: params[key] for key in space}


def finite(values: Sequence[float | None]) -> bool:
    """Return whether all values are finite numbers, which a search can be told."""
    return all(value is not None and math.isfinite(value) for value in values)


def told_of(number: int, statuses: Mapping[int, str], values: Sequence[float | None]) -> Told:
    """Return the result that a search is told of a config whose seeds have all ended.

    One seed that has not finished decides the result.  A divergence or a collapse counts against the config; a crash
    does not, because the machine may have caused it.

    statuses: by seed.  values: of the objectives, means over the seeds.
    """
    if all(status == "finished" for status in statuses.values()) and finite(values):
        return Told(number, "finished", tuple(float(value) for value in values if value is not None))
    if {"diverged", "collapsed"} & set(statuses.values()):
        return Told(number, "diverged")
    return Told(number, "stopped" if "stopped" in statuses.values() else "failed")
