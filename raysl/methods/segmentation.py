"""Supervised segmentation: the cross-entropy of each pixel of labelled images that has a class.

The baseline of Xu et al. 2022, "Revisiting Pretraining for Semi-Supervised Learning in the Low-Label Regime",
arXiv:2205.03001, Tables II to IV: DeepLab (`models.deeplab`) on a backbone with dilation.  Views are scaled by 0.5 to
1.5, cropped and mirrored, and layers that are not the backbone's learn 10 times as fast, as in the code of CutMix for
segmentation, Britefury/cutmix-semisup-seg.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods._segmenter import Crops, faster, head_on, pixel_cross_entropy, pixel_logits
from raysl.models.encoder import Encoder


class Segmentation(Method):
    """Cross-entropy on the pixels of labelled images.

    head: `deeplabv3` or `deeplabv2`.  width, dropout: channels of `deeplabv3`, and the share of them that it drops.
    output_stride: how many times smaller than images the backbone's maps are, at most.
    freeze_norm: the backbone's batch normalisations keep the statistics that they start with.
    head_lr: factor of the learning rate of the head.
    crop: pixels of a view's edge; None is the images' own.  min_scale, max_scale: bounds of the scale of views.
    p_flip: probability that a view is mirrored.
    """

    streams = ("labelled",)
    level = "pixel"
    shapes_loss = ("crop", "min_scale", "max_scale", "p_flip")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        head: Literal["deeplabv3", "deeplabv2"] = "deeplabv3",
        width: Annotated[int, Ge(1)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.5,
        output_stride: Literal[4, 8, 16, 32] = 16,
        freeze_norm: bool = False,
        head_lr: Annotated[float, Gt(0)] = 10.0,
        crop: Annotated[int, Ge(8)] | None = None,
        min_scale: Annotated[float, Gt(0), Le(1)] = 0.5,
        max_scale: Annotated[float, Ge(1)] = 1.5,
        p_flip: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(encoder)
        self.head = head_on(
            encoder,
            num_classes,
            head,
            width=width,
            dropout=dropout,
            output_stride=output_stride,
            freeze_norm=freeze_norm,
        )
        self.head_lr = head_lr
        self.crops = Crops(encoder.image_size, crop, (min_scale, max_scale), p_flip)

    def views(self) -> Mapping[str, ViewSpec]:
        return {"labelled": self.crops.view("labelled")}

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        images, classes = views["labelled"].images, views["labelled"].labels
        assert classes is not None
        (logits,) = pixel_logits(self.encoder, self.head, images)
        loss = pixel_cross_entropy(logits, classes)
        return Losses(loss, {"supervised": loss})

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return faster(self.head, self.head_lr)

    def evaluation(self) -> Evaluation:
        return Evaluation(self.encoder, self.head)
