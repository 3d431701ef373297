"""Whether this process is already connected to a Ray cluster before a search.  Does not import ray."""

import sys


def is_connected() -> bool:
    """Return whether this process has called `ray.init` before, or is one of Ray's workers."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def has_other_nodes() -> bool:
    """Return whether this process is in a cluster of several nodes."""
    return is_connected() and sum(node["Alive"] for node in sys.modules["ray"].nodes()) > 1
