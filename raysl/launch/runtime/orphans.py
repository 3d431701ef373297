"""Removes placement groups that a killed trial of several workers leaves behind.

Ray Train has an actor that removes them, but it needs Ray's dashboard, which does not always run (ray#54305).
Until they are removed, the search cannot use the resources that they reserve.
"""

from typing import Any

import ray
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group


def remove_orphans() -> None:
    """Remove this driver's placement groups whose creator is dead."""
    job = ray.get_runtime_context().get_job_id()
    for text in state._connect_and_get_accessor().get_placement_group_table():
        group = gcs_pb2.PlacementGroupTableData.FromString(text)  # type: ignore[attr-defined]
        if group.creator_job_id.hex() == job and _is_orphan(group):
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def _is_orphan(group: Any) -> bool:
    if group.state == gcs_pb2.PlacementGroupTableData.REMOVED:  # type: ignore[attr-defined]
        return False
    # A group that the driver itself has created has no actor, but Ray reports its actor as dead.
    return bool(group.creator_actor_dead) and not ray.ActorID(group.creator_actor_id).is_nil()
