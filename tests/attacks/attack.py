"""Attack the readers of what comes from outside, and count what becomes of it.

    uv run python tests/attacks/attack.py [--yamls 10000] [--images 2000] [--folders 500] [--seed 0]

YAML of experiments, tables and clusters, its bytes and overrides share the first number; as many Parquet files are
tried as images. Each case has 5 s and 500 MB. What is not accepted or refused in one message is a fault, which is
printed; then the exit code is 1.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from attacks import cluster_yaml, folders, images, overrides, parquet, tables, yaml_bytes, yaml_structure
from attacks.workers import ACCEPTED, REFUSED, outcomes

MOST_SHOWN = 300  # characters of a case with a fault


def attacked(name: str, run: Any, cases: Iterable[Any]) -> int:
    """Print what became of cases; return how many faults there are."""
    counts: Counter[str] = Counter()
    for found in outcomes(run, cases):
        counts["faults" if found.is_fault else found.what] += 1
        if found.is_fault:
            print(f"{name}: {found.what}: {str(found.case)[:MOST_SHOWN]!r}", flush=True)
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in (ACCEPTED, REFUSED, "faults"))
    print(f"{name}: {counts.total()} cases: {kinds}", flush=True)
    return counts["faults"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in (("yamls", 10_000), ("images", 2_000), ("folders", 500)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    of_text = (yaml_structure, yaml_bytes, tables, cluster_yaml, overrides)
    with tempfile.TemporaryDirectory() as scratch:
        faults = sum(
            attacked(kind.__name__, partial(kind.run, folder=Path(scratch)), kind.cases(given.seed, given.yamls // 5))
            for kind in of_text
        )
    for kind, count in ((images, given.images), (parquet, given.images), (folders, given.folders)):
        faults += attacked(kind.__name__, kind.run, kind.cases(given.seed, count))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
