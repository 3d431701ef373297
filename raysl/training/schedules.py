"""Schedules of the learning rate over the epochs; no torch."""

import math

from raysl.training.settings import Constant, Cosine, Exponential, PartialCosine, Poly, ScheduleSettings


def lr_factor(settings: ScheduleSettings, position: float, epochs: int) -> float:
    """Return the factor of the learning rate.

    position: epochs done so far, including the fraction of the current one, from 0 to `epochs`.
    """
    match settings:
        case Constant():
            return 1.0
        case Exponential(hold=hold, rate=rate):
            return math.exp(-rate * max(0.0, math.floor(position) - hold * epochs))
        case PartialCosine(share=share):
            return math.cos(share * math.pi * position / epochs)
        case Poly(power=power):
            return math.pow(1 - position / epochs, power)
        case Cosine(warmup=warmup):
            if position < warmup:
                return position / warmup
            return _half_cosine((position - warmup) / (epochs - warmup)) if epochs > warmup else 1.0


def _half_cosine(part: float) -> float:
    return (1.0 + math.cos(math.pi * part)) / 2.0
