"""The label-free criteria of trained features: one place that names their rules, their columns and their words.

A criterion is measured on features of unlabelled training images, without labels and without the test set.  Its name
is that of its rule and of its column.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

CriterionName = Literal["rankme", "lidar", "alpha_req", "alignment", "uniformity", "ami"]  # of each of CRITERIA


@dataclass(frozen=True)
class Criterion:
    """One criterion.

    words: its name in a sentence.  highest: whether a higher value is better.  meaning: what its value is.
    """

    name: CriterionName
    words: str
    highest: bool
    meaning: str


CRITERIA = (
    Criterion("rankme", "RankMe", True, "RankMe: effective rank of the features"),
    Criterion("lidar", "LiDAR", True, "LiDAR: effective rank of the features' differences between images"),
    Criterion("alpha_req", "|alpha-ReQ - 1|", False, "alpha-ReQ: |alpha - 1| for eigenvalues that decay as i^-alpha"),
    Criterion("alignment", "alignment", False, "alignment: mean squared distance of two views of an image"),
    Criterion("uniformity", "uniformity", False, "uniformity: log of the mean Gaussian potential of two images"),
    Criterion("ami", "k-means AMI", True, "adjusted mutual information of two k-means clusterings"),
)
CRITERION_NAMES = tuple(criterion.name for criterion in CRITERIA)
VOTE = "vote"  # the column of configs' mean ranks by the criteria of a vote
_ONE = "|".join(CRITERION_NAMES)
_VOTE = rf"^vote\(({_ONE})(, ({_ONE}))+\)$"
VoteName = Annotated[str, Field(pattern=_VOTE)]


def measured_criteria(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the criteria, and the mean rank of a vote, of which a row of the table of configs has a mean."""
    rows = list(configs)
    return [name for name in (*CRITERION_NAMES, VOTE) if any(row.get(f"{name}_mean") is not None for row in rows)]


def vote_name(criteria: Iterable[CriterionName]) -> str:
    """Return the name of the rule by which several criteria vote: `vote(rankme, ami)`."""
    return f"{VOTE}({', '.join(criteria)})"


def voters(rule: str) -> tuple[CriterionName, ...]:
    """Return the criteria that vote in a rule, by its name; none if it is no vote."""
    if not re.fullmatch(_VOTE, rule):
        return ()
    named = rule.removeprefix(f"{VOTE}(").removesuffix(")").split(", ")
    return tuple(name for name in CRITERION_NAMES if name in named)


def asked_for(names: Iterable[str]) -> tuple[CriterionName, ...]:
    """Return the criteria that are to be measured for some rules, objectives and criteria, each once."""
    names = [*names]
    wanted = {*names, *(voter for name in names for voter in voters(name))}
    return tuple(name for name in CRITERION_NAMES if name in wanted)
