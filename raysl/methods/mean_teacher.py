"""Mean Teacher: Tarvainen & Valpola 2017, "Mean teachers are better role models: Weight-averaged consistency targets
improve semi-supervised deep learning results", arXiv:1703.01780: L = l_s + lambda_u w(k) J.  l_s is the cross-entropy
of the labelled images.  J is the mean, over unlabelled images and classes, of the squared difference between the
student's probabilities for one view and the teacher's for another (section 2); w rises along exp(-5 (1 - t)^2) to 1
and stays there.  The teacher's weights follow the student's after each step: theta' <- a theta' + (1 - a) theta
(equation 2).

As in the authors' code, CuriousAI/mean-teacher (pytorch/main.py): a is 1 - 1 / (k + 2) in the first steps k, until
that exceeds the momentum, so that the teacher soon forgets the initial weights; buffers are not averaged, for the
teacher passes its images in train mode and has running statistics of its own, here those of unlabelled images; and the
teacher is what is evaluated.  There, labelled images are in the consistency loss as well, both networks see equal
batches, and biases and norms decay.  Here, the student passes labelled and unlabelled images at once, the teacher the
unlabelled ones alone, and D_u, which has the labelled images in it, is all of the consistency loss.  Weight and ramp
are not the authors' but USB's, microsoft/Semi-supervised-learning: 50, and 40 % of the steps, where the ramp is linear.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import sample_mean
from raysl.data.augment.consistency import weak
from raysl.methods._learner import together, undecayed, wide
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods.supervised import cross_entropy
from raysl.models.ema import average_of, update_average
from raysl.models.encoder import Encoder


def consistency_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of probabilities, over classes and the images of the global batch.

    student, teacher: logits [B, K], in fp32 at least, this rank's; B may be 0.
    """
    return sample_mean((student.softmax(dim=1) - teacher.softmax(dim=1)).square().mean(dim=1))


def ramped(progress: float, ramp: float) -> float:
    """Return exp(-5 (1 - t)^2), where t rises from 0 to 1 over a share `ramp` of the training; 1 without a ramp.

    progress: k / K.
    """
    t = min(progress / ramp, 1.0) if ramp else 1.0
    return math.exp(-5 * (1 - t) ** 2)


def kept_share(momentum: float, number: int) -> float:
    """Return the share of the teacher that is kept after a step, of which there have been `number` before."""
    return min(1 - 1 / (number + 2), momentum)


class MeanTeacher(Method):
    """Cross-entropy on labelled images, and agreement with an average of past networks on the unlabelled ones.

    lambda_u: weight of the disagreement, at the end of its ramp.  ramp: share of the steps in which the weight rises.
    momentum: share of the teacher that is kept at each step; the teacher is evaluated.
    p_flip: probability that a view is mirrored; 0 for images that mean something else then, such as digits.
    """

    streams = ("labelled", "unlabelled")
    shapes_loss = ("lambda_u", "ramp", "momentum", "p_flip")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        lambda_u: Annotated[float, Gt(0)] = 50.0,
        ramp: Annotated[float, Ge(0), Le(1)] = 0.4,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        p_flip: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(encoder)
        self.lambda_u, self.ramp, self.momentum, self.p_flip = lambda_u, ramp, momentum, p_flip
        self.classifier = nn.Linear(encoder.num_features, num_classes)
        self.teacher_encoder, self.teacher_classifier = average_of(encoder), average_of(self.classifier)

    def views(self) -> Mapping[str, ViewSpec]:
        make = partial(weak, p_flip=self.p_flip)
        return {
            "labelled": ViewSpec("labelled", make),
            "first": ViewSpec("unlabelled", make),
            "second": ViewSpec("unlabelled", make),
        }

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        features = together(self.encoder, views["labelled"].images, views["first"].images)
        labelled, student = (wide(self.classifier(group)) for group in features)
        with torch.no_grad():
            teacher = wide(self.teacher_classifier(self.teacher_encoder(views["second"].images)))
        assert views["labelled"].labels is not None
        supervised = cross_entropy(labelled, views["labelled"].labels)
        consistency = consistency_loss(student, teacher)
        total = supervised + self.lambda_u * ramped(step.progress, self.ramp) * consistency
        return Losses(total, {"supervised": supervised, "consistency": consistency})

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        teacher, student = (self.teacher_encoder, self.teacher_classifier), (self.encoder, self.classifier)
        update_average(teacher, student, 1 - kept_share(self.momentum, step.number), buffers="own")

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return undecayed(self.encoder, self.classifier)

    def evaluation(self) -> Evaluation:
        return Evaluation(self.teacher_encoder, self.teacher_classifier)
