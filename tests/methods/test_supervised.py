"""Cross-entropy by hand, on images as they are."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from steps import FIRST
from torch import Tensor, nn

from raysl.data.augment.augmentations import colour_jitter, grayscale, horizontal_flip, random_resized_crop
from raysl.data.augment.views import Draw
from raysl.methods._method import View
from raysl.methods.supervised import Supervised, cross_entropy
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {"views": "none"}
SHAPES_LOSS = ["views"]
IMPOSSIBLE = [{"copies": 1}, {"views": "crop"}, {"views": None}]


def method(views: Any = "none") -> Supervised:
    torch.manual_seed(0)
    return Supervised(build_encoder(ModelSettings(), channels=1, image_size=8), num_classes=5, views=views)


def batch() -> dict[str, View]:
    generator = torch.Generator().manual_seed(0)
    return {"labelled": View(torch.rand(10, 1, 8, 8, generator=generator), torch.arange(10) % 5, None)}


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    # The classes' probabilities: 3/4 and 1/2.
    assert cross_entropy(logits, torch.tensor([1, 0])).item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 2)) / 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_cross_entropy_is_at_least_fp32(dtype: torch.dtype) -> None:
    logits = torch.linspace(-3, 3, 12).view(4, 3).to(dtype)
    classes = torch.tensor([0, 1, 2, 0])
    found = cross_entropy(logits, classes)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.double(), F.cross_entropy(logits.double(), classes), rtol=1e-6, atol=0)


def test_loss_under_bf16_autocast_is_that_of_its_logits_in_fp32() -> None:
    supervised, views = method(), batch()
    logits: list[Tensor] = []
    supervised.classifier.register_forward_hook(lambda module, inputs, output: logits.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        total = supervised(views, FIRST).total
    assert logits[0].dtype == torch.bfloat16
    assert views["labelled"].labels is not None
    expected = F.cross_entropy(logits[0].float(), views["labelled"].labels)
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)


def test_undecided_classifier_costs_the_log_of_the_number_of_classes() -> None:
    supervised = method()
    nn.init.zeros_(supervised.classifier.weight)
    nn.init.zeros_(supervised.classifier.bias)
    losses = supervised(batch(), FIRST)
    assert losses.total.item() == pytest.approx(math.log(5))
    assert losses.terms["supervised"] == losses.total


def test_loss_does_not_depend_on_the_order_of_images() -> None:
    supervised, views = method(), batch()
    images, labels = views["labelled"].images, views["labelled"].labels
    assert labels is not None
    turned = {"labelled": View(images.flip(0), labels.flip(0), None)}
    torch.testing.assert_close(supervised(turned, FIRST).total, supervised(views, FIRST).total)


def test_labelled_images_are_not_augmented() -> None:
    images = torch.rand(4, 1, 8, 8)
    (view,) = method().views().values()
    draw = Draw(0, 0, 0, "labelled", torch.arange(4), 4)
    assert view.stream == "labelled"
    assert torch.equal(view.make(images, draw)[0], images)


@pytest.mark.parametrize("views", ["crop_flip", "distorted"])
def test_views_are_torchvisions_crops_of_8_per_cent_and_more_and_flips(views: str) -> None:
    """Bilinear, as torchvision has them by default; `distorted` recolours them afterwards."""
    images = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn, rows = Draw(0, 0, 0, "labelled", np.arange(50), 50), Draw(0, 0, 0, "labelled", np.arange(50), 50)
    (view,) = method(views).views().values()
    seen, nothing = view.make(images, rows)
    expected = random_resized_crop(images, drawn, (0.08, 1.0), (3 / 4, 4 / 3), "bilinear")
    expected = horizontal_flip(expected, drawn, 0.5)
    if views == "distorted":
        expected = grayscale(colour_jitter(expected, drawn, 0.4, 0.4, 0.4, 0.1, 0.8), drawn, 0.2)
    assert nothing is None
    assert torch.equal(seen, expected)


def test_loss_is_that_of_the_logits_it_classifies_by() -> None:
    supervised, views = method(), batch()
    images, labels = views["labelled"].images, views["labelled"].labels
    assert labels is not None
    torch.testing.assert_close(supervised(views, FIRST).total, F.cross_entropy(supervised.classify(images), labels))
