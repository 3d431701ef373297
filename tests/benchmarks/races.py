"""How often a race drops the truly best config, and how many trials it saves, against other rules of the field.

    uv run python tests/benchmarks/races.py [--races 10000] [--configs 3 9 20] [--seeds 3 5 10 20]
    uv run python tests/benchmarks/races.py --folder RESULTS     # the trials of a finished search, seeds reordered

Losses are drawn: config's mean + seed's effect, shared by all configs, + noise of unit variance.

- `equal`: all configs have the same mean, and the one that counts as the best is easiest to lose.
- `spread`: the k-th of K configs is 8 (k / (K - 1))^2 standard deviations of the noise worse than the best.

Noise is normal, Student's t with 3 degrees of freedom, lognormal (sigma 1), or normal with losses rounded to steps of
0.8 standard deviations, as accuracies of 40 images are.  `unlike` breaks the assumption of the test on purpose: the
best has a tenth of the noise, and that of the others is lognormal, so that they are mostly good and sometimes bad.

Rules, each with its defaults; orders of configs and seeds are random, and the last config of each rule gets all seeds:

- `race`: raysl's, of `raysl.search.race`, error 0.05, first 2;
- `smac`: a challenger runs 1, 2, 4, ... of the incumbent's seeds and is dropped when its mean is worse, without a test;
  the incumbent gets one seed more for each (Hutter et al. 2011, "Sequential model-based optimization", procedure 2);
- `friedman`: irace's, from 5 seeds on a Friedman test of level 0.05 and Conover's comparison of ranks with the best's
  (Lopez-Ibanez et al. 2016), a Wilcoxon test between the last two (Birattari et al. 2002); `t test`: irace's other one,
  of level 0.05 without correction;
- `wilcoxon`: Optuna's WilcoxonPruner, p < 0.1 in a one-sided signed-rank test against the best finished config;
- `halving`: the better half goes on from 2 to 4, 8, ... seeds (Jamieson & Talwalkar 2016).

lost: the best config was dropped.  best: the selected config is the best.  saved: of the trials of the whole grid.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats

import raysl
from raysl.results.records.stages import Race
from raysl.search.race import SAME, level, replay
from raysl.search.rules import RULES as SELECTIONS

ERROR, FIRST, IRACE_FIRST, IRACE_LEVEL, PRUNER_LEVEL, PRUNER_FIRST = 0.05, 2, 5, 0.05, 0.1, 3
NOISES = ("normal", "t3", "lognormal", "rounded", "unlike")
ORDERS = 1000  # of the seeds of a folder's stage
CHECKED = 50  # races of each kind whose decisions are compared with raysl's own

Losses = NDArray[np.float64]  # races x configs x seeds
Counts = NDArray[np.int64]  # races x configs: seeds that were trained
Alive = NDArray[np.bool_]  # races x configs
Rule = Callable[[Losses], tuple[Counts, Alive]]


def draw(random: np.random.Generator, noise: str, shape: tuple[int, int, int], *, spread: bool) -> Losses:
    """Return losses whose config 0 is the best."""
    count, num_configs, num_seeds = shape
    means = 8 * (np.arange(num_configs) / (num_configs - 1)) ** 2 if spread else np.zeros(num_configs)
    drawn = {"t3": lambda: random.standard_t(3, shape) / 3**0.5, "lognormal": lambda: skewed(random, shape)}
    own = drawn.get(noise, lambda: random.normal(size=shape))()
    if noise == "unlike":
        own[:, 1:] = skewed(random, (count, num_configs - 1, num_seeds))
        own[:, 0] *= 0.1
    losses = means[:, None] + random.normal(size=(count, 1, num_seeds)) + own
    return np.round(losses / 0.8) * 0.8 if noise == "rounded" else losses


def skewed(random: np.random.Generator, shape: tuple[int, int, int]) -> Losses:
    return (random.lognormal(size=shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)


def by_rounds(losses: Losses, first: int, drop: Callable[[Losses, Alive], Alive]) -> tuple[Counts, Alive]:
    """Add one seed to each remaining config, round by round; drop: which of the configs that are in go."""
    count, num_configs, num_seeds = losses.shape
    alive = np.ones((count, num_configs), dtype=bool)
    trained = np.full((count, num_configs), min(first, num_seeds))
    for given in range(first, num_seeds):
        undecided = alive.sum(axis=1) > 1
        if not undecided.any():
            break
        alive[undecided] &= ~drop(losses[undecided, :, :given], alive[undecided])
        trained[alive] = np.maximum(trained[alive], given + 1)
    trained[alive] = num_seeds
    return trained, alive


def race(losses: Losses) -> tuple[Counts, Alive]:
    _, num_configs, num_seeds = losses.shape

    def worse(seen: Losses, alive: Alive) -> Alive:
        _, p = against_leader(seen, alive)
        return alive & (p <= level(ERROR, num_seeds - FIRST, num_configs))

    return by_rounds(losses, FIRST, worse)


def against_leader(seen: Losses, alive: Alive, *, steps: bool = True) -> tuple[Losses, Losses]:
    """Return the means, and the one-sided p of each config against the best; steps: whether deviations have a floor."""
    given = seen.shape[2]
    means = np.where(alive, seen.mean(axis=2), np.inf)
    leader = means.argmin(axis=1)
    differences = seen - np.take_along_axis(seen, leader[:, None, None], axis=1)
    deviation = differences.std(axis=2, ddof=1)
    if steps:
        inside = np.sort(np.where(alive[:, :, None], seen, np.nan).reshape(len(seen), -1), axis=1)
        gaps = np.diff(inside, axis=1)
        gaps[~(gaps > SAME * np.nanmax(np.abs(inside), axis=1, keepdims=True))] = np.inf
        smallest = gaps.min(axis=1)
        deviation = np.maximum(deviation, np.where(np.isfinite(smallest), smallest, 0)[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        t = differences.mean(axis=2) * given**0.5 / deviation
    p = np.where(np.isfinite(t) | (t == np.inf), stats.t.sf(t, given - 1), 1.0)
    p[np.arange(len(p)), leader] = 1.0
    return means, p


def irace_t_test(losses: Losses) -> tuple[Counts, Alive]:
    def worse(seen: Losses, alive: Alive) -> Alive:
        _, p = against_leader(seen, alive, steps=False)
        return alive & (2 * p < IRACE_LEVEL)

    return by_rounds(losses, IRACE_FIRST, worse)


def irace_friedman(losses: Losses) -> tuple[Counts, Alive]:
    def worse(seen: Losses, alive: Alive) -> Alive:
        ranks = stats.rankdata(np.where(alive[:, :, None], seen, np.inf), axis=1) * alive[:, :, None]
        n, k = seen.shape[2], alive.sum(axis=1)[:, None]
        sums = ranks.sum(axis=2)
        squares = (ranks**2).sum(axis=(1, 2))[:, None]
        spread = (sums**2).sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = (k - 1) * (spread - n**2 * k * (k + 1) ** 2 / 4) / (squares - n * k * (k + 1) ** 2 / 4)
            significant = stats.chi2.sf(statistic, k - 1) < IRACE_LEVEL
            free = (n - 1) * (k - 1)
            most = stats.t.ppf(1 - IRACE_LEVEL / 2, free) * np.sqrt(2 * np.maximum(n * squares - spread, 0) / free)
        best = np.where(alive, sums, np.inf).min(axis=1, keepdims=True)
        by_ranks = alive & significant & (sums - best > most)
        two = k[:, 0] == 2
        by_ranks[two] = worse_of_two(seen[two], alive[two])
        return by_ranks

    return by_rounds(losses, IRACE_FIRST, worse)


def worse_of_two(seen: Losses, alive: Alive) -> Alive:
    if not len(seen):
        return alive
    means = np.where(alive, seen.mean(axis=2), np.inf)
    best = means.argmin(axis=1)
    other = np.where(np.arange(alive.shape[1]) == best[:, None], np.inf, means).argmin(axis=1)
    index = np.arange(len(seen))
    p = signed_rank(seen[index, other] - seen[index, best])
    found = np.zeros_like(alive)
    found[index, other] = 2 * p < IRACE_LEVEL
    return found


def signed_rank(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exact one-sided p that differences (races x seeds) are positive; zeros count half to either side."""
    count = differences.shape[1]
    ranks = stats.rankdata(np.abs(differences), axis=1)
    positive = (ranks * (differences > 0) + ranks * (differences == 0) / 2).sum(axis=1)
    ways = np.ones(1)
    for rank in range(1, count + 1):
        ways = np.concatenate([ways, np.zeros(rank)]) + np.concatenate([np.zeros(rank), ways])
    above = np.cumsum(ways[::-1])[::-1] / 2**count
    return above[np.ceil(positive - 1e-9).astype(int)]


