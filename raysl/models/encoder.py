"""The encoder that methods share and probes read: a backbone, pooled, and a feature head."""

from itertools import pairwise
from typing import Self

from torch import Tensor, nn

from raysl.models.backbones import build_backbone
from raysl.models.dense import feature_maps
from raysl.models.settings import ModelSettings


class Encoder(nn.Module):
    """Images [B, channels, image_size, image_size] -> features [B, num_features].

    backbone: images -> pooled [B, width].  head: a linear layer with ReLU (Cavallari & Ponti 2022, section 3), two of
    them if `hidden` is given (Cavallari & Ponti 2021, section III-B), or the identity if `features` is None:
    `num_features` is then `width`.
    channels, image_size: of its input images, which a decoder reconstructs.
    norms_frozen: whether the backbone's batch normalisations stay in eval mode, and so keep their statistics.
    """

    def __init__(
        self,
        backbone: nn.Module,
        width: int,
        features: int | None,
        hidden: int | None = None,
        *,
        channels: int,
        image_size: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = _head([width, *(size for size in (hidden, features) if size is not None)])
        self.num_features = width if features is None else features
        self.channels, self.image_size = channels, image_size
        self.backbone_frozen = self.norms_frozen = False

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the features [B, num_features] of images, or of the backbone's output for them.

        inputs: images [B, C, H, W], or the backbone's output [B, width], to which only the head is applied: that of a
        frozen backbone is the same in every epoch.
        """
        features: Tensor = self.head(inputs if inputs.dim() == 2 else self.backbone(inputs))
        return features

    def maps(self, images: Tensor) -> Tensor:
        """Return the backbone's maps [B, width, h, w] of images [B, C, H, W]: their means are its pooled output.

        Only backbones of `models.settings.DENSE` have them.
        """
        return feature_maps(self.backbone, images)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.backbone_frozen:
            self.backbone.eval()
        if self.norms_frozen:
            for part in self.backbone.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self


def _head(widths: list[int]) -> nn.Module:
    layers = [part for inputs, outputs in pairwise(widths) for part in (nn.Linear(inputs, outputs), nn.ReLU())]
    return nn.Sequential(*layers) if layers else nn.Identity()


def build_encoder(settings: ModelSettings, channels: int, image_size: int) -> Encoder:
    """Return an encoder with random weights, drawn from torch's global generator.

    channels: of the images, 1 or 3.  image_size: pixels of their edges.
    """
    backbone, width = build_backbone(settings, channels)
    return Encoder(backbone, width, settings.features, settings.hidden, channels=channels, image_size=image_size)


def freeze_backbone(module: nn.Module) -> None:
    """Freeze the backbone of every encoder in a module, averages of an encoder included.

    A frozen backbone gets no gradient and stays in eval mode, so that its batch normalisation statistics stay too.
    """
    for encoder in module.modules():
        if isinstance(encoder, Encoder):
            encoder.backbone.requires_grad_(False)
            encoder.backbone_frozen = True
            encoder.train(encoder.training)
