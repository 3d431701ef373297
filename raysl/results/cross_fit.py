"""The rule of cross-fitted accuracy: its name and its column.

Each config is trained once for each fold of a seed's labelled training images, without the labels of the fold.  The
images of the fold are then classified.  A seed's value is the mean accuracy over its folds.
"""

import re
from typing import Annotated

from pydantic import Field

CROSS_FITTED = "cross_fit_accuracy"  # the column of a seed's value
_NAME = r"^cross_fit\(([1-9][0-9]*)\)$"
CrossFitName = Annotated[str, Field(pattern=_NAME)]


def cross_fit_name(folds: int) -> str:
    """Return the name of the rule with a number of folds: `cross_fit(4)`."""
    return f"cross_fit({folds})"


def folds_of(rule: str) -> int | None:
    """Return the number of folds of a rule, by its name; None if it is not cross-fitted."""
    found = re.fullmatch(_NAME, rule)
    return None if found is None else int(found[1])
