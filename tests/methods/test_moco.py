"""MoCo's loss is lightly's with a memory bank; its queue holds the last keys, oldest first."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from torch import Tensor, nn

from raysl.data.augment.views import Draw
from raysl.methods._method import Losses, Step, View
from raysl.methods.moco import Moco, in_groups, info_nce_loss
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {
    "temperature": 0.2, "momentum": 0.999, "queue": 65536, "hidden": 2048, "projector": 128, "min_crop": 0.2,
    "p_blur": 0.5, "interpolation": "bicubic", "l2_start": 0.0, "norm_groups": 1,
}  # fmt: skip
SHAPES_LOSS = [
    "temperature", "momentum", "queue", "projector", "min_crop", "interpolation", "p_blur", "l2_start", "norm_groups",
]  # fmt: skip
IMPOSSIBLE = [
    {"temperature": 0.0}, {"momentum": 1.1}, {"queue": 0}, {"hidden": 0}, {"projector": 1}, {"min_crop": 0.0},
    {"p_blur": 1.1}, {"interpolation": "nearest"}, {"l2_start": -1.0}, {"norm_groups": 0},
]  # fmt: skip
PASSES = 1  # of a view through each network
FALLS_FROM = 3  # steps: the queue holds no random vectors any more, which are easily told from keys
SIZES = (8, 7)


def method(**hyperparameters: Any) -> Moco:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    return Moco(encoder, 3, **{"queue": 20, "hidden": 32, "projector": 24, "momentum": 0.9, **hyperparameters})


def batch(size: int, seed: int) -> dict[str, View]:
    images = torch.rand(2, size, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return {name: View(seen, None, None) for name, seen in zip(("first", "second"), images, strict=True)}


def train(moco: Moco, steps: int) -> list[Tensor]:
    """Take steps of batches of 8 and 7; return the keys of each, before the key encoder moves."""
    optimizer = torch.optim.SGD([p for p in moco.parameters() if p.requires_grad], lr=0.1)
    keys = []
    for number in range(steps):
        optimizer.zero_grad()
        losses: Losses = moco(batch(SIZES[number % 2], number), Step(number, steps))
        losses.total.backward()
        optimizer.step()
        keys.append(losses.outputs["keys"].clone())
        moco.after_step(Step(number, steps), {name: value.detach() for name, value in losses.outputs.items()})
    return keys


@pytest.mark.parametrize("temperature", [0.1, 1.5])
def test_loss_and_gradient_are_those_of_lightly(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys, queue = (torch.randn(size, 7, generator=generator).double() for size in (6, 6, 11))
    queue = F.normalize(queue, dim=1)
    queries = (3 * queries).requires_grad_()
    criterion = NTXentLoss(temperature, memory_bank_size=(len(queue), 7)).double()
    criterion.memory_bank.bank = queue.clone()  # a row for each key
    expected = criterion(queries, keys)
    found = info_nce_loss(queries, keys, queue, temperature)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, queries)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_equal_embeddings_are_no_better_than_a_guess() -> None:
    same = torch.ones(4, 5)
    loss = info_nce_loss(same, same, F.normalize(torch.ones(9, 5), dim=1), 0.2)
    assert loss.item() == pytest.approx(math.log(10))


def test_the_queue_holds_the_last_keys_oldest_first() -> None:
    moco = method()
    random = moco.get_buffer("queue").clone()
    torch.testing.assert_close(random.norm(dim=1), torch.ones(20))
    first, second, third, fourth = train(moco, 4)
    expected = torch.cat([random, first, second, third, fourth])[-20:]
    torch.testing.assert_close(moco.get_buffer("queue"), expected, rtol=0, atol=0)
    small = method(queue=5)
    keys = train(small, 1)[0]
    torch.testing.assert_close(small.get_buffer("queue"), keys[-5:], rtol=0, atol=0)


def test_the_key_encoder_follows_by_the_momentum_and_nothing_else_moves_it() -> None:
    moco = method()
    before = {key: value.clone() for key, value in moco.key_encoder.named_parameters()}
    train(moco, 1)
    for key, online in moco.encoder.named_parameters():
        expected = 0.9 * before[key] + 0.1 * online
        torch.testing.assert_close(moco.key_encoder.get_parameter(key), expected)
    assert not any(parameter.requires_grad for parameter in moco.key_encoder.parameters())


def test_the_backbone_is_pulled_to_its_start() -> None:
    moco, free = method(l2_start=0.5), method()
    with torch.no_grad():
        for parameter in (*moco.encoder.backbone.parameters(), *free.encoder.backbone.parameters()):
            parameter.add_(0.1)
    count = sum(parameter.numel() for parameter in moco.encoder.backbone.parameters())
    pulled, plain = (one(batch(8, 0), Step(0, 1)) for one in (moco, free))
    assert pulled.terms["l2_start"].item() == pytest.approx(0.01 * count, rel=1e-4)
    torch.testing.assert_close(pulled.total, plain.total + 0.5 * pulled.terms["l2_start"])
    assert not any(key.startswith("start.") and value.requires_grad for key, value in moco.named_parameters())


@pytest.mark.parametrize(("size", "sizes"), [(16, [4, 4, 4, 4]), (10, [3, 2, 3, 2]), (5, [3, 2]), (1, [1])])
def test_groups_are_normalised_each_by_itself(size: int, sizes: list[int]) -> None:
    """A group's outputs are those of a batch of its images alone, in the batch's order."""
    groups = Draw(0, 0, 0, "first", np.arange(size), size).groups(4)
    assert groups.bincount().tolist() == sizes
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    if size == 1:
        network.eval()
    images = torch.randn(size, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    found = in_groups(network, images, groups, 4)
    for number in range(len(sizes)):
        torch.testing.assert_close(found[groups == number], network(images[groups == number]))


def test_groups_move_running_statistics_as_far_as_the_batch() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    images = torch.full((16, 1, 2, 2), 3.0)
    in_groups(network, images, Draw(0, 0, 0, "first", np.arange(16), 16).groups(8), 8)
    norm = network[1]
    torch.testing.assert_close(norm.running_mean, torch.full((4,), 0.3))
    torch.testing.assert_close(norm.running_var, torch.full((4,), 0.9))
    assert norm.momentum == 0.1


def test_a_query_and_its_key_are_normalised_with_other_images() -> None:
    moco = method(norm_groups=4)
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = {name: spec.make(images, Draw(0, 0, 0, name, np.arange(16), 16))[1] for name, spec in moco.views().items()}
    first, second = (drawn[name] for name in ("first", "second"))
    assert first is not None
    assert second is not None
    together = [((first[i] == first) & (second[i] == second)).sum().item() for i in range(16)]
    assert sum(together) / 16 < 2.5, "of 4 in a group, the image itself and 0.6 others on average"


def test_without_groups_views_are_those_of_before() -> None:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with_groups, without = (method(norm_groups=number).views()["first"] for number in (2, 1))
    draws = [Draw(0, 0, 0, "first", np.arange(4), 4) for _ in range(2)]
    torch.testing.assert_close(with_groups.make(images, draws[0])[0], without.make(images, draws[1])[0], rtol=0, atol=0)
    assert without.make(images, Draw(0, 0, 0, "first", np.arange(4), 4))[1] is None
