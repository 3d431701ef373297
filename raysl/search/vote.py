"""The vote of several criteria: configs are compared by their mean rank; pure functions of configs over their seeds."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Annotated

from annotated_types import MaxLen, MinLen

from raysl.results.criteria import CRITERIA, VOTE, CriterionName, asked_for, vote_name
from raysl.results.tables.build import ConfigSummary
from raysl.settings import Settings

_SIGNS = {criterion.name: -1 if criterion.highest else 1 for criterion in CRITERIA}


class Vote(Settings):
    """The rule by which several criteria choose: the config with the lowest mean rank.

    vote: the criteria, at least two; each counts once.
    """

    vote: Annotated[list[CriterionName], MinLen(2), MaxLen(len(CRITERIA))]

    @property
    def name(self) -> str:
        """The name of the rule, the same whatever the order of the criteria."""
        return vote_name(asked_for(self.vote))


def with_mean_ranks(summaries: Sequence[ConfigSummary], criteria: Sequence[CriterionName]) -> list[ConfigSummary]:
    """Return configs, those that all criteria can compare with their mean rank as the mean `VOTE`; lower is better.

    Each criterion ranks these configs by their means over the seeds, from 1 for the best on; configs of equal values
    share the mean of their ranks.  Every criterion counts the same.
    """
    able = [one for one in summaries if one.eligible and all(name in one.means for name in criteria)]
    ranks = [_ranks([_cost(one, name) for one in able]) for name in criteria]
    means = {one.config_id: fmean(own) for one, *own in zip(able, *ranks, strict=True)}
    return [
        replace(one, means={**one.means, VOTE: means[one.config_id]}) if one.config_id in means else one
        for one in summaries
    ]


def first_choices(voting: Sequence[ConfigSummary], criteria: Sequence[CriterionName]) -> dict[CriterionName, str]:
    """Return the id of the config that each criterion alone would select; of equal values, the first of the search.

    voting: the configs that have a mean rank, in the order of the search.
    """
    return {name: min(voting, key=lambda one: _cost(one, name)).config_id for name in criteria if voting}


def _cost(summary: ConfigSummary, name: CriterionName) -> float:
    return _SIGNS[name] * summary.means[name]


def _ranks(costs: Sequence[float]) -> list[float]:
    ordered = sorted(costs)
    return [(bisect_left(ordered, cost) + bisect_right(ordered, cost) + 1) / 2 for cost in costs]