def wilcoxon_pruner(losses: Losses) -> tuple[Counts, Alive]:
    count, num_configs, num_seeds = losses.shape
    index, best = np.arange(count), np.zeros(count, dtype=int)
    trained, alive = np.full((count, num_configs), num_seeds), np.ones((count, num_configs), dtype=bool)
    for one in range(1, num_configs):
        whole = losses[index, best]
        for given in range(PRUNER_FIRST, num_seeds):
            mine = losses[:, one, :given]
            pruned = (signed_rank(mine - whole[:, :given]) < PRUNER_LEVEL) & (whole.mean(axis=1) <= mine.mean(axis=1))
            pruned &= alive[:, one]
            trained[pruned, one], alive[pruned, one] = given, False
        better = alive[:, one] & (losses[:, one].mean(axis=1) < whole.mean(axis=1))
        best[better] = one
    return trained, alive


def smac(losses: Losses) -> tuple[Counts, Alive]:
    count, num_configs, num_seeds = losses.shape
    index, incumbent, held = np.arange(count), np.zeros(count, dtype=int), np.ones(count, dtype=int)
    trained = np.zeros((count, num_configs), dtype=int)
    sums = losses.cumsum(axis=2)
    for one in range(1, num_configs):
        held = np.minimum(held + 1, num_seeds)
        trained[index, incumbent] = held
        running, given = np.ones(count, dtype=bool), 0
        while running.any():
            given = 2 * given + 1 if given else 1  # 1, then 2 more, then 4 more
            now = np.minimum(given, held)
            trained[running, one] = now[running]
            worse = sums[index, one, now - 1] > sums[index, incumbent, now - 1]
            won = running & ~worse & (now == held)
            running &= ~worse & ~won
            incumbent[won] = one
    trained[index, incumbent] = num_seeds
    alive = np.zeros((count, num_configs), dtype=bool)
    alive[index, incumbent] = True
    return trained, alive


