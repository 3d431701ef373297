"""Ray nodes on this machine, with the processes alone that a search needs.

Each process that is left out imports for seconds while those of the trials start.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray._private.node
import ray._private.services
import ray._private.utils
import ray._raylet
from ray._private import ray_constants

from raysl.launch.replaced import replaced

raylet: Any = ray._raylet  # without types
AGENT_PORTS = ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME")
# A raylet needs an agent's process, and ends when it ends.
IDLE = """\
import os, time
while os.getppid() == int(os.environ["RAY_RAYLET_PID"]):
    time.sleep(1)
"""


@contextmanager
def local_nodes() -> Iterator[None]:
    """Make Ray start a `_LocalNode`, and set no SIGTERM handler: its own would wait half a minute for a drain."""
    with (
        replaced(ray._private.utils, set_sigterm_handler=lambda handler: None),
        replaced(ray._private.node, Node=_LocalNode),
    ):
        yield


class _LocalNode(ray._private.node.Node):
    """A Ray node without the processes of dashboard, logs and autoscaler; `ray.init` would wait for the first."""

    def start_api_server(self, **options: object) -> None:
        """Do not start the dashboard's server, which Ray starts even without the dashboard."""

    def start_log_monitor(self) -> None:
        """Do not start the process that sends the workers' output to the driver."""

    def start_monitor(self) -> None:
        """Do not start the autoscaler."""

    def start_raylet(self, *arguments: Any, **options: Any) -> None:
        """Start a raylet whose agent of the dashboard serves nothing, as that of a Ray without dashboard."""
        for name in AGENT_PORTS:
            raylet.persist_port(self._session_dir, self._node_id, getattr(raylet, name), -1)  # not in use
        with _idle_dashboard_agent():
            super().start_raylet(*arguments, **options)


@contextmanager
def _idle_dashboard_agent() -> Iterator[None]:
    command = ray._private.services._build_python_executable_command_memory_profileable

    def idle(component: str, *arguments: Any, **options: Any) -> list[str]:
        if component == ray_constants.PROCESS_TYPE_DASHBOARD_AGENT:
            return [sys.executable, "-I", "-S", "-c", IDLE]
        return list(command(component, *arguments, **options))

    with (
        replaced(ray._private.services, _build_python_executable_command_memory_profileable=idle),
        # It would import the dashboard's dependencies, to see whether they are there.
        replaced(ray._private.utils, get_dashboard_dependency_error=lambda: None),
    ):
        yield
