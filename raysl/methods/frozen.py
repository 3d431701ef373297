"""No training: a stage of this method measures the encoder of an earlier stage, or given weights, by its own probe."""

from collections.abc import Mapping

from raysl.methods._method import Method, ViewSpec
from raysl.models.encoder import Encoder


class Frozen(Method):
    """Trains nothing: the encoder of an earlier stage, or that of `model.weights`, is probed as it is."""

    streams = ()

    def __init__(self, encoder: Encoder, num_classes: int) -> None:
        super().__init__(encoder)

    def views(self) -> Mapping[str, ViewSpec]:
        return {}
