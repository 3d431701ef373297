"""PixPro's loss is a sum over pairs of pixels, and its pairs follow crops, flips and affine transformations."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from steps import FIRST
from torch import Tensor

from raysl.data.augment.affine import identities, transformed
from raysl.data.augment.siamese import Placement, cropped, distorted, placed
from raysl.data.augment.views import Draw
from raysl.methods._method import Step, View
from raysl.methods.pixpro import Pixpro, Propagation, pixpro_loss, positive_pairs
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {
    "momentum": 0.99, "hidden": 4096, "projector": 256, "threshold": 0.7, "sharpness": 2.0, "min_crop": 0.2,
    "interpolation": "bicubic", "affine": False, "output_stride": 32, "l2_start": 0.0,
}  # fmt: skip
SHAPES_LOSS = [
    "momentum", "projector", "threshold", "sharpness", "min_crop", "interpolation", "affine", "output_stride",
    "l2_start",
]  # fmt: skip
IMPOSSIBLE = [
    {"momentum": 1.1}, {"hidden": 0}, {"projector": 1}, {"threshold": 0.0}, {"sharpness": 0.5}, {"min_crop": 0.0},
    {"interpolation": "nearest"}, {"affine": "often"}, {"output_stride": 12}, {"l2_start": -1.0},
]  # fmt: skip


def method(**hyperparameters: Any) -> Pixpro:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=None), channels=3, image_size=16)
    return Pixpro(encoder, 3, **{"hidden": 32, "projector": 24, **hyperparameters})


def batch(pixpro: Pixpro, size: int = 6) -> dict[str, View]:
    images = torch.rand(size, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    made = {}
    for name, spec in pixpro.views().items():
        seen, drawn = spec.make(images, Draw(0, 0, 0, name, np.arange(size), size))
        made[name] = View(seen, None, drawn)
    return made


def slow_loss(
    y: tuple[Tensor, Tensor], x: tuple[Tensor, Tensor], edges: tuple[Tensor, Tensor], threshold: float
) -> float:
    """Return equation 4, pair by pair."""
    total = 0.0
    count, _, height, width = y[0].shape
    places = [(row, column) for row in range(height) for column in range(width)]
    for image in range(count):
        terms = []
        boxes = [edge[image].tolist() for edge in edges]
        bins = [((right - left) / width, (bottom - top) / height) for left, top, right, bottom in boxes]
        longest = max(math.hypot(*each) for each in bins)
        for i in places:
            for j in places:
                centres = [
                    (box[0] + (place[1] + 0.5) * size[0], box[1] + (place[0] + 0.5) * size[1])
                    for box, size, place in zip(boxes, bins, (i, j), strict=True)
                ]
                if math.dist(*centres) / longest < threshold:
                    pixel = [maps[image, :, i[0], i[1]] for maps in (y[0], x[0])]
                    other = [maps[image, :, j[0], j[1]] for maps in (x[1], y[1])]
                    terms.append(
                        sum(torch.cosine_similarity(*both, dim=0).item() for both in zip(pixel, other, strict=True))
                    )
        total -= sum(terms) / len(terms) if terms else 0.0
    return total / count


def test_loss_is_that_of_a_loop_over_pairs_of_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    y1, y2, x1, x2 = (torch.randn(4, 5, 3, 4, generator=generator) for _ in range(4))
    first = torch.tensor([[0.0, 0, 16, 16], [2, 3, 12, 9], [9.5, 0, 1, 8], [0, 0, 4, 4]])  # one is mirrored
    second = torch.tensor([[0.0, 0, 16, 16], [4, 1, 15, 10], [3, 2, 13, 12], [10, 10, 16, 16]])  # the last is apart
    pairs = positive_pairs(first, second, (3, 4), 0.7)
    assert pairs.sum((1, 2)).tolist()[0] == 12 + 2 * 3 * 3  # each bin's own and its left and right neighbours
    assert pairs[3].sum() == 0
    found = pixpro_loss(y1, y2, x1, x2, pairs)
    assert found.item() == pytest.approx(slow_loss([y1, y2], [x1, x2], [first, second], 0.7), abs=1e-5)


def test_x_coordinates_of_a_mirrored_view_swap() -> None:
    plain, mirrored = torch.tensor([[0.0, 0, 8, 8]]), torch.tensor([[8.0, 0, 0, 8]])
    pairs = positive_pairs(plain, mirrored, (2, 4), 0.3)[0].view(2, 4, 2, 4)
    found = {tuple(place) for place in pairs.nonzero().tolist()}
    assert found == {(row, column, row, 3 - column) for row in range(2) for column in range(4)}


def test_edges_of_views_are_where_their_pixels_come_from() -> None:
    """Each pixel has its own place as its value, so that a view shows which part of the image it is."""
    line = (torch.arange(32) + 0.5) / 32
    images = torch.stack([line.expand(32, 32), line.view(-1, 1).expand(32, 32), line.expand(32, 32)]).repeat(
        40, 1, 1, 1
    )
    given = {"min_crop": 0.2, "saturation": 0.0, "p_blur": 0.0, "p_solarise": 0.0}
    drawn = Draw(0, 0, 0, "view", np.arange(40), 40)
    _, params = placed(images, drawn, interpolation="bilinear", affine=False, **given)
    views, _ = cropped(images, Draw(0, 0, 0, "view", np.arange(40), 40), min_crop=0.2, interpolation="bilinear")
    left, top, right, bottom = Placement.of(params).edges.unbind(1)
    assert 5 < (left > right).sum() < 35
    middle = torch.stack([left + right, top + bottom], 1) / 2 / 32
    torch.testing.assert_close(views[:, :2].mean((2, 3)), middle, rtol=0, atol=5e-3)
    assert torch.equal(views[:, 0, 0, 0] > views[:, 0, 0, -1], left > right)


def test_views_are_byol_s_two_and_affine_changes_no_other_draw() -> None:
    images = torch.rand(20, 3, 16, 16)
    for name, (p_blur, p_solarise) in {"first": (1.0, 0.0), "second": (0.1, 0.2)}.items():
        draws = [Draw(0, 0, 0, name, np.arange(20), 20) for _ in range(3)]
        expected, _ = distorted(images, draws[0], min_crop=0.2, saturation=0.2, p_blur=p_blur, p_solarise=p_solarise)
        view, params = method().views()[name].make(images, draws[1])
        assert torch.equal(view, expected)
        moved, other = method(affine=True).views()[name].make(images, draws[2])
        assert params is not None
        assert other is not None
        assert torch.equal(Placement.of(other).edges, Placement.of(params).edges)
        changed = (moved - view).abs().flatten(1).amax(1) > 1e-4
        assert 14 < changed.sum() <= 20  # 15 of 16 have at least one transformation


def test_identity_affine_equals_no_affine() -> None:
    plain, affine = method(), method(affine=True)
    views = batch(plain)  # with identities
    torch.testing.assert_close(affine(views, FIRST).total, plain(views, FIRST).total, rtol=0, atol=1e-5)


def test_outputs_are_transformed_back_before_they_are_compared() -> None:
    """A network of its input's own pixels gives equal outputs for a view and its transformed copy, and so loss -2."""
    pixpro = method(affine=True)
    pixpro.encoder.maps = lambda images: images  # type: ignore[method-assign]
    pixpro.target_encoder.maps = lambda images: images  # type: ignore[method-assign]
    pixpro.projector = pixpro.target_projector = pixpro.propagation = torch.nn.Identity()  # type: ignore[assignment]
    pixpro.threshold = 0.1  # each pixel with itself alone
    line = torch.linspace(0.1, 1, 16)
    images = torch.stack([line.expand(16, 16), line.view(-1, 1).expand(16, 16), torch.full((16, 16), 0.5)])[None]
    shift = torch.tensor([[[0.8, 0.3, 0.25], [-0.2, 0.9, -0.125]]])
    edges = torch.tensor([[0.0, 0, 16, 16]])
    first = View(images, None, torch.cat([edges, identities(1).flatten(1)], 1))
    second = View(transformed(images, shift), None, torch.cat([edges, shift.flatten(1)], 1))
    assert pixpro({"first": first, "second": second}, FIRST).total.item() == pytest.approx(-2, abs=1e-5)
    assert pixpro({"first": second, "second": first}, FIRST).total.item() == pytest.approx(-2, abs=1e-5)
    untold = View(second.images, None, first.aug_params)
    assert pixpro({"first": first, "second": untold}, FIRST).total > -1.99
    # Views of two parts of an image: the pixels of a pair lie at other places of their views.
    whole = torch.stack([torch.linspace(0.1, 1, 20).expand(16, 20), line.view(-1, 1).expand(16, 20)])[None]
    whole = torch.cat([whole, torch.full((1, 1, 16, 20), 0.5)], 1)
    first = View(whole[..., :16], None, torch.cat([edges, identities(1).flatten(1)], 1))
    shifted = torch.cat([edges + torch.tensor([4.0, 0, 4, 0]), shift.flatten(1)], 1)
    second = View(transformed(whole[..., 4:], shift), None, shifted)
    assert pixpro({"first": first, "second": second}, FIRST).total.item() == pytest.approx(-2, abs=1e-5)
    assert pixpro({"first": second, "second": first}, FIRST).total.item() == pytest.approx(-2, abs=1e-5)


