"""What Ray is told before it is imported."""

import subprocess
import sys

import pytest

INITIALISED = """
import ray
from raysl.launch.cluster.ray_cluster import cluster

def init(**options):
    print(ray._private.ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV)

ray.init, ray.shutdown = init, lambda: None
with cluster(None):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "import ray\n"])
def test_workers_do_not_start_through_uv(first: str) -> None:
    """Ray takes this from the environment once, at its import; without it, every worker process starts `uv run`.

    first: what a script has imported before raysl.
    """
    code = "import raysl.launch.runtime.tune_runner\n" * (not first) + first + INITIALISED
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
