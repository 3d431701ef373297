"""How often a race of configs that Optuna proposes drops the best of them, what it saves, and what it finds.

    uv run python tests/benchmarks/races_of_proposals.py [--races 160] [--configs 20] [--seeds 5 10]

The loss of a config is drawn: its true mean + the seed's effect, shared by all configs, + noise of its own.  The true
mean is `scale` times the squared distance of two searched numbers from the optimum, over the largest there is, and the
noise has unit variance (normal, or Student's t with 3 degrees of freedom); so has the seed's effect, of the same kind.
Each race has an optimum and noise of its own.  Configs are proposed one after another by raysl's `Sampler`, with the
default settings of TPESampler and of RandomSampler, and dropped by `raysl.search.race_of_proposals`, error 0.05.

lost: the truly best of the proposed configs was dropped, in %, with its 95 % interval (Clopper and Pearson).
saved: trials, in % of those of all configs with all seeds.
excess: mean true loss of the selected config above the least possible, in standard deviations of the noise, with its
standard error: of the race; of a search without a race of as many configs; of one of as many trials as the race took;
and of a race that goes on until it has taken as many trials as the whole search without a race.

worst sampler: one that finds ever better configs, each by a hair, until one of them is dropped, and bad ones from then
on, so that the best is lost if any is dropped.  No sampler can lose it more often.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from raysl.results.records.proposals import Told
from raysl.results.records.stages import Race
from raysl.search.race import Standing
from raysl.search.race_of_proposals import expected_mean, replay_proposals
from raysl.search.sampling import Sampler
from raysl.search.settings import SearchSettings
from raysl.search.space import Range

ERROR, FIRST, MOST = 0.05, 2, 4  # MOST: configs of a race that goes on, as a multiple of those of the search
SAMPLERS, NOISES = ("TPESampler", "RandomSampler"), ("normal", "t3")
SPACE = {"x": Range(0.0, 1.0), "y": Range(0.0, 1.0)}

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """The races of a line of the table."""

    sampler: str
    noise: str
    scale: float
    num_configs: int
    num_seeds: int


@dataclass(frozen=True)
class Outcome:
    """What came of one race and of the searches that it is compared with; excesses are true losses above the least."""

    lost: bool
    saved: float
    raced: float
    whole: float
    same_trials: float
    goes_on: float


class Objective:
    """Losses with known true means; those of a config are drawn when it is proposed."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind, self.random = kind, np.random.default_rng(seed)
        self.optimum = self.random.uniform(size=2)
        self.effects = self._noise()
        self.truths: list[float] = []
        self.losses: list[Reals] = []

    def draw(self, params: dict[str, float]) -> Reals:
        """Return the losses of a config, one for each seed."""
        farthest = (np.maximum(self.optimum, 1 - self.optimum) ** 2).sum()
        distance = ((np.array([params["x"], params["y"]]) - self.optimum) ** 2).sum()
        self.truths.append(float(self.kind.scale * distance / farthest))
        self.losses.append(self.truths[-1] + self.effects + self._noise())
        return self.losses[-1]

    def _noise(self) -> Reals:
        size = self.kind.num_seeds
        return (
            self.random.normal(size=size) if self.kind.noise == "normal" else self.random.standard_t(3, size) / 3**0.5
        )


def search(kind: Kind, seed: int, told: Callable[[Objective], float], enough: Callable[[Objective], bool]) -> Objective:
    """Propose configs one after another until they are enough; told: the value that the sampler is told of the last."""
    settings = SearchSettings(algorithm="optuna", num_configs=1, seed=seed, sampler={"name": kind.sampler})
    sampler, objective = Sampler(settings, SPACE, ["train_loss"]), Objective(kind, seed)
    news: list[Told] = []
    while not enough(objective):
        params = sampler.propose(news)
        assert params is not None
        objective.draw(params)
        news = [Told(len(objective.losses) - 1, "finished", (told(objective),))]
    return objective


