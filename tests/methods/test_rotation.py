"""Four turns, one target each."""

import math
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from steps import FIRST
from torch import nn

from raysl.data.augment.views import Draw
from raysl.methods._method import View
from raysl.methods.rotation import Rotation
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {"copies": 1}
SHAPES_LOSS = []
IMPOSSIBLE = [{"copies": 2}, {"copies": 0}]


def method(copies: Literal[1, 4] = 1) -> Rotation:
    torch.manual_seed(0)
    return Rotation(build_encoder(ModelSettings(), channels=1, image_size=8), num_classes=7, copies=copies)


def view(rotation: Rotation, images: torch.Tensor) -> View:
    (spec,) = rotation.views().values()
    assert spec.stream == "unlabelled"
    seen, turns = spec.make(images, Draw(0, 0, 0, "rotated", torch.arange(len(images)), len(images)))
    return View(seen, None, turns)


@pytest.mark.parametrize("copies", [1, 4])
def test_undecided_classifier_costs_log_4(copies: Literal[1, 4]) -> None:
    rotation = method(copies)
    nn.init.zeros_(rotation.classifier.weight)
    nn.init.zeros_(rotation.classifier.bias)
    losses = rotation({"rotated": view(rotation, torch.rand(6, 1, 8, 8))}, FIRST)
    assert losses.total.item() == pytest.approx(math.log(4))
    assert losses.terms["rotation"] == losses.total


def test_four_copies_show_each_image_at_each_turn() -> None:
    images = torch.rand(3, 1, 8, 8)
    seen, _, turns, _ = view(method(copies=4), images)
    assert turns is not None
    assert seen.shape == (12, 1, 8, 8)
    pairs = {(int(row) // 4, int(turn)) for row, turn in enumerate(turns)}
    assert pairs == {(image, turn) for image in range(3) for turn in range(4)}
    for row, turn in enumerate(turns):
        assert torch.equal(seen[row], torch.rot90(images[row // 4], int(turn), (1, 2)))


def test_loss_of_four_copies_is_that_of_all_turns() -> None:
    # Equation 3 of Gidaris et al.: the mean over images and turns.
    rotation, images = method(copies=4).eval(), torch.rand(5, 1, 8, 8)
    expected = torch.stack(
        [
            F.cross_entropy(
                rotation.classifier(rotation.encoder(torch.rot90(images, turn, (2, 3)))), torch.full((5,), turn)
            )
            for turn in range(4)
        ]
    ).mean()
    torch.testing.assert_close(rotation({"rotated": view(rotation, images)}, FIRST).total, expected)


def test_targets_are_the_turns_that_were_drawn() -> None:
    rotation, images = method().eval(), torch.rand(5, 1, 8, 8)
    seen, _, turns, _ = view(rotation, images)
    assert turns is not None
    logits = rotation.classifier(rotation.encoder(seen))
    torch.testing.assert_close(
        rotation({"rotated": View(seen, None, turns)}, FIRST).total, F.cross_entropy(logits, turns)
    )


def test_turns_of_upright_images_are_learned() -> None:
    # Images that are bright at the top only: the turn is certain, so the loss can go to zero.
    images = torch.zeros(32, 1, 8, 8)
    images[:, :, :2] = 1.0
    images += 0.05 * torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    rotation = method(copies=4)
    optimizer = torch.optim.Adam(rotation.parameters(), lr=3e-3)
    for _ in range(20):
        optimizer.zero_grad()
        total = rotation({"rotated": view(rotation, images)}, FIRST).total
        total.backward()
        optimizer.step()
    assert total.item() < 0.05
