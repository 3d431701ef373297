"""Supervised training on the labelled images alone.

Cavallari & Ponti 2022, "Training strategies with unlabeled and few labeled examples under 1-pixel attack", experiment
1 and l_l of equation 1: softmax cross-entropy over the classes, on images that are never augmented.

Bdair et al. 2022 ("TriMix") and Baier et al. 2024 ("SidAE") do not say whether they augment for linear classifiers and
fine-tuning; `views: crop_flip` augments as facebookresearch/simsiam and most others do.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysl.collectives import sample_mean
from raysl.data.augment.siamese import cropped, distorted
from raysl.data.augment.views import Draw, identity
from raysl.methods._method import Evaluation, Losses, Method, Step, View, ViewSpec
from raysl.models.encoder import Encoder

MIN_CROP = 0.08  # the default of torchvision's RandomResizedCrop
VIEWS: Mapping[str, Callable[[Tensor, Draw], tuple[Tensor, None]]] = {
    "none": identity,
    "crop_flip": partial(cropped, min_crop=MIN_CROP, interpolation="bilinear"),
    "distorted": partial(
        distorted, min_crop=MIN_CROP, saturation=0.4, p_blur=0.0, p_solarise=0.0, interpolation="bilinear"
    ),
}


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean cross-entropy over the global batch, in fp32 at least.

    logits: [B, K], of any precision.  classes: int64 [B].
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return sample_mean(F.cross_entropy(wide, classes, reduction="none"))


class Supervised(Method):
    """Cross-entropy on the labelled images, augmented or as they are.

    views: augmentation of labelled images, in training alone: `none`; `crop_flip`, crops of at least 8 % of the area,
    half of them mirrored; `distorted`, the same with colour jitter and grayscale.
    """

    streams = ("labelled",)
    shapes_loss = ("views",)  # stronger augmentation raises the loss

    def __init__(
        self, encoder: Encoder, num_classes: int, *, views: Literal["none", "crop_flip", "distorted"] = "none"
    ) -> None:
        super().__init__(encoder)
        self.make_view = VIEWS[views]
        self.classifier = nn.Linear(encoder.num_features, num_classes)

    def views(self) -> Mapping[str, ViewSpec]:
        return {"labelled": ViewSpec("labelled", self.make_view)}

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        images, labels = views["labelled"].images, views["labelled"].labels
        assert labels is not None
        loss = cross_entropy(self.classifier(self.encoder(images)), labels)
        return Losses(loss, {"supervised": loss})

    def evaluation(self) -> Evaluation:
        return Evaluation(self.encoder, self.classifier)
