"""MoCo v2: Chen et al. 2020, "Improved baselines with momentum contrastive learning", arXiv:2003.04297; the loss is
equation 1 of He et al. 2020, "Momentum contrast for unsupervised visual representation learning", arXiv:1911.05722:
L = -log(exp(q k+ / T) / (exp(q k+ / T) + sum_i exp(q k_i / T))) of unit vectors, where q is the embedding of one view,
k+ the key of the other, and k_i the keys in the queue.  The key encoder follows the query encoder after each step:
theta_k <- m theta_k + (1 - m) theta_q (equation 2).  The keys of a batch then take the places of the oldest in the
queue, which begins with random unit vectors, as in the authors' implementation, facebookresearch/moco.

Unlike there, batches are not shuffled between devices for the keys' batch normalisation: its statistics are those of
the global batch here, and no device's own.

No spread: if all embeddings are equal, the loss is log(K + 1), that of guessing.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import gather, sample_mean
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.methods.simsiam import distorted_views
from raysl.models.ema import average_of, update_average
from raysl.models.encoder import Encoder


def info_nce_loss(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Return equation 1's mean over the global batch, in fp32 at least.

    queries, keys: [B, D] of any precision and length, this rank's; B may be 0.  queue: unit vectors [K, D].
    """
    with torch.autocast(queries.device.type, enabled=False):
        q, k = units(queries), units(keys)
        similarities = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.to(q.dtype).T], dim=1)
        places = torch.zeros(len(q), dtype=torch.int64, device=q.device)  # of the positive key
        return sample_mean(F.cross_entropy(similarities / temperature, places, reduction="none"))


def units(rows: Tensor) -> Tensor:
    """Return rows [B, D] scaled to length 1, in fp32 at least."""
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)


class Moco(Method):
    """Two distorted views of an unlabelled image, more alike than one of them and a queue of past images.

    temperature: of the softmax over similarities.  momentum: share of the key encoder that is kept at each step.
    queue: number of past keys.  hidden: width of the projector's hidden layer.  projector: width of the embeddings.
    min_crop: least share of an image's area that a view shows.  p_blur: share of views that are blurred.
    interpolation: filter of a view's crop, by torchvision's name.
    """

    streams = ("unlabelled",)
    # The hidden layer changes how well embeddings agree, not which they are compared with.
    shapes_loss = ("temperature", "momentum", "queue", "projector", "min_crop", "interpolation", "p_blur")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        temperature: Annotated[float, Gt(0)] = 0.2,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        queue: Annotated[int, Ge(1), Le(2**20)] = 65536,
        hidden: Annotated[int, Ge(1), Le(2**16)] = 2048,
        projector: Annotated[int, Ge(2), Le(2**16)] = 128,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        p_blur: Annotated[float, Ge(0), Le(1)] = 0.5,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    ) -> None:
        super().__init__(encoder)
        self.temperature, self.momentum = temperature, momentum
        self.min_crop, self.p_blur, self.interpolation = min_crop, p_blur, interpolation
        self.projector = nn.Sequential(nn.Linear(encoder.num_features, hidden), nn.ReLU(), nn.Linear(hidden, projector))
        self.key_encoder, self.key_projector = average_of(encoder), average_of(self.projector)
        self.register_buffer("queue", units(torch.randn(queue, projector)))

    def views(self) -> Mapping[str, ViewSpec]:
        return distorted_views(self.min_crop, self.p_blur, self.interpolation)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        queries = self.projector(self.encoder(views["first"].images))
        with torch.no_grad():
            keys = self.key_projector(self.key_encoder(views["second"].images))
        # A copy: the queue changes before the gradient of another forward may have been taken.
        loss = info_nce_loss(queries, keys, self.get_buffer("queue").clone(), self.temperature)
        return Losses(loss, {"info_nce": loss}, outputs={"keys": units(keys)})

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        keys, queries = (self.key_encoder, self.key_projector), (self.encoder, self.projector)
        update_average(keys, queries, 1 - self.momentum, buffers="own")
        queue = self.get_buffer("queue")
        queue.copy_(torch.cat([queue, gather(outputs["keys"]).to(queue.dtype)])[-len(queue) :])
