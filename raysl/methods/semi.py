"""Unified semi-supervised training: supervised and self-supervised at once, on shared weights.

Cavallari & Ponti 2022, "Training strategies with unlabeled and few labeled examples under 1-pixel attack", equation 1:
L_SS = lambda_l l_l(D_l) + lambda_u l_u(D_u). l_l is the cross-entropy of `supervised`, l_u the loss of any method
that learns from unlabelled images.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Gt

from raysl.methods._method import Evaluation, Losses, Method, Step, View, ViewSpec
from raysl.methods.supervised import Supervised
from raysl.models.encoder import Encoder


class Semi(Method):
    """Cross-entropy on the labelled images plus a pretext method on the unlabelled ones.

    The branches pass the encoder one after the other, as in a siamese network, so that batch normalisation normalises
    each by itself.

    pretext: a method of unlabelled images alone, built around the same encoder.
    lambda_l: weight of the cross-entropy.  lambda_u: weight of the pretext method's loss.
    views: of the labelled images, as in `supervised`.
    """

    streams = ("labelled", "unlabelled")
    shapes_loss = ("lambda_l", "lambda_u", "views")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        pretext: Method,
        lambda_l: Annotated[float, Gt(0)] = 1.0,
        lambda_u: Annotated[float, Gt(0)] = 1.0,
        views: Literal["none", "crop_flip", "distorted"] = "none",
    ) -> None:
        super().__init__(encoder)
        assert pretext.encoder is encoder
        self.supervised = Supervised(encoder, num_classes, views=views)
        self.pretext = pretext
        self.lambda_l = lambda_l
        self.lambda_u = lambda_u

    def views(self) -> Mapping[str, ViewSpec]:
        return {**self.supervised.views(), **self.pretext.views()}

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labelled = self.supervised(views, step)
        unlabelled = self.pretext(views, step)
        total = self.lambda_l * labelled.total + self.lambda_u * unlabelled.total
        outputs = {**labelled.outputs_of("supervised"), **unlabelled.outputs_of("pretext")}
        return Losses(total, {**labelled.terms, **unlabelled.terms}, unlabelled.spread, outputs)

    def evaluation(self) -> Evaluation:
        return self.supervised.evaluation()
