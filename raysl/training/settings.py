"""The settings of optimizers, of learning rate schedules and of early stopping."""

from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, model_validator

from raysl.settings import Settings

Positive = Annotated[float, Gt(0.0)]
NotNegative = Annotated[float, Ge(0.0)]
Beta = Annotated[float, Ge(0.0), Lt(1.0)]


class SGD(Settings):
    """Stochastic gradient descent (torch.optim.SGD)."""

    name: Literal["sgd"]
    lr: Positive
    momentum: Beta = 0.9
    weight_decay: NotNegative = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: needs a momentum above 0")
        return self


class Adam(Settings):
    """Adam, with L2 regularisation as weight decay (torch.optim.Adam)."""

    name: Literal["adam"]
    lr: Positive
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: NotNegative = 0.0


class AdamW(Settings):
    """Adam with decoupled weight decay (torch.optim.AdamW)."""

    name: Literal["adamw"]
    lr: Positive
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: NotNegative = 0.01


class LARS(Settings):
    """Layer-wise adaptive rates (You et al. 2017, arXiv:1708.03888), without rates and decay for biases and norms."""

    name: Literal["lars"]
    lr: Positive
    momentum: Beta = 0.9
    weight_decay: NotNegative = 0.0
    trust: Positive = 0.001


OptimizerSettings = Annotated[SGD | Adam | AdamW | LARS, Field(discriminator="name")]


class Constant(Settings):
    """A constant learning rate."""

    name: Literal["constant"]


class Cosine(Settings):
    """A linear warm-up over `warmup` epochs, then half a cosine down to 0, step by step."""

    name: Literal["cosine"]
    warmup: NotNegative = 0.0


class Exponential(Settings):
    """lr(e) = lr0 exp(-rate max(0, e - hold E)) for epoch e of E (Cavallari & Ponti 2022, section 3.1)."""

    name: Literal["exponential"]
    hold: Annotated[float, Ge(0.0), Le(1.0)] = 0.05
    rate: NotNegative = 0.01


ScheduleSettings = Annotated[Constant | Cosine | Exponential, Field(discriminator="name")]


class Asha(Settings):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934).

    After `grace`, `grace * reduction`, ... epochs a trial goes on only if its loss is among the lowest 1 / reduction of
    its cohort's losses at that epoch.
    """

    scheduler: Literal["asha"]
    grace: Annotated[int, Ge(1)] = 1
    reduction: Annotated[int, Ge(2)] = 3


class MedianRule(Settings):
    """The median stopping rule (Golovin et al. 2017, "Google Vizier").

    From `grace` epochs on, a trial ends if its lowest loss so far is above the median of the mean losses of its cohort
    until then, if at least `min_peers` trials are as far.
    """

    scheduler: Literal["median"]
    grace: Annotated[int, Ge(1)] = 5
    min_peers: Annotated[int, Ge(1)] = 3


StopSettings = Annotated[Asha | MedianRule, Field(discriminator="scheduler")]
