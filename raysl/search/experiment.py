"""An experiment: its stages, their configs, and the resources of a trial."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Le, Lt, MaxLen, MinLen
from pydantic import Field

from raysl import methods
from raysl.data.settings import DataSettings
from raysl.models.settings import ModelSettings
from raysl.probes.settings import ProbesSettings
from raysl.results.criteria import CriterionName, asked_for
from raysl.results.cross_fit import folds_of
from raysl.results.metrics import probe_rules
from raysl.results.records.origins import Origin
from raysl.results.records.seed_design import Kind, RandomStream, SeedDesign
from raysl.results.records.stages import AnyRule, Race
from raysl.search.resources import Resources as Resources
from raysl.search.settings import MOST_SEEDS, Objective, RaceSettings
from raysl.search.space import Space, size
from raysl.search.stage_settings import FrozenStage, StageSettings
from raysl.settings import Settings

MOST_TRIALS = 50_000  # of all experiments of a file
MOST_STAGES = 100

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
Seed = Annotated[int, Ge(0), Lt(2**32)]  # the range that scikit-learn accepts
Levels = Annotated[int, Ge(1), Le(MOST_SEEDS)]


class ExperimentSettings(Settings):
    """The top level of an experiment's YAML.

    name: names the results folder and the MLflow experiment.
    data: the images, and how many of them carry labels.
    model: the encoder.
    seeds: a number of seeds (0, 1, ...), or a list of them; each config is trained with every one. Or numbers of levels
        of random streams, such as `{labels: 4, init: 3}`: each config is trained in every cell of such a design, for
        `raysl variance`.
    design: of seeds that are levels of streams: `crossed` combines every level of each stream with every one of the
        others; `nested` has new levels of a stream within each level of those before it.
    streams: the seeds of named random streams that do not follow the trial's seed: `labels` (the labelled subset; it
        follows `split`), `split` (the unlabelled subset and the probes' draws too), `init` (initial weights), `order`
        (batches) and `augmentation` (views).
    resources: the resources of one trial.
    probes: the settings of the probes.
    stages: the stages by name, in the order in which they are searched.
    """

    name: Name
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    seeds: (
        Levels | Annotated[list[Seed], MinLen(1), MaxLen(MOST_SEEDS)] | Annotated[dict[RandomStream, Levels], MinLen(1)]
    ) = 5
    design: Kind = "crossed"
    streams: dict[RandomStream, Seed] = Field(default_factory=dict)
    resources: Resources = Resources()
    probes: ProbesSettings = ProbesSettings()
    stages: Annotated[dict[Name, dict[str, Any]], MinLen(1), MaxLen(MOST_STAGES)]  # parsed later


@dataclass(frozen=True)
class Config:
    """One setting of a stage's searched keys, and the complete settings that result."""

    params: Mapping[str, Any]
    settings: StageSettings


@dataclass(frozen=True)
class Stage:
    """A stage: its searched keys, and its configs.

    configs: in the order of the search; empty if each is proposed from the results of earlier ones.
    extremes: configs at the ends of the space, at least one; conditions on all configs are checked on these.
    configure: searched values -> the config; raises UserError if the settings refuse them.
    data: the experiment's data settings, with those that this stage changes.
    """

    name: str
    space: Space
    configs: tuple[Config, ...]
    extremes: tuple[Config, ...]
    configure: Callable[[Mapping[str, Any]], Config] = field(compare=False)
    data: DataSettings

    @property
    def settings(self) -> StageSettings:
        """The settings of one of its configs, for keys that are never searched."""
        return self.extremes[0].settings

    @property
    def trains(self) -> bool:
        """Whether its method trains; only then its trials have models of their own."""
        return not isinstance(self.settings, FrozenStage)

    @property
    def adaptive(self) -> bool:
        """Whether configs are proposed while the stage is searched."""
        return self.settings.search.algorithm == "optuna"

    @property
    def num_configs(self) -> int:
        """The number of its configs, those that are not proposed yet included."""
        return min(self.settings.search.num_configs or 0, size(self.space)) if self.adaptive else len(self.configs)

    @property
    def race(self) -> RaceSettings | None:
        """The race of its configs; None if every config is trained with all seeds."""
        return self.settings.search.race

    @property
    def folds(self) -> int | None:
        """The folds of a cross-fitted rule, for each of which every config and seed has a trial; None if it is not."""
        return folds_of(self.select)

    @property
    def num_trials_of_seed(self) -> int:
        """The number of its trials with one seed, at most."""
        return self.num_configs if self.folds is None else self.num_configs * self.folds + 1

    @property
    def objectives(self) -> tuple[AnyRule | Objective, ...]:
        """The objectives of the search; by default the value that `select` compares."""
        return tuple(self.settings.search.objectives) or (self.select,)

    @property
    def criteria(self) -> tuple[CriterionName, ...]:
        """The criteria that are measured of its trials."""
        return asked_for((self.select, *self.objectives, *self.settings.criteria))

    @property
    def compared_metrics(self) -> list[str]:
        """The rules among `select` and the objectives that compare a probe's metric."""
        return probe_rules(dict.fromkeys((self.select, *self.objectives)))

    @property
    def start_from(self) -> str | None:
        """The earlier stage that this one starts from."""
        return self.settings.start_from

    @property
    def select(self) -> AnyRule:
        """The name of the rule that selects this stage's config."""
        return self.settings.rule


@dataclass(frozen=True)
class Experiment:
    """A whole experiment, every value checked.

    data: the settings that stages share, unless a stage has its own.
    design: of typed seeds, whose cells `seeds` numbers; None if every stream follows the seed.
    variant: overrides, by path, that distinguish it from others of its name, profile, data and model in one command.
    places: dotted key -> where it was written (`file.yaml:12`, `--set a.b=1`).  origin: what it was read from.
    """

    name: str
    profile: str
    variant: tuple[tuple[tuple[str, ...], str], ...]
    data: DataSettings
    model: ModelSettings
    seeds: tuple[int, ...]
    streams: Mapping[RandomStream, int]
    resources: Resources
    probes: ProbesSettings
    stages: tuple[Stage, ...]
    places: Mapping[str, str]
    origin: Origin = field(compare=False)
    design: SeedDesign | None = None

    @property
    def num_trials(self) -> int:
        """The number of trials of all its stages, at most: configs x seeds, and those of folds."""
        return sum(stage.num_trials_of_seed for stage in self.stages) * len(self.seeds)

    @property
    def num_epochs(self) -> int:
        """The epochs that all its trials train together, at most."""
        return sum(_num_epochs(stage) for stage in self.stages if stage.trains) * len(self.seeds)

    def race_of(self, stage: Stage) -> Race | None:
        """Return how a stage's configs are raced; None if they are not."""
        return None if stage.race is None else stage.race.of(self.seeds, stage.num_configs if stage.adaptive else None)

    def chain(self, stage: Stage) -> list[Stage]:
        """Return the stages that a stage starts from, in order, and the stage itself last."""
        earlier = next((other for other in self.stages if other.name == stage.start_from), None)
        return [*(self.chain(earlier) if earlier is not None else ()), stage]

    def streams_of(self, stage: Stage) -> tuple[str, ...]:
        """Return the streams of a stage's features: those of its method, or of its start if it trains nothing.

        Features of given start weights are of no stream.
        """
        if not stage.trains and stage.start_from is None:
            return ()
        owner = stage if stage.trains else self.chain(stage)[-2]
        return methods.describe(owner.settings.method["name"]).streams

    def variant_of(self, stage: Stage) -> str:
        """Return text that distinguishes a stage from others of the same name in one command."""
        names = {other.name for other in self.chain(stage)}
        others = {("stages", other.name) for other in self.stages if other.name not in names}
        return ", ".join(text for path, text in self.variant if path[:2] not in others)

    def place(self, key: str) -> str:
        """Return the place where a dotted key, or else its nearest parent, was written."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places[key]


def _num_epochs(stage: Stage) -> int:
    """Return the epochs that the trials of a stage with one seed train together, at most."""
    longest = max(config.settings.epochs for config in stage.extremes)
    if stage.adaptive:
        return stage.num_configs * longest
    once = sum(config.settings.epochs for config in stage.configs)
    return once if stage.folds is None else once * stage.folds + longest
