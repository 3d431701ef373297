"""The settings of a stage's search: how its configs are found, and raced."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import Field

from raysl.results.records.stages import Race, Rule
from raysl.settings import EachOnce, Settings

MOST_CONFIGS = 10_000  # of a stage
MOST_SEEDS = 1000
MOST_ADDED = 3  # numbers beyond each end of a grid
MOST_OPTIONS = 50  # of a sampler

Objective = Literal[Rule, "seconds"]


class RaceSettings(Settings):
    """A race of a stage's configs: seeds are added in rounds, and a config that is surely worse gets no more.

    error: the highest probability with which the truly best config may be dropped, over the whole race, if differences
        of two configs by seed are normal; under `optuna`, that of a config that is no worse than those proposed before.
    first [seeds]: the number of seeds that every config gets; then each that is still in gets one more in each round,
        under `optuna` without waiting for configs that were proposed later.
    """

    error: Annotated[float, Gt(0.0), Lt(1.0)] = 0.05
    first: Annotated[int, Ge(2), Le(MOST_SEEDS)] = 2

    def of(self, seeds: tuple[int, ...], num_configs: int | None) -> Race:
        """Return the race over some seeds; num_configs: that are proposed, None if all are known before it."""
        return Race(self.error, self.first, seeds, num_configs)


class SearchSettings(Settings):
    """How a stage's configs are found in its space.

    algorithm: `grid` takes every point of a space of grids; `random` draws `num_configs` independent points; `optuna`
        proposes each point from the results of earlier ones.
    num_configs: configs that are drawn or proposed; required unless the algorithm is `grid`.
    seed: of the draws and the proposals.
    sampler: Optuna's: `name` is a class of `optuna.samplers`, all other keys are its options.
    objectives: the values that the search optimises; if empty, the value that `select` compares.
    extend: whether a grid grows while the best config has its smallest or largest number: evenly spaced numbers of the
        method and the optimizer go on by their spacing, at most 3 beyond each end, up to 10,000 configs.
    race: adds seeds in rounds, and drops configs that are worse by the value that `select` compares; None trains every
        config with all seeds.  Under `optuna` a config is compared with those that were proposed before it.
    """

    algorithm: Literal["grid", "random", "optuna"] = "grid"
    num_configs: Annotated[int, Ge(1), Le(MOST_CONFIGS)] | None = None
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    sampler: Annotated[dict[str, Any], MaxLen(MOST_OPTIONS)] = Field(default_factory=lambda: {"name": "TPESampler"})
    objectives: EachOnce[Objective] = Field(default_factory=list)
    extend: bool = False
    race: RaceSettings | None = None
