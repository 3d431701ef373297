"""SidAE: Baier et al. 2024, "Self-supervised Siamese autoencoders", section 3.2:
L_sidae = w L_dae + (1 - w) L_si, with L_dae of `denoising_autoencoder` and L_si of `simsiam` on the same embeddings.

w = 0 trains the encoder as `simsiam` does, and w = 1 as `denoising_autoencoder` does: with the same seed all three have
the same initial weights and see the same views. The denoising part also trains the embeddings that are targets of the
siamese part: gradients are stopped in L_si alone.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, MultipleOf

from raysl.data.augment.views import identity
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.methods.denoising_autoencoder import reconstruction_loss
from raysl.methods.simsiam import build_predictor, build_projector, distorted_views, embedding_spread, siamese_loss
from raysl.models.decoder import Decoder
from raysl.models.encoder import Encoder


class Sidae(Method):
    """SimSiam and a denoising autoencoder at once, on the same embeddings of two distorted views.

    w: weight of the denoising part; the siamese part has 1 - w.
    projector: width of the embeddings.  predictor: width of the predictor's bottleneck.  decoder: channels that the
    decoder begins with; each of its layers halves them.
    min_crop: least share of an image's area that a view shows.  p_blur: share of views that are blurred.
    interpolation: filter of a view's crop, by torchvision's name.
    """

    streams = ("unlabelled",)
    shapes_loss = ("w", "projector", "min_crop", "interpolation", "p_blur")  # `projector` as in SimSiam

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        w: Annotated[float, Ge(0), Le(1)] = 0.5,
        projector: Annotated[int, Ge(2), Le(2**16)] = 2048,
        predictor: Annotated[int, Ge(1), Le(2**16)] = 512,
        decoder: Annotated[int, Ge(16), Le(2**16), MultipleOf(16)] = 512,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        p_blur: Annotated[float, Ge(0), Le(1)] = 0.0,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    ) -> None:
        super().__init__(encoder)
        self.w, self.min_crop, self.p_blur, self.interpolation = w, min_crop, p_blur, interpolation
        self.projector = build_projector(encoder.num_features, projector)
        # Predictor and decoder are both initialised from the random state after the projector, as in `simsiam` and
        # `denoising_autoencoder`.
        with torch.random.fork_rng(devices=[]):
            self.predictor = build_predictor(projector, predictor)
        self.decoder = Decoder(projector, decoder, encoder.channels, encoder.image_size)

    def views(self) -> Mapping[str, ViewSpec]:
        return {
            **distorted_views(self.min_crop, self.p_blur, self.interpolation),
            "original": ViewSpec("unlabelled", identity),
        }

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        z1, z2 = (self.projector(self.encoder(views[name].images)) for name in ("first", "second"))
        denoising = reconstruction_loss(views["original"].images, self.decoder(z1), self.decoder(z2))
        siamese = siamese_loss(z1, z2, self.predictor(z1), self.predictor(z2))
        total = self.w * denoising + (1 - self.w) * siamese
        return Losses(total, {"denoising": denoising, "siamese": siamese}, embedding_spread(z1, z2))
