"""CutMix for segmentation: French et al. 2020, "Semi-supervised semantic segmentation needs strong, varied
perturbations", arXiv:1906.01916: L = l_s + lambda_u c d.  l_s is the cross-entropy of labelled pixels.  Two unlabelled
images are mixed by a box of half the area, at a random place and of a random aspect ratio, and so are the teacher's
predictions for the unmixed images.  d is the squared difference between the student's probabilities for the mixed image
and the mixed ones, summed over classes, and its mean over pixels.  c is the share of the pixels of the batch for which
the teacher's highest mixed probability is at least tau: one number for the batch.  The teacher is the exponential
moving average of the student and is evaluated.  A learner of Xu et al. 2022, arXiv:2205.03001, Tables II to IV.

As in the authors' code, Britefury/cutmix-semisup-seg: d is a sum over classes, the box shows the other image, and the
average is of running statistics too.  Unlike there:
- The other image is the next one of the batch.  There, it is one of a second batch.
- Labelled and mixed images pass the student at once, so that batch normalisation takes its statistics from all.  There,
  one after the other.
- The teacher is in eval mode.  There, it is in train mode, which is the same with `freeze_norm` and `deeplabv2`.
- What lies outside an image is a reflection of it, and counts in d and c.  There, it has no loss.
- The student sees unlabelled images in their own colours.  There, scripts change these (`--aug_strong_colour`).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from raysl.collectives import mean_over_ranks, sample_mean
from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods._mixing import Teacher, mixed, pixel_mean, sure_shares
from raysl.methods._segmenter import Crops, faster, head_on, pixel_cross_entropy, pixel_logits
from raysl.models.encoder import Encoder

AREA = 0.5  # of a box, as a share of its image


def boxes(draw: Draw, height: int, width: int) -> Tensor:
    """Draw a box of half the area within each image: bool [B, H, W], True inside.

    Its height is between half of the image's and all of it, log-uniformly; edges are rounded to whole pixels.
    """
    aspect, down, across = draw.uniforms(3)
    tall = AREA**aspect
    return _stretch(tall, down, height).unsqueeze(2) & _stretch(AREA / tall, across, width).unsqueeze(1)


def _stretch(share: Tensor, place: Tensor, size: int) -> Tensor:
    """Return which places of a line lie in a stretch of it: bool [B, size]."""
    length = (share * size).round()
    start = ((size - length) * place).round()
    places = torch.arange(size)
    return (places >= start.unsqueeze(1)) & (places < (start + length).unsqueeze(1))


def with_boxes(
    images: Tensor, draw: Draw, *, make: Callable[[Tensor, Draw], tuple[Tensor, Tensor | None]]
) -> tuple[Tensor, Tensor]:
    """Return the view that `make` makes, and a box in each image, bool [B, H, W], on the images' device."""
    seen, _ = make(images, draw)
    # Drawn last, so that the view is the same as that of `make` alone.
    return seen, on_device(boxes(draw, *seen.shape[2:]), images.device)


def consistency_loss(student: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over pixels of the squared difference of probabilities, which is summed over classes.

    student, targets: logits [B, K, H, W], in fp32 at least, this rank's.
    """
    return pixel_mean((student.softmax(dim=1) - targets.softmax(dim=1)).square().sum(dim=1))


class Cutmix(Method):
    """Cross-entropy on labelled pixels, and the teacher's predictions for unlabelled images mixed by a box.

    tau: least probability of a class at which the teacher is sure of a pixel.  lambda_u: weight of the disagreement.
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
        tau: Annotated[float, Ge(0), Le(1)] = 0.97,
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
        self.tau, self.lambda_u, self.momentum, self.head_lr = tau, lambda_u, momentum, head_lr
        build = partial(head_on, encoder, num_classes, head, width=width, dropout=dropout)
        self.head = build(output_stride=output_stride, freeze_norm=freeze_norm)
        self.crops = Crops(encoder.image_size, crop, (min_scale, max_scale), p_flip)
        self.teacher = Teacher(encoder, self.head)

    def views(self) -> Mapping[str, ViewSpec]:
        make = partial(with_boxes, make=self.crops.view("unlabelled").make)
        return {"labelled": self.crops.view("labelled"), "unlabelled": ViewSpec("unlabelled", make)}

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labelled, unlabelled = views["labelled"], views["unlabelled"]
        assert labelled.labels is not None
        assert unlabelled.aug_params is not None
        _, coarse = self.teacher.predict(unlabelled.images)
        images, targets = mixed(~unlabelled.aug_params, unlabelled.images, coarse)
        known, student = pixel_logits(self.encoder, self.head, labelled.images, images)
        supervised = pixel_cross_entropy(known, labelled.labels)
        sure = mean_over_ranks(sample_mean(sure_shares(targets, self.tau)))
        consistency = sure * consistency_loss(student, targets)
        terms = {"supervised": supervised, "consistency": consistency}
        return Losses(supervised + self.lambda_u * consistency, terms, confident=sure)

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.teacher.update((self.encoder, self.head), self.momentum)

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return faster(self.head, self.head_lr)

    def evaluation(self) -> Evaluation:
        return self.teacher.evaluation()
