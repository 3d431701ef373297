"""The shared MLP: its layers, and the weights that Barlow Twins' own has."""

from itertools import pairwise

import pytest
import torch

from raysl.methods.barlow_twins import BarlowTwins
from raysl.models.encoder import build_encoder
from raysl.models.projector import build_projector
from raysl.models.settings import ModelSettings


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_hidden_layers_alone_are_normalised_and_rectified(layers: int) -> None:
    projector = build_projector(5, 7, 3, layers)
    kinds = [type(layer).__name__ for layer in projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * (layers - 1) + ["Linear"]
    widths = [5, *[7] * (layers - 1), 3]
    shapes = [tuple(parameter.shape) for parameter in projector.parameters() if parameter.ndim == 2]
    assert shapes == [(outputs, inputs) for inputs, outputs in pairwise(widths)]
    assert {name for name, _ in projector.named_parameters() if name.endswith("bias")} == {
        f"{3 * layer + 1}.bias" for layer in range(layers - 1)
    }
    assert projector(torch.randn(4, 5)).shape == (4, 3)


def test_weights_are_those_of_barlow_twins_from_the_same_seed() -> None:
    # The methods of one table then start from the same network, seed by seed.
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    torch.manual_seed(0)
    expected = BarlowTwins(encoder, 3, projector=24).projector.state_dict()
    torch.manual_seed(0)
    torch.testing.assert_close(dict(build_projector(16, 24, 24).state_dict()), dict(expected), rtol=0, atol=0)
