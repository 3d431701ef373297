"""What an experiment says of its data."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from raysl.settings import Settings

Fraction = Annotated[float, Gt(0.0), Lt(1.0)]
Count = Annotated[int, Ge(1)]
NO_DIGEST = "missing:"  # and the name of a set, in the place of the digest of one that is not on this machine
DECODING = 2  # raised when images that are turned or flattened come to have other pixels


def _in_one_message(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        raise ValueError("must be a count from 1 on, a fraction between 0 and 1, or all") from None


Labels = Annotated[Count | Fraction | Literal["all"], Field(union_mode="left_to_right"), WrapValidator(_in_one_message)]


class OnePixel(Settings):
    """One pixel of each labelled image is overwritten: all images of a class at one place, each class at its own.

    value: `white` (Cavallari & Ponti 2022), or `per_class`, a colour of its own for each class, or a gray value where
        images are gray (Cavallari & Ponti 2021).
    seed: of the order in which places and colours are tried; trials of all seeds see the same attack, whose pixels
        differ from the clean ones in nearly all labelled training images.
    """

    name: Literal["one_pixel"]
    value: Literal["white", "per_class"] = "white"
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0


class DataSettings(Settings):
    """The images, and how many of them carry labels.

    source: `digits`, the name of a known set, `parquet:PATH` (a file, or a folder of shards) or
        `folder:PATH`.
    image_size: height and width in pixels that images are resized to when they are decoded; None keeps their own,
        which must then be the same for all.
    channels: 1 (gray) or 3 (RGB); None keeps the images' own.
    train_fraction: pools all labelled images and splits them anew, class by class, into this part for training and
        the rest for the test; None keeps the set's own split.
    labels: size of D_l, as a count, as a fraction of the number of unlabelled images in use, or `all` labelled
        training images.
    draw: D_l has equally many images of each class (`balanced`), or is drawn without regard to class (`uniform`).
        With `all` labels nothing is drawn.
    unlabelled: number of images of D_u in use; None is all.
    attack: on D_l as it is trained on and as probes are fitted on it; D_u, the test set and the normalising statistics
        stay clean. A stage whose method sees no labelled images has the trials of the clean data, probe included: its
        features depend on no attack, so that one pre-training serves the clean and the attacked search.
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
    draw: `uniform` where all labelled images are taken, whatever was said: the subset is the same.
    digest: of the images, labels and splits themselves, whatever file they came from; `NO_DIGEST` and the set's name
        where they are not on this machine.
    decoding: how images are turned upright and flattened on white; None where the set has none such, so that its trials
        keep the names that they had before raysl did either.
    """

    digest: str
    num_classes: Count
    labels: Count
    unlabelled: Count
    decoding: Annotated[int, Ge(1)] | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the images are not on this machine, so that the trials can be listed but have no ids yet."""
        return self.digest.startswith(NO_DIGEST)
