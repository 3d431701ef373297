"""Brings up GPU workers and runs a command, such as `raysl tune`, once they are there.  To be started on the head:

    python cluster/workers.py 4 raysl tune FILE --set resources.gpus=1 --address auto

A stage takes at once as many trials as the nodes that are there when it begins hold, and a search that finds none for a
trial is refused; so an autoscaling cluster that has only its head must be asked for workers first.
"""

import os
import sys
import time

import ray
from ray.autoscaler.sdk import request_resources

PATIENCE = 900.0  # seconds to wait for all the GPUs; after that, one will do


def main() -> None:
    """Ask for as many workers of one GPU each as the first argument says, then become the command in the others."""
    wanted, command = int(sys.argv[1]), sys.argv[2:]
    ray.init(address="auto", log_to_driver=False)
    request_resources(bundles=[{"GPU": 1}] * wanted)
    end = time.monotonic() + PATIENCE
    while (there := _gpus()) < (wanted if time.monotonic() < end else 1):
        time.sleep(5)
    # From here on the trials' own needs keep nodes up or bring new ones.
    request_resources(bundles=[])
    ray.shutdown()
    sys.stderr.write(f"{there} of {wanted} GPUs are there\n")
    os.execvp(command[0], command)


def _gpus() -> int:
    return int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
