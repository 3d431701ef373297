"""Tells a trial that its node is about to be taken away, as a preempted spot instance or a pod that is ended."""

import time
from contextlib import suppress

import ray
from ray._private.state import state
from ray.exceptions import RayError

ASK_SECONDS = 1.0  # least time between two questions to Ray, each of which costs a round trip

_asked = -ASK_SECONDS
_leaving = False  # a drain is never taken back


def is_node_leaving() -> bool:
    """Return whether Ray drains the node of this process, as it does once somebody has told it of the node's end.

    False if Ray does not answer: checkpoints are then as far apart as ever.
    """
    global _asked, _leaving
    if not _leaving and time.monotonic() - _asked >= ASK_SECONDS:
        with suppress(RayError, OSError, RuntimeError):
            _leaving = ray.get_runtime_context().get_node_id() in state.get_draining_nodes()
        _asked = time.monotonic()
    return _leaving
