"""What an experiment says of its model."""

from typing import Annotated, Literal, Self

from annotated_types import Ge, Le
from pydantic import model_validator

from raysl.settings import Settings


class ModelSettings(Settings):
    """The encoder: a backbone, global average pooling, and a feature head.

    stem: of torchvision's ResNets: `imagenet` (7x7, stride 2, max pooling) or `cifar` (3x3, stride 1, no pooling).
    features: width of the fully connected layer with ReLU after the pooling; None gives the pooled features.
    """

    backbone: Literal["small_resnet", "resnet18", "resnet50"] = "small_resnet"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    features: Annotated[int, Ge(1), Le(2**16)] | None = 128

    @model_validator(mode="after")
    def _stem_of_a_torchvision_resnet(self) -> Self:
        if self.backbone == "small_resnet" and self.stem != "imagenet":
            raise ValueError("stem: small_resnet has one stem of its own; only resnet18 and resnet50 take 'cifar'")
        return self
