"""PixPro: Xie et al. 2021, "Propagate yourself: exploring pixel-level consistency for unsupervised visual
representation learning", arXiv:2011.10043: L = -cos(y_i, x'_j) - cos(y_j, x'_i), mean over the positive pairs of an
image, and then over the images (equation 4). Pixel i is of one view and j of the other, x' are the target network's
projections, and y_i = sum_k max(cos(x_i, x_k), 0)^gamma g(x_k) over the pixels k of i's own view (equations 2 and 3).
A pair is positive where the centres of both bins lie nearer than the threshold, in units of the larger bin's diagonal
(equation 1). The target follows the online network as in BYOL.

Open, and as in the authors' implementation, zdaxie/PixPro: g(x_k) is scaled to unit length; an image whose views share
no pair adds 0 and counts in the mean; views are BYOL's two; convolutions have biases, except where batch normalisation
cancels them. Its loss is twice this one, and its term of whole images is not here.

With the affine view of Xu et al. 2022, "Revisiting Pretraining for Semi-Supervised Learning in the Low-Label Regime",
arXiv:2205.03001, section III-C, views are transformed at last, and the outputs of both networks are transformed back;
pixels that come from outside of the transformed view are in no pair.  With equation 3 the backbone is held near its
start: L + lambda |phi - phi_0|^2.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import sample_mean
from raysl.data.augment.affine import restored
from raysl.data.augment.augmentations import Interpolation
from raysl.data.augment.siamese import Placement, placed
from raysl.methods._learner import wide
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.methods.byol import relative_spread, squared_distance, target_rate
from raysl.models.dense import set_output_stride
from raysl.models.ema import average_of, update_average
from raysl.models.encoder import Encoder


def positive_pairs(first: Tensor, second: Tensor, size: tuple[int, int], threshold: float) -> Tensor:
    """Return which pixels of two views are a positive pair: bool [B, h w, h w], pixels of `first` in rows.

    first, second: [B, 4], the edges of the views (`Placement`).  size: h and w of both maps.
    threshold: greatest distance of the bins' centres, in diagonals of the larger bin, exclusive.
    """
    (x1, y1, diagonal1), (x2, y2, diagonal2) = (_bins(edges, size) for edges in (first, second))
    squares = (x1.unsqueeze(2) - x2.unsqueeze(1)).square_() + (y1.unsqueeze(2) - y2.unsqueeze(1)).square_()
    return squares < (threshold * torch.maximum(diagonal1, diagonal2)).square().view(-1, 1, 1)


def _bins(edges: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return x and y [B, h w] of the centres of a view's bins, and their diagonal [B], in pixels of the image."""
    left, top, right, bottom = edges.unbind(1)
    height, width = (bottom - top) / size[0], (right - left) / size[1]  # negative in a mirrored view
    down, across = (torch.arange(count, device=edges.device) + 0.5 for count in size)
    x = (left.unsqueeze(1) + across * width.unsqueeze(1)).unsqueeze(1).expand(-1, size[0], -1)
    y = (top.unsqueeze(1) + down * height.unsqueeze(1)).unsqueeze(2).expand(-1, -1, size[1])
    return x.flatten(1), y.flatten(1), torch.hypot(height, width)


def pixpro_loss(y1: Tensor, y2: Tensor, x1: Tensor, x2: Tensor, pairs: Tensor) -> Tensor:
    """Return equation 4 over the global batch: -2 to 2, in fp32 at least; an image without a pair counts as 0.

    y1, y2: [B, D, h, w] of any precision, this rank's propagated pixels of both views.
    x1, x2: [B, D, h, w], the targets.  pairs: bool [B, h w, h w], pixels of the first view in rows.
    """
    with torch.autocast(y1.device.type, enabled=False):
        y1, y2, x1, x2 = (_units(maps) for maps in (y1, y2, x1, x2))
        cosines = (y1.mT @ x2 + x1.mT @ y2) * pairs
        return sample_mean(-cosines.sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1))


def _units(maps: Tensor) -> Tensor:
    """Return the pixels [B, D, h w] of maps [B, D, h, w], each of unit length, in fp32 at least."""
    return F.normalize(wide(maps).flatten(2), dim=1)


class Propagation(nn.Module):
    """Pixels that are smoothed by those of the same image that are like them: x [B, D, h, w] -> y of the same shape.

    sharpness: gamma, the power of the similarity.
    """

    def __init__(self, width: int, sharpness: float) -> None:
        super().__init__()
        self.transform = nn.Conv2d(width, width, 1)
        self.sharpness = sharpness

    def forward(self, maps: Tensor) -> Tensor:
        values = self.transform(maps)
        with torch.autocast(maps.device.type, enabled=False):
            units = _units(maps)
            similarity = (units.mT @ units).clamp(min=0) ** self.sharpness
            return (_units(values) @ similarity).view_as(maps)


