"""What methods that learn masks share."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysl.collectives import counted_mean
from raysl.data.augment.geometry import cropped_images, cropped_masks
from raysl.methods._learner import wide
from raysl.methods._method import ParameterGroup, Stream, ViewSpec
from raysl.models.deeplab import Head, build_head
from raysl.models.dense import enlarged, set_output_stride
from raysl.models.encoder import Encoder
from raysl.results.confusion import IGNORED


class Crops(NamedTuple):
    """How views of images with masks are cropped, as `geometry.scaled_crops` takes it.

    crop: None is the whole edge.
    """

    edge: int
    crop: int | None
    scale: tuple[float, float]
    p_flip: float

    def view(self, stream: Stream) -> ViewSpec:
        """Return the view of a stream, with its masks if it is labelled."""
        given = {"crop": self.crop or self.edge, "scale": self.scale, "p_flip": self.p_flip}
        masks = partial(cropped_masks, **given) if stream == "labelled" else None  # type: ignore[arg-type]
        return ViewSpec(stream, partial(cropped_images, **given), masks)  # type: ignore[arg-type]


def head_on(
    encoder: Encoder,
    num_classes: int,
    name: Head,
    *,
    width: int,
    dropout: float,
    output_stride: int,
    freeze_norm: bool,
) -> nn.Module:
    """Return a head on an encoder's maps, and give the encoder this output stride.

    encoder: without a layer after the pooling.  freeze_norm: its batch normalisations keep their statistics.
    name, width, dropout: as `build_head` takes them.
    """
    set_output_stride(encoder.backbone, output_stride)
    encoder.norms_frozen = freeze_norm
    return build_head(
        name, encoder.num_features, num_classes, width=width, dropout=dropout, output_stride=output_stride
    )


def pixel_logits(encoder: Encoder, head: nn.Module, *groups: Tensor) -> tuple[Tensor, ...]:
    """Return the logits [B_i, K, H, W] of groups of images of one size, which pass the networks at once; in fp32.

    Batch normalisation then takes its statistics from all of them.
    groups: [B_i, C, H, W] each.
    """
    logits = enlarged(wide(head(encoder.maps(torch.cat(groups)))), groups[0].shape[2:])
    return torch.split(logits, [len(group) for group in groups])


def pixel_cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean cross-entropy over the pixels of the global batch that have a class; 0 if none has.

    logits: [B, K, H, W], in fp32 at least.  classes: int64 [B, H, W]; IGNORED is none.
    """
    return counted_mean(F.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="none"), classes != IGNORED)


def faster(head: nn.Module, factor: float) -> Mapping[str, ParameterGroup]:
    """Return the group of a head's parameters, trained with so many times the learning rate."""
    return {"head": ParameterGroup(list(head.parameters()), lr=factor)}
