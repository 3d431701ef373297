"""What an experiment says of its probes."""

from typing import Annotated

from annotated_types import Ge, Gt

from raysl.settings import Settings


class LinearSVM(Settings):
    """A linear SVM on standardised features; `folds` are those of the cross-validation on D_l."""

    C: Annotated[float, Gt(0.0)] = 1.0
    folds: Annotated[int, Ge(2)] = 5


class ProbesSettings(Settings):
    """The probes of an experiment, by name."""

    linear_svm: LinearSVM = LinearSVM()
