"""No training at all: a stage of this method measures what an earlier stage has learnt, by a probe of its own."""

from collections.abc import Mapping

from raysl.methods._method import Method, ViewSpec
from raysl.models.encoder import Encoder


class Frozen(Method):
    """Trains nothing: what an earlier stage has learnt is probed as it is."""

    streams = ()

    def __init__(self, encoder: Encoder, num_classes: int) -> None:
        super().__init__(encoder)

    def views(self) -> Mapping[str, ViewSpec]:
        return {}
