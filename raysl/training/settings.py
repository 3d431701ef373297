"""The settings of optimizers, of learning rate schedules and of early stopping."""

from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, model_validator

from raysl.settings import Settings

Positive = Annotated[float, Gt(0.0)]
NotNegative = Annotated[float, Ge(0.0)]
Beta = Annotated[float, Ge(0.0), Lt(1.0)]


class SGD(Settings):
    """Stochastic gradient descent (torch.optim.SGD).

    name: `sgd`.  lr: learning rate, as it is applied.  momentum: of the gradients' running sum.
    weight_decay: factor of the L2 penalty.  nesterov: whether momentum is Nesterov's.
    """

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
    """Adam, with L2 regularisation as weight decay (torch.optim.Adam).

    name: `adam`.  lr: learning rate, as it is applied.  beta1: decay of the gradients' running mean.
    beta2: decay of the squared gradients' running mean.  weight_decay: factor of the L2 penalty.
    """

    name: Literal["adam"]
    lr: Positive
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: NotNegative = 0.0


class AdamW(Settings):
    """Adam with decoupled weight decay (torch.optim.AdamW).

    name: `adamw`.  lr: learning rate, as it is applied.  beta1: decay of the gradients' running mean.
    beta2: decay of the squared gradients' running mean.  weight_decay: share of the weights, times lr, that a step
    takes off.
    """

    name: Literal["adamw"]
    lr: Positive
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: NotNegative = 0.01


class LARS(Settings):
    """Layer-wise adaptive rates (You et al. 2017, arXiv:1708.03888), without rates and decay for biases and norms.

    name: `lars`.  lr: learning rate, as it is applied.  momentum: of the updates' running sum.
    weight_decay: factor of the L2 penalty.  trust: factor of the ratio of the weights' norm to the gradient's.
    """

    name: Literal["lars"]
    lr: Positive
    momentum: Beta = 0.9
    weight_decay: NotNegative = 0.0
    trust: Positive = 0.001


OptimizerSettings = Annotated[SGD | Adam | AdamW | LARS, Field(discriminator="name")]


class Constant(Settings):
    """A constant learning rate.

    name: `constant`.
    """

    name: Literal["constant"]


class Cosine(Settings):
    """A linear warm-up, then half a cosine down to 0, step by step.

    name: `cosine`.  warmup [epochs]: length of the warm-up, less than the stage's epochs.
    """

    name: Literal["cosine"]
    warmup: NotNegative = 0.0


class PartialCosine(Settings):
    """lr(k) = lr0 cos(share pi k / K) for step k of K: part of a cosine, which does not end at 0.

    name: `partial_cosine`.  share: of half a period; 7/16 is FixMatch's (Sohn et al. 2020, section 2.4).
    """

    name: Literal["partial_cosine"]
    share: Annotated[float, Gt(0.0), Le(0.5)] = 0.4375


class Poly(Settings):
    """lr(k) = lr0 (1 - k / K)^power for step k of K, as DeepLab has it (Chen et al. 2018, arXiv:1606.00915).

    name: `poly`.  power: of the share of steps that is left.
    """

    name: Literal["poly"]
    power: Positive = 0.9


class Exponential(Settings):
    """lr(e) = lr0 exp(-rate max(0, e - hold E)) for epoch e of E (Cavallari & Ponti 2022, section 3.1).

    name: `exponential`.  hold: share of the epochs in which the learning rate stays lr0.
    rate [per epoch]: rate of the decay.
    """

    name: Literal["exponential"]
    hold: Annotated[float, Ge(0.0), Le(1.0)] = 0.05
    rate: NotNegative = 0.01


ScheduleSettings = Annotated[Constant | Cosine | PartialCosine | Poly | Exponential, Field(discriminator="name")]


class Asha(Settings):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934).

    After `grace`, `grace * reduction`, ... epochs a trial goes on only if its loss is among the lowest 1 / reduction of
    its cohort's losses at that epoch.

    scheduler: `asha`.  grace [epochs]: epochs before the first comparison.
    reduction: of this number of trials one goes on.
    """

    scheduler: Literal["asha"]
    grace: Annotated[int, Ge(1)] = 1
    reduction: Annotated[int, Ge(2)] = 3


class MedianRule(Settings):
    """The median stopping rule (Golovin et al. 2017, "Google Vizier").

    From `grace` epochs on, a trial ends if its lowest loss so far is above the median of the mean losses of its cohort
    until then, if at least `min_peers` trials are as far.

    scheduler: `median`.  grace [epochs]: epochs before the first comparison.
    min_peers [trials]: fewest trials of the cohort that are compared with.
    """

    scheduler: Literal["median"]
    grace: Annotated[int, Ge(1)] = 5
    min_peers: Annotated[int, Ge(1)] = 3


StopSettings = Annotated[Asha | MedianRule, Field(discriminator="scheduler")]
