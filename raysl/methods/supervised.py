"""Supervised training on the labelled images alone.

Cavallari & Ponti 2022, "Training strategies with unlabeled and few labeled examples under 1-pixel attack", experiment
1 and l_l of equation 1: softmax cross-entropy over the classes, on images that are never augmented.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysl.collectives import sample_mean
from raysl.data.views import identity
from raysl.methods._method import Losses, Method, View, ViewSpec
from raysl.models.encoder import Encoder


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean cross-entropy over the global batch, in fp32 at least.

    logits: [B, K], of any precision.  classes: int64 [B].
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return sample_mean(F.cross_entropy(wide, classes, reduction="none"))


class Supervised(Method):
    """Cross-entropy on the labelled images, which are not augmented."""

    streams = ("labelled",)

    def __init__(self, encoder: Encoder, num_classes: int) -> None:
        super().__init__(encoder)
        self.classifier = nn.Linear(encoder.num_features, num_classes)

    def views(self) -> Mapping[str, ViewSpec]:
        return {"labelled": ViewSpec("labelled", identity)}

    def forward(self, views: Mapping[str, View]) -> Losses:
        images, labels, _ = views["labelled"]
        assert labels is not None
        loss = cross_entropy(self.classify(images), labels)
        return Losses(loss, {"supervised": loss})

    def classify(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.encoder(images))
        return logits