def halving(losses: Losses) -> tuple[Counts, Alive]:
    count, num_configs, num_seeds = losses.shape
    alive = np.ones((count, num_configs), dtype=bool)
    given, left = min(FIRST, num_seeds), num_configs
    trained = np.full((count, num_configs), given)
    while given < num_seeds and left > 1:
        left = -(-left // 2)
        means = np.where(alive, losses[:, :, :given].mean(axis=2), np.inf)
        alive = means.argsort(axis=1, kind="stable").argsort(axis=1) < left
        given = min(2 * given, num_seeds)
        trained[alive] = given
    trained[alive] = num_seeds
    return trained, alive


def grid(losses: Losses) -> tuple[Counts, Alive]:
    count, num_configs, num_seeds = losses.shape
    return np.full((count, num_configs), num_seeds), np.ones((count, num_configs), dtype=bool)


RULES: dict[str, Rule] = {
    "grid": grid, "race": race, "smac": smac, "friedman": irace_friedman, "t test": irace_t_test,
    "wilcoxon": wilcoxon_pruner, "halving": halving,
}  # fmt: skip


def measure(rule: Rule, losses: Losses, best: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return how often the best config was lost and was selected, and the share of trials saved."""
    trained, alive = rule(losses)
    index = np.arange(len(losses))
    selected = np.where(alive, losses.mean(axis=2), np.inf).argmin(axis=1)
    saved = 1 - trained.sum(axis=1) / losses[0].size
    return float(np.mean(~alive[index, best])), float(np.mean(selected == best)), float(saved.mean())


def check(losses: Losses) -> None:
    """Assert that the race here takes the decisions of raysl's own."""
    trained, alive = race(losses)
    settings = Race(ERROR, FIRST, tuple(range(losses.shape[2])))
    for values, mine, left in zip(losses, trained, alive, strict=True):
        ended = {str(one): dict(enumerate(row)) for one, row in enumerate(values.tolist())}
        standing = replay(settings, list(ended), ended)
        assert list(standing.num_seeds.values()) == mine.tolist(), (standing, mine)
        assert standing.remaining == tuple(str(one) for one in np.flatnonzero(left))


def simulate(count: int, configs: list[int], seeds: list[int]) -> None:
    print(f"{count} races of each kind, in %: lost, best, saved")
    print(f"{'':<34}" + "".join(f"{name:>18}" for name in RULES))
    worst: dict[tuple[str, str], float] = {}
    for noise, spread, num_configs, num_seeds in product(NOISES, (False, True), configs, seeds):
        random = np.random.default_rng([NOISES.index(noise), spread, num_configs, num_seeds])
        losses = draw(random, noise, (count, num_configs, num_seeds), spread=spread)
        order = random.permuted(np.tile(np.arange(num_configs), (count, 1)), axis=1)
        losses = np.take_along_axis(losses, order[:, :, None], axis=1)
        check(losses[:CHECKED])
        best = (order == 0).argmax(axis=1)
        found = {name: measure(rule, losses, best) for name, rule in RULES.items()}
        for name, (lost, _, _) in found.items():
            worst[noise, name] = max(worst.get((noise, name), 0.0), lost)
        show(f"{noise} {'spread' if spread else 'equal'}, {num_configs} configs, {num_seeds} seeds", found)
    print("\nthe largest rate at which the best was lost, in %")
    for noise in NOISES:
        print(f"{noise:<34}" + "".join(f"{100 * worst[noise, name]:18.2f}" for name in RULES))


def show(title: str, found: dict[str, tuple[float, float, float]]) -> None:
    cells = ("{:.2f} {:.0f} {:.0f}".format(*(100 * value for value in values)) for values in found.values())
    print(f"{title:<34}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def stages(folder: str) -> Iterator[tuple[str, Losses]]:
    """Yield the losses, configs x seeds, of each current stage of a folder in which every config has all its seeds."""
    tables = raysl.read(folder).current()
    rules = {row["stage_id"]: row["rule"] for row in tables.selections.to_pylist()}
    trials = [trial for trial in tables.trials.to_pylist() if trial["status"] == "finished"]
    for stage_id, rule in rules.items():
        own = [trial for trial in trials if trial["stage_id"] == stage_id]
        seeds, configs = sorted({t["seed"] for t in own}), dict.fromkeys(t["config_id"] for t in own)
        sign = -1 if SELECTIONS[rule].highest else 1
        values = {(t["config_id"], t["seed"]): t[SELECTIONS[rule].column] for t in own}
        whole = [one for one in configs if all(values.get((one, seed)) is not None for seed in seeds)]
        if len(whole) > 1 and len(seeds) > FIRST:
            name = f"{own[0]['stage']}, {len(whole)} configs, {len(seeds)} seeds"
            yield name, sign * np.array([[values[one, seed] for seed in seeds] for one in whole], dtype=float)


def replayed(folder: str) -> None:
    """Print what the rules would have done with a folder's trials; the best is the config that the grid selects."""
    print(f"{ORDERS} orders of configs and seeds, in %: lost, best (the selection of the whole grid), saved")
    print(f"{'':<34}" + "".join(f"{name:>18}" for name in RULES))
    for name, values in stages(folder):
        random = np.random.default_rng(0)
        num_configs, num_seeds = values.shape
        order = random.permuted(np.tile(np.arange(num_configs), (ORDERS, 1)), axis=1)
        of_seeds = random.permuted(np.tile(np.arange(num_seeds), (ORDERS, 1)), axis=1)
        losses = values[order[:, :, None], of_seeds[:, None, :]]
        check(losses[:CHECKED])
        best = (order == values.mean(axis=1).argmin()).argmax(axis=1)
        show(name, {rule: measure(RULES[rule], losses, best) for rule in RULES})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--configs", type=int, nargs="+", default=[3, 9, 20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10, 20])
    parser.add_argument("--folder")
    given = parser.parse_args()
    if given.folder:
        replayed(given.folder)
    else:
        simulate(given.races, given.configs, given.seeds)


if __name__ == "__main__":
    main()
