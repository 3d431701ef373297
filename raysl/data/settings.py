"""The settings of the data, of an experiment and of a trial."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from raysl.settings import Settings

Fraction = Annotated[float, Gt(0.0), Lt(1.0)]
Count = Annotated[int, Ge(1)]
NO_DIGEST = "missing:"  # followed by the set's name: the digest of a set that is not on this machine
DECODING = 2  # increase when turned or flattened images get other pixels


def _in_one_message(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        raise ValueError("must be a count from 1 on, a fraction between 0 and 1, or all") from None


Labels = Annotated[Count | Fraction | Literal["all"], Field(union_mode="left_to_right"), WrapValidator(_in_one_message)]


class OnePixel(Settings):
    """The 1-pixel attack: one pixel of each labelled image is overwritten, at one place per class.

    name: the attack.
    value: `white` (Cavallari & Ponti 2022), or `per_class`, another colour for each class, or another gray value if
        images are gray (Cavallari & Ponti 2021).
    seed: of the order in which places and colours are tried. It is not the trial's seed: all trials see the same
        attack. The attacked pixels differ from the clean ones in nearly all labelled training images.
    probe: whether probes are fitted on D_l as it was (`clean`), so that the attack is on training alone, or on what
        training saw (`attacked`).
    """

    name: Literal["one_pixel"]
    value: Literal["white", "per_class"] = "white"
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    probe: Literal["clean", "attacked"] = "clean"


class TrialOnePixel(OnePixel):
    """The attack of one trial.

    probe: `attacked` where the record of a trial does not say: it is from before there was a choice.
    """

    probe: Literal["clean", "attacked"] = "attacked"


class DataSettings(Settings):
    """The images, and how many of them carry labels.

    source: `digits`, the name of a known set, `parquet:PATH` (a file, or a folder of shards) or
        `folder:PATH`.
    image_size [pixels]: height and width that images are resized to when they are decoded; None keeps their own,
        which must then be the same for all. Images with masks keep the ratio of their edges, and the rest of the square
        is ignored.
    channels: 1 (gray) or 3 (RGB); None keeps the images' own.
    train_fraction: fraction of all labelled images that trains, drawn class by class; the others test. None keeps the
        set's own split.
    labels: size of D_l, as a count of images, as a fraction of the number of unlabelled images in use, or `all`
        labelled training images.
    draw: D_l has equally many images of each class (`balanced`), or is drawn without regard to class (`uniform`).
        Of images with masks, `balanced` first takes those that show a class which none before them shows. With `all`
        labels nothing is drawn.
    unlabelled [images]: number of images of D_u in use; None is all.
    attack: on D_l in training; D_u, the test set and the normalisation statistics stay clean. A stage whose method
        sees no labelled images has the trials of the clean data, probe included: its features do not depend on the
        attack, so that the clean and the attacked search share one pre-training.
    """

    source: str = "digits"
    image_size: Annotated[int, Ge(4)] | None = None
    channels: Literal[1, 3] | None = None
    train_fraction: Fraction | None = None
    labels: Labels = 0.01
    draw: Literal["balanced", "uniform"] = "balanced"
    unlabelled: Count | None = None
    attack: OnePixel | None = None


class TrialData(DataSettings):
    """The data of one trial: the settings with everything resolved, and the content's digest.

    labels: the count of D_l, never a fraction or `all`.  unlabelled: the count of D_u in use.
    draw: `uniform` if all labelled images are taken, whatever the settings say: the subset is the same.
    digest: of the images, labels and splits, whatever file holds them; `NO_DIGEST` and the set's name if they are not
        on this machine.
    decoding: version of how images are turned upright and flattened on white; None if the set has no such images, so
        that its trials keep the ids from before raysl did either.
    masks: whether images have masks, and not classes; None if not.
    """

    attack: TrialOnePixel | None = None
    digest: str
    num_classes: Count
    labels: Count
    unlabelled: Count
    decoding: Annotated[int, Ge(1)] | None = None
    masks: Literal[True] | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the images are not on this machine, so that the trials can be listed but have no ids yet."""
        return self.digest.startswith(NO_DIGEST)
