"""The settings of the model; torch-free."""

from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import model_validator

from raysl.settings import Settings

Stem = Literal["imagenet", "stl10", "cifar"]
Width = Annotated[int, Ge(1), Le(2**16)]

SMALLEST_IMAGE = {"inception_v3": 75}  # pixels of an edge; the other backbones take every size that data can have


class ModelSettings(Settings):
    """The encoder: a backbone, global average pooling, and a feature head.

    backbone: the network up to the pooling; `small_resnet` has 5 layers, for small images on a CPU.
    stem: of torchvision's ResNets: `imagenet` (7x7, stride 2, max pooling; for 128 pixels and more), `stl10` (3x3,
        stride 1, max pooling; for 64 to 96) or `cifar` (3x3, stride 1, no pooling; for 28 and 32).
    features [units]: width of the fully connected layer with ReLU after the pooling; None gives the pooled features.
    hidden [units]: width of one more such layer between the pooling and `features`.
    norm_momentum: weight of the new batch in the running statistics of every batch normalisation of the backbone; in
        Keras, momentum is 1 minus this. None keeps the backbone's own.
    norm_eps: added to the variance in every batch normalisation of the backbone. None keeps the backbone's own.
    """

    backbone: Literal["small_resnet", "resnet18", "resnet50", "mobilenet_v2", "inception_v3", "resnet50v2"] = (
        "small_resnet"
    )
    stem: Stem = "imagenet"
    features: Width | None = 128
    hidden: Width | None = None
    norm_momentum: Annotated[float, Gt(0.0), Le(1.0)] | None = None
    norm_eps: Annotated[float, Gt(0.0)] | None = None

    @model_validator(mode="after")
    def _stem_of_a_torchvision_resnet(self) -> Self:
        if self.backbone not in ("resnet18", "resnet50") and self.stem != "imagenet":
            raise ValueError(
                f"stem: {self.backbone} has one stem of its own; only resnet18 and resnet50 take {self.stem!r}"
            )
        return self

    @model_validator(mode="after")
    def _hidden_leads_to_features(self) -> Self:
        if self.hidden is not None and self.features is None:
            raise ValueError("hidden: stands between the pooling and the features; give features a width, as in 128")
        return self
