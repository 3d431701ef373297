"""The settings of a stage: those of its trials, and how it is searched."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le, MaxLen
from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from raysl.results.criteria import CRITERIA, CriterionName
from raysl.results.metrics import ProbeRule
from raysl.results.records.stages import AnyRule, Rule, Ties
from raysl.search.cross_fit import CrossFit
from raysl.search.settings import SearchSettings
from raysl.search.vote import Vote
from raysl.settings import EachOnce, Settings
from raysl.training.settings import Constant, OptimizerSettings, ScheduleSettings, StopSettings

MOST_MILESTONES = 100


def _given(search: Any) -> Any:
    """Let `search: null` remove the search settings of a file."""
    return {} if search is None else search


def _kind_of_rule(rule: Any) -> str | None:
    """Return which settings a rule is that is a mapping; None if it is none of them."""
    if isinstance(rule, Settings):
        return type(rule).__name__
    keys = rule if isinstance(rule, Mapping) else ()
    return next((kind.__name__ for kind in (Vote, CrossFit) if kind.model_fields.keys() & keys), None)


MappedRule = Annotated[
    Annotated[Vote, Tag("Vote")] | Annotated[CrossFit, Tag("CrossFit")],
    # As an error of type it gives way to that of the names, whose message has all choices.
    Discriminator(_kind_of_rule, custom_error_type="rule_type", custom_error_message="Input should be a rule"),
]


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
        images with masks. A stage of method `frozen` has the `classifier` of its start; such stages, each with another
        `start_epoch`, give the test accuracy over the training.
    select: the rule that chooses the stage's config: the lowest mean final training loss over the seeds, or the highest
        mean accuracy of the probe on the labelled training images. A stage of method `frozen` has `probe_accuracy`.
        `rankme`, `lidar`, `alpha_req`, `alignment`, `uniformity` and `ami` compare features of unlabelled images, and
        need no label; `{vote: [rankme, ami]}` takes the config with the lowest mean rank by several of these.
        `{cross_fit: 4}` is for methods that train on the labels: every config is trained 4 times for each seed, each
        time without another quarter of the labelled training images, and the highest mean accuracy on the quarters left
        out is taken; only the selected config is then trained with all labels.
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
    select: Rule | MappedRule = "train_loss"
    ties: Ties = "first"
    criteria: Annotated[EachOnce[CriterionName], MaxLen(len(CRITERIA))] = Field(default_factory=list)
    search: Annotated[SearchSettings, BeforeValidator(_given)] = SearchSettings()
    stop: StopSettings | None = None

    @property
    def rule(self) -> AnyRule:
        """The name of the rule that selects the stage's config."""
        return self.select.name if isinstance(self.select, Vote | CrossFit) else self.select


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