class Raced:
    """A race of the configs of an objective, decided by raysl."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.race = Race(ERROR, FIRST, tuple(range(kind.num_seeds)), MOST * kind.num_configs)
        self.num_trials: list[int] = []  # of the configs so far

    def tell(self, objective: Objective) -> float:
        """Return what the sampler is told of the last config."""
        one = str(len(objective.losses) - 1)
        now = self.standing(objective)
        self.num_trials.append(sum(now.num_seeds.values()))
        drop = now.dropped.get(one)
        losses = objective.losses[-1].tolist()
        whole = [objective.losses[int(name)].tolist() for name in now.remaining]
        return float(objective.losses[-1].mean()) if drop is None else expected_mean(losses[: drop.num_seeds], whole)

    def standing(self, objective: Objective) -> Standing:
        ended = {str(one): dict(enumerate(losses.tolist())) for one, losses in enumerate(objective.losses)}
        return replay_proposals(self.race, list(ended), ended)

    def enough(self, objective: Objective) -> bool:
        """Return whether the race has as many configs and trials as the whole search without a race."""
        count, wanted = len(objective.losses), self.kind.num_configs * self.kind.num_seeds
        return count >= self.kind.num_configs and (self.num_trials[-1] >= wanted or count == self.race.num_configs)


def selected(objective: Objective, alive: list[int]) -> float:
    """Return the true loss of the config of the best mean."""
    return objective.truths[min(alive, key=lambda one: objective.losses[one].mean())]


def compared(kind: Kind, seed: int) -> Outcome:
    raced, num_configs = Raced(kind), kind.num_configs
    mine = search(kind, seed, raced.tell, raced.enough)
    dropped = {int(one) for one in raced.standing(mine).dropped}  # nothing later changes a decision
    whole = search(kind, seed, lambda one: float(one.losses[-1].mean()), lambda one: len(one.losses) == num_configs)
    num_trials = raced.num_trials[num_configs - 1]
    return Outcome(
        lost=int(np.argmin(mine.truths[:num_configs])) in dropped,
        saved=1 - num_trials / (num_configs * kind.num_seeds),
        raced=selected(mine, [one for one in range(num_configs) if one not in dropped]),
        whole=selected(whole, list(range(num_configs))),
        same_trials=selected(whole, list(range(round(num_trials / kind.num_seeds)))),
        goes_on=selected(mine, [one for one in range(len(mine.losses)) if one not in dropped]),
    )


def many(kind: Kind, seeds: list[int]) -> list[Outcome]:
    return [compared(kind, seed) for seed in seeds]


def worst(kind: Kind, count: int) -> list[bool]:
    """Return of each race whether any of several equal configs was dropped."""
    lost = []
    for seed in range(count):
        objective = Objective(kind, seed)
        for _ in range(kind.num_configs):
            objective.draw({"x": 0.0, "y": 0.0})
        lost.append(bool(Raced(kind).standing(objective).dropped))
    return lost


def lost_text(lost: list[bool]) -> str:
    count, total = sum(lost), len(lost)
    low = beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return f"{100 * count / total:.2f} ({100 * low:.2f} to {100 * high:.2f})"


def line(kind: Kind, outcomes: list[Outcome]) -> str:
    num = len(outcomes)
    name = f"{kind.sampler}, {kind.noise}, scale {kind.scale:g}, {kind.num_seeds} seeds"
    cells = [lost_text([one.lost for one in outcomes]), f"{100 * np.mean([one.saved for one in outcomes]):.0f}"]
    for what in ("raced", "whole", "same_trials", "goes_on"):
        values = np.array([getattr(one, what) for one in outcomes])
        cells.append(f"{values.mean():.3f} ± {values.std(ddof=1) / num**0.5:.3f}")
    return f"{name:<42}" + "".join(f"{cell:>22}" for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=160)
    parser.add_argument("--configs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 8.0, 40.0])
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    heads = ("lost", "saved", "excess: race", "no race", "as many trials", "race goes on")
    print(
        f"{given.races} races of {given.configs} configs of each kind\n{'':<42}"
        + "".join(f"{one:>22}" for one in heads)
    )
    lost: dict[str, list[bool]] = {sampler: [] for sampler in SAMPLERS}
    with ProcessPoolExecutor(given.processes) as pool:
        for noise, scale, num_seeds, sampler in product(NOISES, given.scales, given.seeds, SAMPLERS):
            kind = Kind(sampler, noise, scale, given.configs, num_seeds)
            shares = [list(range(part, given.races, given.processes)) for part in range(given.processes)]
            found = [one for part in pool.map(many, [kind] * len(shares), shares) for one in part]
            lost[sampler] += [one.lost for one in found]
            print(line(kind, found), flush=True)
    for noise, num_seeds in product(NOISES, given.seeds):
        kind = Kind("", noise, 0.0, given.configs, num_seeds)
        print(f"worst sampler, {noise}, {num_seeds} seeds: {lost_text(worst(kind, 10 * given.races))}", flush=True)
    for sampler, every in lost.items():
        print(f"{sampler}, all {len(every)} races: {lost_text(every)}")


if __name__ == "__main__":
    main()
