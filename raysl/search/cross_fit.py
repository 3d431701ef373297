"""The rule of cross-fitted accuracy, as a stage's settings have it."""

from typing import Annotated

from annotated_types import Ge, Le

from raysl.results.cross_fit import cross_fit_name
from raysl.settings import Settings

MOST_FOLDS = 20


class CrossFit(Settings):
    """The rule that trains each config without the labels of a fold of the labelled images, and compares them on it.

    cross_fit [folds]: the number of stratified folds of each seed's labelled training images, and of trials of each
        config and seed; every class needs an image for each fold.
    """

    cross_fit: Annotated[int, Ge(2), Le(MOST_FOLDS)]

    @property
    def name(self) -> str:
        """The name of the rule."""
        return cross_fit_name(self.cross_fit)
