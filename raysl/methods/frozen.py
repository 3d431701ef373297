"""No training: a stage of this method measures the encoder of an earlier stage, or given weights, by its own probe."""

from collections.abc import Mapping

from torch import nn

from raysl.methods._method import Evaluation, Method, ViewSpec
from raysl.models.encoder import Encoder


class Frozen(Method):
    """Trains nothing: the encoder of an earlier stage, or that of `model.weights`, is probed as it is."""

    streams = ()

    def __init__(self, encoder: Encoder, num_classes: int) -> None:
        super().__init__(encoder)
        self.classifier: nn.Module | None = None  # that of the earlier stage, where it is what is measured

    def views(self) -> Mapping[str, ViewSpec]:
        return {}

    def evaluation(self) -> Evaluation:
        return Evaluation(self.encoder, self.classifier)
