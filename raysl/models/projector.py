"""Projectors and predictors: the multilayer perceptrons between an encoder's features and a siamese loss."""

from torch import nn


def build_projector(features: int, hidden: int, width: int, layers: int = 3) -> nn.Sequential:
    """Return an MLP, features [B, features] -> embeddings [B, width], with random weights.

    Each hidden layer, `hidden` wide, is followed by batch normalisation and ReLU; the last layer is linear. No linear
    layer has a bias: batch normalisation cancels those of hidden layers, and the reference implementations of Barlow
    Twins, VICReg and BYOL have none in the last layer either.
    layers: number of linear layers, at least 1.
    """
    parts: list[nn.Module] = []
    inputs = features
    for _ in range(layers - 1):
        parts += [nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*parts, nn.Linear(inputs, width, bias=False))
