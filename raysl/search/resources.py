"""The resources of a trial."""

from typing import Annotated, Self

from annotated_types import Ge
from pydantic import model_validator

from raysl.settings import Settings


class Resources(Settings):
    """The resources of one trial.  Nothing here changes a trial's numbers beyond rounding.

    workers: DDP processes that share each batch.
    cpus: CPU cores of each worker, and the number of its threads.
    gpus: GPUs of each worker; a fraction lets trials share one.
    checkpoint_seconds [s]: least time between two checkpoints of a trial.
    """

    workers: Annotated[int, Ge(1)] = 1
    cpus: Annotated[int, Ge(1)] = 1
    gpus: Annotated[float, Ge(0.0)] = 0.0
    checkpoint_seconds: Annotated[float, Ge(0.0)] = 30.0

    @model_validator(mode="after")
    def _whole_cards(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError("gpus: above 1, Ray gives whole GPUs only")
        return self
