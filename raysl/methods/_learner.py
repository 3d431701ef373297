"""What methods that learn classes from labelled and unlabelled images share."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from raysl.methods._method import Evaluation, ParameterGroup
from raysl.models.ema import average_of, update_average
from raysl.models.encoder import Encoder


class Average(nn.Module):
    """The exponential moving average of an encoder and its classifier, which begins at their initial weights."""

    def __init__(self, encoder: Encoder, classifier: nn.Module) -> None:
        super().__init__()
        self.encoder, self.classifier = average_of(encoder), average_of(classifier)

    def update(self, encoder: Encoder, classifier: nn.Module, momentum: float) -> None:
        """Move the average towards the weights, and copy their running statistics.

        momentum: share of the average that is kept.
        """
        update_average((self.encoder, self.classifier), (encoder, classifier), 1 - momentum, buffers="copied")

    def evaluation(self) -> Evaluation:
        """Return the averaged networks as those that are evaluated."""
        return Evaluation(self.encoder, self.classifier)


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
