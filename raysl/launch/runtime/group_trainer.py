"""Ray Train's trainer, with the processes alone that a group of workers needs.

Ray starts five more, each of which imports for seconds and stays in memory while the group is there:

- the controller, an actor; here it runs in the process that asks for the group,
- the manager of Ray Data's sets, of which raysl has none,
- the actor that removes the placement group of a dead controller, as `orphans` does,
- the coordinator of requests to the autoscaler. It outlives the search, and a killed trial's request stands for three
  minutes; the placement group alone asks for the same nodes, for as long as it is there,
- the actor through which workers wait for each other in `ray.train.report`; raysl's report through a courier.
"""

import asyncio
from typing import Any

from ray.train import Result
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import state, worker_group
from ray.train.v2.api import data_parallel_trainer

from raysl.launch.replaced import replaced


class GroupTrainer(TorchTrainer):
    """Trains with workers of a fixed number, and controls them from this process, which must be an actor's."""

    def fit(self) -> Result:
        """Return the result of the workers' function once all of them have ended; raises what ended one of them."""
        with (
            replaced(data_parallel_trainer, create_scaling_policy=_FixedSize),
            replaced(worker_group, SynchronizationActor=_NoActor()),
            replaced(state, _shutdown_sync_actor=lambda actor: None),
        ):
            return super().fit()

    def _create_default_callbacks(self) -> list[Any]:
        left_out = (DatasetsCallback, PlacementGroupCleanerCallback)
        found = super()._create_default_callbacks()  # type: ignore[misc]  # its types are those of the first version
        return [callback for callback in found if not isinstance(callback, left_out)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Result:
        controller = TrainController(**arguments)
        asyncio.run(controller.run())  # type: ignore[no-untyped-call]
        return controller.get_result()


class _FixedSize(FixedScalingPolicy):
    """A group of as many workers as are asked for, by its placement group alone."""

    def after_controller_start(self, train_run_context: object) -> None:
        """Start no coordinator."""

    def _maybe_send_resource_request(self) -> None:
        """Send none: the placement group is one."""


class _NoActor:
    """Stands for an actor that nobody calls."""

    def options(self, **options: object) -> "_NoActor":
        """Return itself."""
        return self

    def remote(self, **arguments: object) -> "_NoActor":
        """Return itself: no process is started."""
        return self
