"""The decoder's sizes, its layers, and its range."""

import pytest
import torch
from torch import nn

from raysl.models.decoder import Decoder, map_sizes

SIZES = {
    4: [1, 1, 1, 1, 2, 4],
    8: [1, 1, 1, 2, 4, 8],
    28: [1, 2, 4, 7, 14, 28],
    32: [1, 2, 4, 8, 16, 32],
    50: [2, 4, 7, 13, 25, 50],
    96: [3, 6, 12, 24, 48, 96],
}


def transposed(decoder: Decoder) -> list[nn.ConvTranspose2d]:
    return [layer for layer in decoder.layers if isinstance(layer, nn.ConvTranspose2d)]


@pytest.mark.parametrize("image_size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_maps_grow_to_the_images_size(image_size: int, channels: int) -> None:
    decoder = Decoder(10, 16, channels, image_size)
    seen = []
    for layer in transposed(decoder):
        layer.register_forward_hook(lambda module, inputs, output: seen.extend([inputs[0].shape[2:], output.shape[2:]]))
    assert decoder(torch.randn(3, 10)).shape == (3, channels, image_size, image_size)
    expected = SIZES[image_size]
    assert map_sizes(image_size) == expected
    assert [tuple(size) for size in seen] == [(edge, edge) for edge in expected for edge in (edge, edge)][1:-1]


def test_layers_are_those_of_the_paper_at_32_pixels() -> None:
    decoder = Decoder(2048, 512, 3, 32)
    layers = transposed(decoder)
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [
        (512, 256),
        (256, 128),
        (128, 64),
        (64, 32),
        (32, 3),
    ]
    for layer in layers:
        assert (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (2, 2), (1, 1))
        assert layer.output_padding == (1, 1)
    assert (decoder.project.in_features, decoder.project.out_features) == (2048, 512)


def test_batch_norm_and_relu_stand_between_layers_and_not_at_the_end() -> None:
    kinds = [type(layer).__name__ for layer in Decoder(10, 32, 1, 28).layers]
    assert kinds == ["BatchNorm2d", "ReLU", "ConvTranspose2d"] * 5


def test_only_the_last_layer_has_a_bias() -> None:
    # A bias before a batch normalisation has a gradient of nothing but rounding, which Adam enlarges.
    biases = {name for name, _ in Decoder(10, 32, 1, 8).named_parameters() if name.endswith("bias")}
    norms = {f"layers.{place}.bias" for place in range(0, 15, 3)}
    assert biases == norms | {"layers.14.bias"}


@pytest.mark.parametrize("image_size", [8, 28])
def test_gradients_under_bf16_autocast_are_those_of_fp32_to_rounding(image_size: int) -> None:
    torch.manual_seed(0)
    decoder, codes = Decoder(10, 64, 1, image_size), torch.randn(16, 10)
    gradients = []
    for enabled in (False, True):
        decoder.zero_grad()
        # What was in the memory before must not be seen.
        dirty = [torch.full_like(layer.weight, torch.nan) for layer in transposed(decoder) for _ in range(4)]
        del dirty
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            images = decoder(codes)
        images.float().square().mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in decoder.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98
    assert (gradients[1][gradients[0] == 0] == 0).all()


@pytest.mark.parametrize("value", [-5.0, 5.0])
def test_pixels_may_have_any_value(value: float) -> None:
    decoder = Decoder(10, 16, 1, 8)
    last = transposed(decoder)[-1]
    assert last.bias is not None
    nn.init.constant_(last.bias, value)
    images = decoder(torch.randn(6, 10))
    assert images.mean().item() == pytest.approx(value, abs=1)
    assert images.std() > 0
