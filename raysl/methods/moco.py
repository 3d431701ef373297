"""MoCo v2: Chen et al. 2020, "Improved baselines with momentum contrastive learning", arXiv:2003.04297; the loss is
equation 1 of He et al. 2020, "Momentum contrast for unsupervised visual representation learning", arXiv:1911.05722:
L = -log(exp(q k+ / T) / (exp(q k+ / T) + sum_i exp(q k_i / T))) of unit vectors, where q is the embedding of one view,
k+ the key of the other, and k_i the keys in the queue.  The key encoder follows the query encoder after each step:
theta_k <- m theta_k + (1 - m) theta_q (equation 2).  The keys of a batch then take the places of the oldest in the
queue, which begins with random unit vectors, as in the authors' implementation, facebookresearch/moco.

There, each of 8 devices normalises its own images, and the images of keys are shuffled between devices.  A query and
its key are then normalised with different images.  Without that, batch statistics mark the positive key, even those of
the global batch: the keys in the queue are of other batches.  `norm_groups` does the same on any number of devices:
queries and keys pass their networks in random groups of the global batch, which are drawn for each anew.

In target pre-training (Xu et al. 2022, arXiv:2205.03001) the backbone's parameters are held near those that the
training begins with: L + lambda |phi - phi_0|^2.  Equation 3 has that for BYOL, whose loss in `byol` is twice the
equation's.

No spread: if all embeddings are equal, the loss is log(K + 1), that of guessing.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import gather, num_rows, sample_mean, world_size
from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.methods.byol import squared_distance
from raysl.methods.simsiam import distorted_views
from raysl.models.batch_norm import one_update_of
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
    l2_start: lambda, the weight of the squared distance of the backbone's parameters from their start.
    norm_groups: number of random groups of a batch that are normalised each by itself; 1 is the whole batch.
    """

    streams = ("unlabelled",)
    # The hidden layer changes how well embeddings agree, not which they are compared with.
    shapes_loss = (
        "temperature", "momentum", "queue", "projector", "min_crop", "interpolation", "p_blur", "l2_start",
        "norm_groups",
    )  # fmt: skip

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
        l2_start: Annotated[float, Ge(0)] = 0.0,
        norm_groups: Annotated[int, Ge(1), Le(2**10)] = 1,
    ) -> None:
        super().__init__(encoder)
        self.temperature, self.momentum = temperature, momentum
        self.l2_start, self.norm_groups = l2_start, norm_groups
        self.min_crop, self.p_blur, self.interpolation = min_crop, p_blur, interpolation
        self.projector = nn.Sequential(nn.Linear(encoder.num_features, hidden), nn.ReLU(), nn.Linear(hidden, projector))
        self.key_encoder, self.key_projector = average_of(encoder), average_of(self.projector)
        self.register_buffer("queue", units(torch.randn(queue, projector)))
        self.start = average_of(encoder.backbone) if l2_start > 0 else None

    def views(self) -> Mapping[str, ViewSpec]:
        views = distorted_views(self.min_crop, self.p_blur, self.interpolation)
        if self.norm_groups == 1:
            return views
        return {
            name: ViewSpec(view.stream, partial(_with_groups, make=view.make, most=self.norm_groups))
            for name, view in views.items()
        }

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        queries = self.projector(self._features(self.encoder, views["first"]))
        with torch.no_grad():
            keys = self.key_projector(self._features(self.key_encoder, views["second"]))
        # A copy: the queue changes before the gradient of another forward may have been taken.
        loss = info_nce_loss(queries, keys, self.get_buffer("queue").clone(), self.temperature)
        outputs = {"keys": units(keys)}
        if self.start is None:
            return Losses(loss, {"info_nce": loss}, outputs=outputs)
        distance = squared_distance(self.encoder.backbone, self.start)
        return Losses(loss + self.l2_start * distance, {"info_nce": loss, "l2_start": distance}, outputs=outputs)

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        keys, queries = (self.key_encoder, self.key_projector), (self.encoder, self.projector)
        update_average(keys, queries, 1 - self.momentum, buffers="own")
        queue = self.get_buffer("queue")
        queue.copy_(torch.cat([queue, gather(outputs["keys"]).to(queue.dtype)])[-len(queue) :])

    def _features(self, encoder: Encoder, view: View) -> Tensor:
        if self.norm_groups == 1:
            features: Tensor = encoder(view.images)
            return features
        assert view.aug_params is not None
        return in_groups(encoder, view.images, view.aug_params, self.norm_groups)


def in_groups(network: nn.Module, images: Tensor, groups: Tensor, most: int) -> Tensor:
    """Return a network's outputs for this rank's images [B, ...], which pass it group by group.

    groups: int64 [B], of `Draw.groups(most)`.
    """
    order = groups.argsort(stable=True)
    parts = torch.split(images[order], _sizes(groups, most))
    with one_update_of(len(parts), network):
        return torch.cat([network(part) for part in parts])[order.argsort()]


def _sizes(groups: Tensor, most: int) -> list[int]:
    """Return the number of this rank's rows in each group.

    A single rank computes it from the number of rows: to read the groups would make a GPU wait.
    """
    total = int(num_rows(groups)) if world_size() > 1 else len(groups)
    count = max(1, min(most, total // 2))
    if world_size() > 1:
        found: list[int] = groups.bincount(minlength=count).tolist()
        return found
    ends = [-(-number * total // count) for number in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]


def _with_groups(
    images: Tensor, draw: Draw, *, make: Callable[[Tensor, Draw], tuple[Tensor, Tensor | None]], most: int
) -> tuple[Tensor, Tensor]:
    """Return views of images [B, C, H, W], and the number of each one's group, int64 [B]."""
    seen, _ = make(images, draw)
    return seen, on_device(draw.groups(most), seen.device)
