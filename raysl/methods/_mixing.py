"""What methods share that learn masks from mixed unlabelled images and an averaged teacher's predictions.

The teacher predicts unmixed images, without gradient.  An image and its prediction are mixed by one mask with those of
the next image of the global batch; the last image's next is the first.
"""

from typing import Self

import torch
from torch import Tensor, nn

from raysl.collectives import gather, rank, sample_mean, world_size
from raysl.methods._learner import wide
from raysl.methods._method import Evaluation
from raysl.models.dense import enlarged
from raysl.models.ema import average_of, update_average
from raysl.models.encoder import Encoder


class Teacher(nn.Module):
    """The exponential moving average of an encoder, its segmentation head and further networks; always in eval mode.

    It begins at their initial weights.  Running statistics are averaged as weights are.  Its predictions depend neither
    on the other images of a batch nor on dropout.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, *others: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = average_of(encoder), average_of(head)
        self.others = nn.ModuleList(average_of(other) for other in others)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    @torch.no_grad()
    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's maps [B, width, h, w] of images, and the logits [B, K, h, w], in fp32 at least."""
        maps = self.encoder.maps(images)
        return maps, wide(self.head(maps))

    def update(self, networks: tuple[nn.Module, ...], kept: float) -> None:
        """Move the average towards its networks, given in the order of the constructor.

        kept: share of the average that is kept.
        """
        update_average((self.encoder, self.head, *self.others), networks, 1 - kept, buffers="averaged")

    def evaluation(self) -> Evaluation:
        """Return the averaged networks as those that are evaluated."""
        return Evaluation(self.encoder, self.head)


def kept_share(momentum: float, number: int, rate: int) -> float:
    """Return the share of a teacher that is kept after a step: 1 - 1 / (rate k + 1), and at most the momentum.

    number: k, the steps before it.
    """
    return min(1 - 1 / (rate * number + 1), momentum)


def partners(rows: Tensor) -> Tensor:
    """Return the row that follows each of this rank's rows in the global batch; the first follows the last.

    rows: [B, ...], as `gather` takes them.
    """
    return gather(rows).roll(-1, 0)[rank() :: world_size()]


def mixed(kept: Tensor, images: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """Return images [B, C, H, W] and their logits [B, K, H, W], both mixed with their partners' by one mask.

    kept: bool [B, H, W], the pixels of the image itself; the others are the partner's.
    coarse: logits [B, K, h, w] of the unmixed images, which are enlarged before they are mixed.
    """
    own, size = kept.unsqueeze(1), images.shape[2:]
    logits = torch.where(own, enlarged(coarse, size), enlarged(partners(coarse), size))
    return torch.where(own, images, partners(images)), logits


def sure_shares(logits: Tensor, threshold: float) -> Tensor:
    """Return the share of each image's pixels whose highest probability is the threshold or more, [B].

    logits: [B, K, H, W].
    """
    return (logits.softmax(dim=1).amax(dim=1) >= threshold).to(logits.dtype).mean(dim=(1, 2))


def pixel_mean(values: Tensor) -> Tensor:
    """Return this rank's share of the mean over all pixels of the global batch.

    values: [B, H, W].
    """
    return sample_mean(values.mean(dim=(1, 2)))