class Pixpro(Method):
    """Pixels of two distorted views of an unlabelled image, each predicting the pixel at the same place of the other.

    momentum: share of the target that is kept at the first step; it rises to 1 along a cosine.
    hidden: width of the hidden layer of the projector.  projector: width of the embeddings of pixels.
    threshold: greatest distance of a positive pair, in diagonals of a bin.  sharpness: power of pixels' similarity.
    min_crop: least share of an image's area that a view shows.
    interpolation: filter of a view's crop, by torchvision's name.
    affine: whether views are scaled, turned, sheared and shifted as well.
    output_stride: how many times smaller than images the backbone's maps are, at most.
    l2_start: lambda, the weight of the squared distance of the backbone's parameters from their start.
    """

    streams = ("unlabelled",)
    level = "pixel"
    shapes_loss = (
        "momentum", "projector", "threshold", "sharpness", "min_crop", "interpolation", "affine", "output_stride",
        "l2_start",
    )  # fmt: skip

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.99,
        hidden: Annotated[int, Ge(1), Le(2**16)] = 4096,
        projector: Annotated[int, Ge(2), Le(2**16)] = 256,
        threshold: Annotated[float, Gt(0)] = 0.7,
        sharpness: Annotated[float, Ge(1)] = 2.0,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
        affine: bool = False,
        output_stride: Literal[4, 8, 16, 32] = 32,
        l2_start: Annotated[float, Ge(0)] = 0.0,
    ) -> None:
        super().__init__(encoder)
        set_output_stride(encoder.backbone, output_stride)
        self.momentum, self.threshold, self.l2_start = momentum, threshold, l2_start
        self.min_crop, self.affine = min_crop, affine
        self.interpolation: Interpolation = interpolation
        self.projector = build_pixel_projector(encoder.num_features, hidden, projector)
        self.propagation = Propagation(projector, sharpness)
        self.target_encoder, self.target_projector = average_of(encoder), average_of(self.projector)
        self.start = average_of(encoder.backbone) if l2_start > 0 else None

    def views(self) -> Mapping[str, ViewSpec]:
        make = partial(
            placed, min_crop=self.min_crop, saturation=0.2, interpolation=self.interpolation, affine=self.affine
        )
        return {
            "first": ViewSpec("unlabelled", partial(make, p_blur=1.0, p_solarise=0.0)),
            "second": ViewSpec("unlabelled", partial(make, p_blur=0.1, p_solarise=0.2)),
        }

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        given = [views[name] for name in ("first", "second")]
        z1, z2 = (self.projector(self.encoder.maps(view.images)) for view in given)
        with torch.no_grad():
            targets = [self.target_projector(self.target_encoder.maps(view.images)) for view in given]
        loss = self._loss([self.propagation(z1), self.propagation(z2)], targets, given)
        spread = relative_spread(*(maps.movedim(1, 3).flatten(0, 2) for maps in (z1, z2)))
        if self.start is None:
            return Losses(loss, {"pixpro": loss}, spread)
        distance = squared_distance(self.encoder.backbone, self.start)
        return Losses(loss + self.l2_start * distance, {"pixpro": loss, "l2_start": distance}, spread)

    def _loss(self, propagated: list[Tensor], targets: list[Tensor], views: list[View]) -> Tensor:
        placements = [Placement.of(view.aug_params) for view in views if view.aug_params is not None]
        first, second = (placement.edges for placement in placements)
        size = (propagated[0].shape[2], propagated[0].shape[3])
        pairs = positive_pairs(first, second, size, self.threshold)
        if self.affine:
            for number, (_, matrices) in enumerate(placements):
                propagated[number], valid = restored(propagated[number], matrices)
                targets[number], _ = restored(targets[number], matrices)
                pairs &= valid.flatten(1).unsqueeze(2 - number)
        (y1, y2), (x1, x2) = propagated, targets
        return pixpro_loss(y1, y2, x1, x2, pairs)

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        target, online = (self.target_encoder, self.target_projector), (self.encoder, self.projector)
        update_average(target, online, target_rate(self.momentum, step.progress), buffers="own")


def build_pixel_projector(features: int, hidden: int, width: int) -> nn.Sequential:
    """Return two 1x1 convolutions, maps [B, features, h, w] -> [B, width, h, w], with random weights.

    Batch normalisation and ReLU are between them.
    """
    return nn.Sequential(
        nn.Conv2d(features, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(), nn.Conv2d(hidden, width, 1)
    )
