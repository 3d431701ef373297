"""What Ray is told before it is imported."""

import subprocess
import sys


def test_workers_do_not_start_through_uv() -> None:
    """Ray takes this from the environment once, at its import: set later, every worker process would start `uv run`."""
    code = (
        "import raysl.launch.cluster, raysl.launch.schedule; from ray._private import ray_constants as ray; "
        "print(ray.RAY_ENABLE_UV_RUN_RUNTIME_ENV)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
