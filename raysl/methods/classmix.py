"""ClassMix: Olsson et al. 2021, "ClassMix: Segmentation-based data augmentation for semi-supervised learning",
arXiv:2007.07936: L = l_s + lambda_u l_u.  l_s is the cross-entropy of labelled pixels.  The teacher predicts two
unlabelled images A and B; half of the classes that it predicts in A, drawn at random, are cut out of A and pasted on B,
and so are its predictions.  l_u is the mean over images of the cross-entropy of the mixed image with the argmax of the
mixed predictions, averaged over its pixels, times the share of them for which the highest mixed probability is at least
tau.  The teacher is the exponential moving average of the student.  A learner of Xu et al. 2022, arXiv:2205.03001,
Table II.

As in the authors' code, WilhelmT/ClassMix: B is the next image of the batch, and the share of the teacher that is kept
after step k is 1 - 1 / (k + 1), until that exceeds the momentum.  Unlike there:
- Of an odd number of classes, half is rounded up, so that of one class all is pasted.  There, it is rounded down.
- The share of sure pixels is each image's.  There, it is the batch's.
- Mixed images have no colour jitter and no blur.
- Labelled and mixed images pass the student at once, and the teacher is in eval mode, with averaged statistics.  There,
  both pass one after the other, and the teacher is in train mode.
- The teacher is evaluated.  There, it is the student.
- What lies outside an image is a reflection of it, as in `cutmix`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from raysl.collectives import sample_mean
from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods._mixing import Teacher, kept_share, mixed, sure_shares
from raysl.methods._segmenter import Crops, faster, head_on, pixel_cross_entropy, pixel_logits
from raysl.models.dense import enlarged
from raysl.models.encoder import Encoder


def with_priorities(
    images: Tensor, draw: Draw, *, make: Callable[[Tensor, Draw], tuple[Tensor, Tensor | None]], num_classes: int
) -> tuple[Tensor, Tensor]:
    """Return the view that `make` makes, and a random number for each class, float32 [B, K], on the images' device."""
    seen, _ = make(images, draw)
    # Drawn last, so that the view is the same as that of `make` alone.
    return seen, on_device(draw.uniforms(num_classes).T, images.device)


def pasted(classes: Tensor, priorities: Tensor) -> Tensor:
    """Return which pixels are of half of an image's classes, rounded up, those with the least priorities.

    classes: int64 [B, H, W].  priorities: [B, K]; those of classes that an image lacks count nothing.
    Returns bool [B, H, W].
    """
    present = torch.zeros_like(priorities, dtype=torch.bool).scatter(1, classes.flatten(1), True)
    places = priorities.masked_fill(~present, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
    chosen = places < (present.sum(dim=1, keepdim=True) + 1) // 2
    return chosen.gather(1, classes.flatten(1)).view_as(classes)


def class_mixed(images: Tensor, coarse: Tensor, priorities: Tensor) -> tuple[Tensor, Tensor]:
    """Return images and their logits, as `_mixing.mixed` does: half of the classes of each are pasted on the next one.

    images: [B, C, H, W].  coarse: the teacher's logits [B, K, h, w] for them.  priorities: as `pasted` takes them.
    """
    classes = enlarged(coarse, images.shape[2:]).argmax(dim=1)
    return mixed(pasted(classes, priorities), images, coarse)


def pseudo_label_loss(student: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over the global batch's images of their weighted cross-entropy with the targets' argmax.

    student, targets: logits [B, K, H, W], in fp32 at least, this rank's.  weights: of images [B], or of pixels
    [B, H, W].
    """
    losses = F.cross_entropy(student, targets.argmax(dim=1), reduction="none")
    weighted = losses * (weights if weights.dim() == 3 else weights.view(-1, 1, 1))
    return sample_mean(weighted.mean(dim=(1, 2)))


class Classmix(Method):
    """Cross-entropy on labelled pixels, and on unlabelled images with classes of one pasted on the other.

    tau: least probability of a class at which the teacher is sure of a pixel.  lambda_u: weight of the unlabelled loss.
    momentum: share of the teacher that is kept at each step; the teacher is evaluated.
    head, width, dropout, output_stride, freeze_norm, head_lr, crop, min_scale, max_scale, p_flip: as in `segmentation`.
    """

    streams = ("labelled", "unlabelled")
    level = "pixel"
    shapes_loss = ("tau", "lambda_u", "momentum", "crop", "min_scale", "max_scale", "p_flip")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        tau: Annotated[float, Ge(0), Le(1)] = 0.968,
        lambda_u: Annotated[float, Gt(0)] = 1.0,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.99,
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
        self.num_classes, self.head_lr = num_classes, head_lr
        self.tau, self.lambda_u, self.momentum = tau, lambda_u, momentum
        build = partial(head_on, encoder, num_classes, head, width=width, dropout=dropout)
        self.head = build(output_stride=output_stride, freeze_norm=freeze_norm)
        self.crops = Crops(encoder.image_size, crop, (min_scale, max_scale), p_flip)
        self.teacher = Teacher(encoder, self.head)

    def views(self) -> Mapping[str, ViewSpec]:
        make = partial(with_priorities, make=self.crops.view("unlabelled").make, num_classes=self.num_classes)
        return {"labelled": self.crops.view("labelled"), "unlabelled": ViewSpec("unlabelled", make)}

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labelled, unlabelled = views["labelled"], views["unlabelled"]
        assert labelled.labels is not None
        assert unlabelled.aug_params is not None
        _, coarse = self.teacher.predict(unlabelled.images)
        images, targets = class_mixed(unlabelled.images, coarse, unlabelled.aug_params)
        known, student = pixel_logits(self.encoder, self.head, labelled.images, images)
        supervised = pixel_cross_entropy(known, labelled.labels)
        sure = sure_shares(targets, self.tau)
        pseudo = pseudo_label_loss(student, targets, sure)
        terms = {"supervised": supervised, "pseudo": pseudo}
        return Losses(supervised + self.lambda_u * pseudo, terms, confident=sample_mean(sure))

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.teacher.update((self.encoder, self.head), kept_share(self.momentum, step.number, 1))

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return faster(self.head, self.head_lr)

    def evaluation(self) -> Evaluation:
        return self.teacher.evaluation()
