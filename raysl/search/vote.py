"""The vote of several criteria: configs are compared by their mean rank; pure functions of configs over their seeds."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Annotated

from annotated_types import MaxLen, MinLen

from raysl.results.criteria import CRITERIA, VOTE, CriterionName, asked_for, vote_name
from raysl.results.tables.build import ConfigSummary
from raysl.settings import EachOnce, Settings

_SIGNS = {criterion.name: -1 if criterion.highest else 1 for criterion in CRITERIA}


class Vote(Settings):
    """The rule by which several criteria choose: the config with the lowest mean rank.

    vote: the criteria, at least two.
    """

    vote: Annotated[EachOnce[CriterionName], MinLen(2), MaxLen(len(CRITERIA))]

    @property
    def name(self) -> str:
        """The name of the rule, the same whatever the order of the criteria."""
        return vote_name(asked_for(self.vote))


def mean_ranks(means: Mapping[str, Mapping[str, float]], criteria: Sequence[CriterionName]) -> dict[str, float]:
    """Return the mean rank by some criteria of each config that has all of them, by id; lower is better.

    means: over the seeds, by config and criterion.
    Each criterion ranks these configs, from 1 for the best on; configs of equal values share the mean of their ranks.
    Every criterion counts the same.
    """
    able = [config for config, own in means.items() if all(name in own for name in criteria)]
    ranks = [_ranks([_SIGNS[name] * means[config][name] for config in able]) for name in criteria]
    return {config: fmean(own) for config, *own in zip(able, *ranks, strict=True)}


def with_mean_ranks(summaries: Sequence[ConfigSummary], criteria: Sequence[CriterionName]) -> list[ConfigSummary]:
    """Return configs, the eligible ones that have a mean rank (`mean_ranks`) with it as the mean `VOTE`."""
    ranks = mean_ranks({one.config_id: one.means for one in summaries if one.eligible}, criteria)
    return [
        replace(one, means={**one.means, VOTE: ranks[one.config_id]}) if one.config_id in ranks else one
        for one in summaries
    ]


def first_choices(voting: Sequence[ConfigSummary], criteria: Sequence[CriterionName]) -> dict[CriterionName, str]:
    """Return the id of the config that each criterion alone would select; of equal values, the first of the search.

    voting: the configs that have a mean rank, in the order of the search.
    """
    return {
        name: min(voting, key=lambda one, name=name: _SIGNS[name] * one.means[name]).config_id  # type: ignore[misc]
        for name in criteria
        if voting
    }


def _ranks(costs: Sequence[float]) -> list[float]:
    ordered = sorted(costs)
    return [(bisect_left(ordered, cost) + bisect_right(ordered, cost) + 1) / 2 for cost in costs]
