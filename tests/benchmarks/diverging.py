"""What a sampler learns from configs that diverge: a synthetic search, most of whose learning rates do.

    uv run python tests/benchmarks/diverging.py [--sampler TPESampler] [--configs 30] [--seeds 20]

Of a learning rate over eight decades the upper share diverges; the optimum lies 0.6 decades below its edge. Prints, for
configs told as failed (as searches of before go on) and as diverged, the share of configs that diverged, and the median
and the worst of the best values, 0 at the optimum.
"""

import argparse
import math
import statistics
from typing import NamedTuple

from raysl.results.records.proposals import Told
from raysl.search.sampling import Params, Sampler
from raysl.search.settings import SearchSettings
from raysl.search.space import Range, Space

SPACE: Space = {"lr": Range(1e-4, 1e4, log=True), "w": Range(0.0, 1.0)}
DECADES = 8
SHARES = (0.5, 0.875)


class Found(NamedTuple):
    """diverged: share of the configs.  best: lowest value of those that finished, infinite if none did."""

    diverged: float
    best: float


def searched(seed: int, share: float, status: str, num_configs: int = 30, sampler: str = "TPESampler") -> Found:
    """Search with a sampler that is told of each config before it is asked for the next.

    share: of the space, that diverges.  status: that such configs are told with.
    """
    settings = SearchSettings(algorithm="optuna", num_configs=num_configs, seed=seed, sampler={"name": sampler})
    asked, told, values = Sampler(settings, SPACE, ["train_loss"]), [], []
    for number in range(num_configs):
        params = asked.propose(told)
        if params is None:  # it proposes nothing new any more
            break
        value = loss(params, share)
        values.append(value)
        told = [Told(number, "finished", (value,)) if math.isfinite(value) else Told(number, status)]  # type: ignore[arg-type]
    return Found(sum(map(math.isinf, values)) / len(values), min(values))


def loss(params: Params, share: float) -> float:
    """Return a loss; infinite where training diverges."""
    edge = DECADES * (1 - share) - 4
    place = math.log10(params["lr"])
    return math.inf if place > edge else (place - edge + 0.6) ** 2 / 4 + (params["w"] - 0.3) ** 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sampler", default="TPESampler")
    parser.add_argument("--configs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    for share in SHARES:
        for status in ("failed", "diverged"):
            seeds = range(arguments.seeds)
            found = [searched(seed, share, status, arguments.configs, arguments.sampler) for seed in seeds]
            share_found, best = statistics.fmean(one.diverged for one in found), [one.best for one in found]
            print(
                f"{share:.3g} of the space diverges, told as {status}: {share_found:.2f} of the configs diverged;",
                end=" ",
            )
            print(f"best: median {statistics.median(best):.4f}, worst {max(best):.4f}")


if __name__ == "__main__":
    main()
