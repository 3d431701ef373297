"""The denoising autoencoder: Vincent et al. 2008, "Extracting and composing robust features with denoising
autoencoders", with two noisy views as in Baier et al. 2024, "Self-supervised Siamese autoencoders", section 3.2:
L_dae = 1/2 D_mse(x, x1') + 1/2 D_mse(x, x2').

The target is the clean image x, as in the formula and in Vincent et al.; a sentence beside the formula says "the raw
inputs, x1 and x2". The noise is that of SidAE's views; encoder, projector and decoder are those of SidAE. The paper
leaves open, and raysl chooses: images are normalised as the network sees them, and the error is the mean over pixels
and channels.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, MultipleOf
from torch import Tensor

from raysl.collectives import sample_mean
from raysl.data.augment.views import identity
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.methods.simsiam import build_projector, distorted_views, embedding_spread
from raysl.models.decoder import Decoder
from raysl.models.encoder import Encoder


def reconstruction_loss(original: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return L_dae over the global batch, in fp32 at least.

    original: [B, C, H, W], the clean images.  first, second: the same shape, of any precision: the reconstructions from
    their noisy views.
    """
    return (squared_error(original, first) + squared_error(original, second)) / 2


def squared_error(original: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the squared error, mean over the pixels, channels and images of the global batch; in fp32 at least."""
    difference = reconstruction.to(torch.promote_types(reconstruction.dtype, torch.float32)) - original
    return sample_mean(difference.square().mean((1, 2, 3)))


class DenoisingAutoencoder(Method):
    """Two distorted views of an unlabelled image, from each of which the clean image is reconstructed.

    projector: width of the code.  decoder: channels that the decoder begins with; each of its layers halves them.
    min_crop: least share of an image's area that a view shows.  p_blur: share of views that are blurred.
    interpolation: filter of a view's crop, by torchvision's name.
    """

    streams = ("unlabelled",)
    # Widths change how well the pixels can be reconstructed, not the task.
    shapes_loss = ("min_crop", "interpolation", "p_blur")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        projector: Annotated[int, Ge(2), Le(2**16)] = 2048,
        decoder: Annotated[int, Ge(16), Le(2**16), MultipleOf(16)] = 512,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        p_blur: Annotated[float, Ge(0), Le(1)] = 0.0,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    ) -> None:
        super().__init__(encoder)
        self.min_crop, self.p_blur, self.interpolation = min_crop, p_blur, interpolation
        self.projector = build_projector(encoder.num_features, projector)
        self.decoder = Decoder(projector, decoder, encoder.channels, encoder.image_size)

    def views(self) -> Mapping[str, ViewSpec]:
        return {
            **distorted_views(self.min_crop, self.p_blur, self.interpolation),
            "original": ViewSpec("unlabelled", identity),
        }

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        z1, z2 = (self.projector(self.encoder(views[name].images)) for name in ("first", "second"))
        loss = reconstruction_loss(views["original"].images, self.decoder(z1), self.decoder(z2))
        return Losses(loss, {"denoising": loss}, embedding_spread(z1, z2))
