"""SimCLR: Chen et al. 2020, "A simple framework for contrastive learning of visual representations",
arXiv:2002.05709, equation 1 (NT-Xent): l(i, j) = -log(exp(s_ij / T) / sum_{k != i} exp(s_ik / T)), where s is the
cosine similarity of two of a batch's 2B embeddings, i and j are the views of one image, and k is each of the 2B - 1
others; the mean over all i.

As a baseline of TriMix (Bdair et al. 2022, "TriMix: Virtual embeddings and self-consistency for self-supervised
learning"), with that paper's projector and views. That paper gives no temperature: 0.2 is solo-learn's for CIFAR. The
views pass the encoder one after the other.

No spread: if all embeddings are equal, the loss is log(2B - 1), that of guessing and above that of any sound training,
so that no selection by the loss prefers a collapse.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor

from raysl.collectives import gather, rank, sample_mean, world_size
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.methods.simsiam import distorted_views
from raysl.models.encoder import Encoder
from raysl.models.projector import build_projector


def nt_xent_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return equation 1's mean over the global batch, in fp32 at least; each embedding is compared with all ranks'.

    first, second: [B, D] of any precision and length, this rank's embeddings of the two views.  B is as `gather` takes
    it, and may be 0.
    """
    with torch.autocast(first.device.type, enabled=False):
        pairs = torch.stack([first, second], dim=1)
        units = F.normalize(pairs.to(torch.promote_types(pairs.dtype, torch.float32)), dim=2)
        anchors, candidates = units.flatten(0, 1), gather(units).flatten(0, 1)
        # The views of image n of the global batch are its embeddings 2n and 2n + 1.
        places = torch.arange(len(candidates), device=units.device)
        own = places.view(-1, 2)[rank() :: world_size()].flatten()
        similarities = (anchors @ candidates.T / temperature).masked_fill(own[:, None] == places, -torch.inf)
        losses = F.cross_entropy(similarities, own ^ 1, reduction="none")
        return sample_mean(losses.view(-1, 2).mean(1))


class Simclr(Method):
    """Two distorted views of an unlabelled image, more alike than those of different images of the batch.

    temperature: of the softmax over similarities.  projector: width of each of the projector's three layers.
    min_crop: least share of an image's area that a view shows.
    interpolation: filter of a view's crop, by torchvision's name.
    """

    streams = ("unlabelled",)
    # Fewer dimensions have fewer dissimilar directions.
    shapes_loss = ("temperature", "projector", "min_crop", "interpolation")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        temperature: Annotated[float, Gt(0)] = 0.2,
        projector: Annotated[int, Ge(2), Le(2**16)] = 1024,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    ) -> None:
        super().__init__(encoder)
        self.temperature, self.min_crop, self.interpolation = temperature, min_crop, interpolation
        self.projector = build_projector(encoder.num_features, projector, projector)

    def views(self) -> Mapping[str, ViewSpec]:
        return distorted_views(self.min_crop, 0.0, self.interpolation)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        z1, z2 = (self.projector(self.encoder(views[name].images)) for name in ("first", "second"))
        loss = nt_xent_loss(z1, z2, self.temperature)
        return Losses(loss, {"nt_xent": loss})