def test_propagation_by_hand() -> None:
    propagation = Propagation(2, 2.0)
    with torch.no_grad():
        propagation.transform.weight.copy_(torch.tensor([[0.0, 2.0], [2.0, 0.0]]).view(2, 2, 1, 1))  # swaps both
        propagation.transform.bias.zero_()  # type: ignore[union-attr]
    # Pixels at 0, 60 and 180 degrees, of any length: similarities 1/2 squared, and those below 0 count as 0.
    pixels = torch.tensor([[3.0, 0.0], [0.5, 0.75**0.5], [-2.0, 0.0]]).T.reshape(1, 2, 1, 3)
    swapped = torch.tensor([[0.0, 1.0], [0.75**0.5, 0.5], [0.0, -1.0]])
    weights = torch.tensor([[1.0, 0.25, 0.0], [0.25, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(propagation(pixels)[0, :, 0].T, weights @ swapped)


def test_target_gets_no_gradient_and_follows_the_online_network() -> None:
    pixpro = method(momentum=0.5, affine=True)
    pixpro(batch(pixpro), FIRST).total.backward()
    for online, target in ((pixpro.encoder, pixpro.target_encoder), (pixpro.projector, pixpro.target_projector)):
        assert all(parameter.grad is not None for parameter in online.parameters())
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in target.parameters())
    before = pixpro.target_projector[0].weight.clone()
    with torch.no_grad():
        pixpro.projector[0].weight.add_(1)
    pixpro.after_step(Step(1, 2), {})  # half way along the cosine
    torch.testing.assert_close(pixpro.target_projector[0].weight, before + 0.25)


def test_the_pull_to_the_start_is_that_of_equation_3() -> None:
    pixpro = method(l2_start=0.01)
    views = batch(pixpro)
    assert pixpro(views, FIRST).terms["l2_start"].item() == 0
    with torch.no_grad():
        for parameter in pixpro.encoder.parameters():
            parameter += 0.1
    losses = pixpro(views, FIRST)
    count = sum(parameter.numel() for parameter in pixpro.encoder.backbone.parameters())
    assert losses.terms["l2_start"].item() == pytest.approx(0.01 * count, rel=1e-4)
    parameters = list(pixpro.encoder.backbone.parameters())
    pulled = torch.autograd.grad(losses.total - losses.terms["pixpro"], parameters)
    for gradient in pulled:
        torch.testing.assert_close(gradient, torch.full_like(gradient, 0.01 * 2 * 0.1), rtol=1e-3, atol=1e-6)
