"""An experiment: its stages, their configs, and the resources of a trial."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le, Lt, MaxLen, MinLen
from pydantic import BeforeValidator, Field, model_validator

from raysl import methods
from raysl.data.settings import DataSettings
from raysl.models.settings import ModelSettings
from raysl.probes.settings import ProbesSettings
from raysl.results.criteria import CRITERIA, CriterionName, asked_for
from raysl.results.cross_fit import folds_of
from raysl.results.metrics import ProbeRule, probe_rules
from raysl.results.records.origins import Origin
from raysl.results.records.seed_design import Kind, RandomStream, SeedDesign
from raysl.results.records.stages import AnyRule, Race, Rule, Ties
from raysl.search.cross_fit import CrossFit
from raysl.search.resources import Resources as Resources
from raysl.search.settings import MOST_SEEDS, Objective, RaceSettings, SearchSettings
from raysl.search.space import Space
from raysl.search.vote import Vote
from raysl.settings import EachOnce, Settings
from raysl.training.settings import Constant, OptimizerSettings, ScheduleSettings, StopSettings

MOST_TRIALS = 50_000  # of all experiments of a file
MOST_STAGES = 100
MOST_MILESTONES = 100

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
Seed = Annotated[int, Ge(0), Lt(2**32)]  # the range that scikit-learn accepts
Levels = Annotated[int, Ge(1), Le(MOST_SEEDS)]


def _given(search: Any) -> Any:
    """Let `search: null` remove the search settings of a file."""
    return {} if search is None else search


class StageSettings(Settings):
    """One config of a stage: all settings of its trials except the seed; and how the stage is searched.

    data: the settings of this stage's data that differ from the experiment's.
    method: the method's name and its hyperparameters.
    epochs [epochs]: length of the training.
    batch_size [images]: images of each stream in a batch, over all workers; a method of labelled and unlabelled images
        takes this number of each.
    unlabelled_ratio: unlabelled images of a batch for each labelled one, for a method of both; `batch_size` is then the
        number of labelled ones.
    steps_per_epoch [steps]: the number of steps of an epoch, each with a full batch; None is a pass over the images.
    optimizer: the optimizer's name and its settings.
    schedule: how the learning rate changes during the training.
    precision: `bf16` computes under autocast to bfloat16; `tf32` rounds what an NVIDIA GPU multiplies to 10 bits of
        mantissa, and is `fp32` elsewhere; losses are computed in float32.
    start_from: an earlier stage; each seed starts from the encoder of the same seed in that stage's selected config.
    start_epoch [epochs]: the number of epochs of that stage to start after, one of its milestones; None is its last
        epoch.
    milestones [epochs]: the numbers of epochs after which the model is kept, for later stages to start from; 0 keeps it
        as the training begins.
    freeze: `backbone` trains only the layers after the pooling.
    probe: how a trial's features are measured, for the selection and on the test set: by a linear SVM, k nearest
        neighbours or k-means; by the method's own `classifier`, on the test set alone; or by its own `segmentation` of
        images with masks.
    select: the rule that chooses the stage's config: the lowest mean final training loss over the seeds, or the highest
        mean accuracy of the probe on the labelled training images. A stage of method `frozen` has `probe_accuracy`.
        `rankme`, `lidar`, `alpha_req`, `alignment`, `uniformity` and `ami` compare features of unlabelled images, and
        need no label; `{vote: [rankme, ami]}` takes the config with the lowest mean rank by several of these.
        `{cross_fit: 4}` is for methods that train on the labels: it trains every config 4 times more for each seed,
        each time without the labels of a quarter of the labelled training images, and takes the highest mean accuracy
        on the quarters left out; only the selected config is then trained with all labels.
    ties: the config that is selected of those whose difference from the best could be noise: the `first` is that of the
        best value, whatever the noise; `cheapest` takes the least mean training time among all that paired t tests over
        the seeds cannot tell from the best at 5 % (Holm's correction), and needs two seeds.
    criteria: of these, those that are measured of each trial even if nothing compares them, for an audit of the rules.
    search: how configs are found in the space of the searched values; None is a grid.
    stop: ends hopeless trials early; None trains every trial to its end.
    """

    data: dict[str, Any] = Field(default_factory=dict)
    method: dict[str, Any]
    epochs: Annotated[int, Ge(0), Le(10**6)]
    batch_size: Annotated[int, Ge(0), Le(10**6)]
    unlabelled_ratio: Annotated[int, Ge(1), Le(1000)] = 1
    steps_per_epoch: Annotated[int, Ge(1), Le(10**6)] | None = None
    optimizer: OptimizerSettings | None
    schedule: ScheduleSettings = Constant(name="constant")
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    start_from: str | None = None
    start_epoch: Annotated[int, Ge(0)] | None = None
    milestones: Annotated[EachOnce[Annotated[int, Ge(0)]], MaxLen(MOST_MILESTONES)] = Field(default_factory=list)
    freeze: Literal["none", "backbone"] = "none"
    probe: Literal["linear_svm", "knn", "clustering", "classifier", "segmentation"] = "linear_svm"
    select: Rule | Vote | CrossFit = "train_loss"
    ties: Ties = "first"
    criteria: Annotated[EachOnce[CriterionName], MaxLen(len(CRITERIA))] = Field(default_factory=list)
    search: Annotated[SearchSettings, BeforeValidator(_given)] = SearchSettings()
    stop: StopSettings | None = None


class TrainedStage(StageSettings):
    """A config of a stage whose method trains."""

    epochs: Annotated[int, Ge(1), Le(10**6)]
    batch_size: Annotated[int, Ge(2), Le(10**6)]
    optimizer: OptimizerSettings

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.schedule.name == "cosine" and self.schedule.warmup >= self.epochs:
            raise ValueError(f"schedule.warmup: {self.schedule.warmup:g} epochs of warm-up leave none of {self.epochs}")
        return self


class FrozenStage(StageSettings):
    """A stage whose method trains nothing: it has a start, data and a probe, but no settings of training."""

    epochs: Literal[0] = 0
    batch_size: Literal[0] = 0
    optimizer: None = None
    select: ProbeRule = "probe_accuracy"


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
        return (self.settings.search.num_configs or 0) if self.adaptive else len(self.configs)

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
        """The rule that selects this stage's config; of a vote or a cross-fit, its name."""
        rule = self.settings.select
        return rule.name if isinstance(rule, Vote | CrossFit) else rule


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
        return None if stage.race is None else Race(stage.race.error, stage.race.first, self.seeds)

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
