"""Predicting rotations (RotNet): Gidaris et al. 2018, "Unsupervised representation learning by predicting image
rotations", arXiv:1803.07728, equations 2 and 3: softmax cross-entropy over turns by 0, 90, 180 and 270 degrees.

As l_u of equation 1 in Cavallari & Ponti 2022: rotation is the only augmentation.
"""

from collections.abc import Mapping
from typing import Literal

from torch import nn

from raysl.data.augment.views import rotated, rotated_copies
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.methods.supervised import cross_entropy
from raysl.models.encoder import Encoder

NUM_TURNS = 4


class Rotation(Method):
    """Predicts which of four quarter turns was applied to an unlabelled image.

    copies: 1 turns each image once, at random; 4 shows it in all four turns, as Gidaris et al. do.
    """

    streams = ("unlabelled",)

    def __init__(self, encoder: Encoder, num_classes: int, *, copies: Literal[1, 4] = 1) -> None:
        super().__init__(encoder)
        self.classifier = nn.Linear(encoder.num_features, NUM_TURNS)
        self.copies = copies

    def views(self) -> Mapping[str, ViewSpec]:
        return {"rotated": ViewSpec("unlabelled", rotated_copies if self.copies == NUM_TURNS else rotated)}

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        images, turns = views["rotated"].images, views["rotated"].aug_params
        assert turns is not None
        loss = cross_entropy(self.classifier(self.encoder(images)), turns)
        return Losses(loss, {"rotation": loss})
