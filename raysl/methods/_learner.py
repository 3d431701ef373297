"""What methods that learn classes from labelled and unlabelled images share."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from raysl.methods._method import ParameterGroup
from raysl.models.encoder import Encoder


def together(encoder: Encoder, *groups: Tensor) -> tuple[Tensor, ...]:
    """Return the features [B_i, D] of groups of images, which pass the encoder at once.

    Batch normalisation then takes its statistics from all of them.
    groups: [B_i, C, H, W] each, or the backbone's output for them (`Encoder.forward`).
    """
    return torch.split(encoder(torch.cat(groups)), [len(group) for group in groups])


def wide(logits: Tensor) -> Tensor:
    """Return logits in fp32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def undecayed(*modules: nn.Module) -> Mapping[str, ParameterGroup]:
    """Return the group of all biases and normalisation parameters, which are trained without weight decay."""
    vectors = [parameter for module in modules for parameter in module.parameters() if parameter.ndim <= 1]
    return {"undecayed": ParameterGroup(vectors, weight_decay=0.0)}
