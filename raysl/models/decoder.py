"""From embeddings back to images: the decoder of SidAE (Baier et al. 2024, "Self-supervised Siamese autoencoders",
section 3.2): a fully connected layer and five transposed convolutions of 3x3 pixels, stride 2 and output padding 1.

The paper leaves open, and raysl chooses: 512 channels that each layer halves, batch normalisation and ReLU between
layers, none after the last one, padding 1, with which each layer doubles the edge: 1, 2, 4, 8, 16, 32 pixels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

NUM_LAYERS = 5  # transposed convolutions


def map_sizes(image_size: int) -> list[int]:
    """Return the edges of the maps from the first to the image's: each is half of the next one, rounded up."""
    sizes = [image_size]
    while len(sizes) <= NUM_LAYERS:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes[::-1]


class PixelToPixel(nn.ConvTranspose2d):
    """A transposed convolution from maps of one pixel to maps of one pixel, in fp32 under autocast too.

    On a CPU oneDNN's bfloat16 kernel leaves the gradient of the weights outside their centre uninitialised (torch
    2.15).
    """

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        with torch.autocast(maps.device.type, enabled=False):
            return super().forward(maps.to(self.weight.dtype), output_size)


class Decoder(nn.Module):
    """Embeddings [B, inputs] -> images [B, channels, image_size, image_size], of any real value.

    width: channels of the first map, a multiple of 16.  If the edge is no multiple of 32, the output padding of some
    layers is 0.
    """

    def __init__(self, inputs: int, width: int, channels: int, image_size: int) -> None:
        super().__init__()
        sizes = map_sizes(image_size)
        widths = [width >> layer for layer in range(NUM_LAYERS)]
        assert widths[-1] << (NUM_LAYERS - 1) == width
        self.first = (width, sizes[0], sizes[0])
        self.project = nn.Linear(inputs, width * sizes[0] ** 2, bias=False)
        layers: list[nn.Module] = []
        steps = zip(pairwise(sizes), pairwise([*widths, channels]), strict=True)
        for number, ((size, next_size), (before, after)) in enumerate(steps, 1):
            padding, bias = next_size - (2 * size - 1), number == NUM_LAYERS
            layers += [nn.BatchNorm2d(before), nn.ReLU()]
            kind = PixelToPixel if next_size == 1 else nn.ConvTranspose2d
            layers.append(kind(before, after, 3, stride=2, padding=1, output_padding=padding, bias=bias))
        self.layers = nn.Sequential(*layers)

    def forward(self, embeddings: Tensor) -> Tensor:
        images: Tensor = self.layers(self.project(embeddings).unflatten(1, self.first))
        return images
