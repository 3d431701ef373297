"""How often the 95 % intervals of `raysl variance` hold the truth, on designs simulated from known components.

    uv run python tests/benchmarks/variance_coverage.py [--designs 2000]

Prints, for each design, each component's truth, its mean estimate, which is too high where estimates are cut off at 0,
and the coverage of the intervals of its variance and its share.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from raysl.statistics.variance import Effect, components

DESIGNS: Sequence[tuple[str, tuple[int, ...], bool, Mapping[Effect, float]]] = (
    ("4 x 3 x 3, the first dominates", (4, 3, 3), False, {(0,): 4, (1,): 1, (2,): 0.25, (0, 1): 0.5, (0, 1, 2): 1}),
    ("4 x 3 x 3, residual alone", (4, 3, 3), False, {(0, 1, 2): 1}),
    ("10 x 10, equal", (10, 10), False, {(0,): 1, (1,): 1, (0, 1): 1}),
    ("5 x 2, small second", (5, 2), False, {(0,): 1, (1,): 0.1, (0, 1): 1}),
    ("5 > 3 > 2", (5, 3, 2), True, {(0,): 2, (0, 1): 1, (0, 1, 2): 0.5}),
)


def simulated(levels: tuple[int, ...], truth: Mapping[Effect, float], rng: np.random.Generator) -> np.ndarray:
    """Return the values of one design, with a mean of 80."""
    values = np.full(levels, 80.0)
    for effect, variance in truth.items():
        shape = [size if place in effect else 1 for place, size in enumerate(levels)]
        values = values + rng.normal(0.0, variance**0.5, shape)
    return values


def coverage(
    levels: tuple[int, ...], nested: bool, truth: Mapping[Effect, float], num: int, seed: int = 0
) -> Iterator[tuple[Effect, float, float, float]]:
    """Yield effect, mean estimate, and how often the intervals of variance and share hold the truth."""
    rng = np.random.default_rng(seed)
    found = [components(simulated(levels, truth, rng), nested=nested) for _ in range(num)]
    whole = sum(truth.values())
    for own in zip(*found, strict=True):
        true = truth.get(own[0].effect, 0.0)
        held = [one.variance_interval[0] <= true <= one.variance_interval[1] for one in own]
        shared = [one.share_interval[0] <= true / whole <= one.share_interval[1] for one in own]
        estimate = np.mean([one.variance for one in own])
        yield own[0].effect, float(estimate), float(np.mean(held)), float(np.mean(shared))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designs", type=int, default=2000, help="simulated, of each kind")
    num = parser.parse_args().designs
    for name, levels, nested, truth in DESIGNS:
        print(name)
        for effect, estimate, variance, share in coverage(levels, nested, truth, num):
            factors = "ABC"[effect[-1]] if nested else "".join("ABC"[place] for place in effect)
            print(
                f"  {factors:4} truth {truth.get(effect, 0.0):5.2f}  mean estimate {estimate:5.2f}  "
                f"coverage: variance {variance:.3f}, share {share:.3f}"
            )


if __name__ == "__main__":
    main()
