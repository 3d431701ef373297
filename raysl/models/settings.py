"""The settings of the model; torch-free."""

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator, model_validator

from raysl.settings import Settings

Stem = Literal["imagenet", "stl10", "cifar"]
Width = Annotated[int, Ge(1), Le(2**16)]

IMAGENET, FILE = "imagenet", "file:"  # sources of start weights

DENSE = ("small_resnet", "resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0")  # backbones with feature maps
SMALLEST_IMAGE = {"inception_v3": 75}  # pixels of an edge; the other backbones take every size that data can have


class StartWeights(Settings):
    """The weights that the backbone starts from, in the stages that start from no other stage.

    source: `imagenet`, torchvision's weights of its ResNets, and for another backbone
        `weights/BACKBONE_imagenet.safetensors` in the data folder; or `file:PATH`: safetensors, or a state dict of
        PyTorch, by the backbone's own names.
    mean: of each channel of the images that they were trained on, in [0, 1]; all images are normalised with it. None
        takes what the file says of itself.
    std: the standard deviation of each channel of those images, used as the mean is.
    digest: of the weights; another file of the same name is refused. None takes it as it is.
    """

    source: str
    mean: list[float] | None = None
    std: list[Annotated[float, Gt(0.0)]] | None = None
    digest: str | None = None

    @model_validator(mode="after")
    def _known_source(self) -> Self:
        if self.source != IMAGENET and not self.source.startswith(FILE):
            raise ValueError(f"source: {self.source!r}: choices: {IMAGENET}, {FILE}PATH")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std: give both, or neither")
        return self

    @property
    def is_missing(self) -> bool:
        """Whether it is not known which weights they are, so that trials can be listed but have no ids yet."""
        return self.digest is None

    @property
    def facts(self) -> dict[str, Any]:
        """What decides a trial's numbers: not where the weights lie, but which they are."""
        return self.model_dump(mode="json", exclude={"source"})


def _source(given: Any) -> Any:
    return {"source": given} if isinstance(given, str) else given


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
    weights: the weights that the backbone starts from: `imagenet`, `file:PATH`, or a mapping that says more of them;
        None starts from random ones.
    """

    backbone: Literal[
        "small_resnet", "resnet18", "resnet50", "mobilenet_v2", "inception_v3", "resnet50v2", "efficientnet_lite0"
    ] = "small_resnet"
    stem: Stem = "imagenet"
    features: Width | None = 128
    hidden: Width | None = None
    norm_momentum: Annotated[float, Gt(0.0), Le(1.0)] | None = None
    norm_eps: Annotated[float, Gt(0.0)] | None = None
    weights: Annotated[StartWeights | None, BeforeValidator(_source)] = None

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
