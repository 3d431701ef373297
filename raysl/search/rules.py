"""The rules that compare a stage's configs, and the objectives of a search.

No rule and no objective names a test score, so none can read it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from raysl.results.criteria import CRITERIA, VOTE, voters
from raysl.results.cross_fit import CROSS_FITTED, folds_of
from raysl.results.metrics import METRICS
from raysl.search.vote import mean_ranks


class Rule(NamedTuple):
    """column: the column of rows that is averaged over the seeds.  highest: whether higher is better.

    lacking: why a finished trial may have no value.
    """

    column: str
    words: str
    highest: bool
    lacking: str = "a class has fewer than 2 labelled training images"


class _Rules(dict[str, Rule]):
    """Rules by name; those of a vote and of cross-fitted accuracy are made from their names."""

    def __missing__(self, name: str) -> Rule:
        if folds := folds_of(name):
            words = f"mean cross-fitted accuracy ({folds} folds)"
            return Rule(
                CROSS_FITTED, words, highest=True, lacking="the model of a fold was gone before it was measured"
            )
        if not (names := voters(name)):
            raise KeyError(name)
        return Rule(VOTE, f"mean rank by {', '.join(names[:-1])} and {names[-1]}", highest=False, lacking=UNMEASURED)


UNMEASURED = "features of a trial have no such value, or its model was gone before they were measured"
RULES: dict[str, Rule] = _Rules(
    train_loss=Rule("final_loss", "mean final training loss", highest=False),
    **{
        metric.probe: Rule(metric.probe, f"mean probe {metric.words} on the labelled training images", highest=True)
        for metric in METRICS
    },
    **{one.name: Rule(one.name, f"mean {one.words}", one.highest, UNMEASURED) for one in CRITERIA},
)
# The objectives that a search can have: the values of rules, and the training time.
OBJECTIVES = RULES | {"seconds": Rule("seconds", "mean training time", highest=False)}


def best_by(name: str, means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the ids of the configs that a rule puts first, those of equal values in the order of the search.

    means: over the seeds, by config and column; a config without the rule's value is left out.
    """
    rule, names = RULES[name], voters(name)
    values = (
        mean_ranks(means, names) if names else {i: own[rule.column] for i, own in means.items() if rule.column in own}
    )
    best = (max if rule.highest else min)(values.values(), default=None)
    return [config for config, value in values.items() if value == best]
