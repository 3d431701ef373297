"""timm's backbones over two ranks equal one process: pooled features, gradients, running statistics, eval mode."""

from typing import Any

import pytest
import torch
from gloo import spawn
from torch import Tensor

from raysl.collectives import rank
from raysl.models.backbones import build_backbone
from raysl.models.batch_norm import sync_batch_norm
from raysl.models.settings import ModelSettings

EDGES = {"mobilenet_v2": 24, "inception_v3": 75, "resnet50v2": 24, "efficientnet_lite0": 24}
CUT = 3  # of 5 images: the ranks' shares differ


def passed_through(name: Any, images: slice, synchronised: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    backbone, width = build_backbone(ModelSettings(backbone=name, norm_momentum=0.5), channels=1)
    backbone = (sync_batch_norm(backbone) if synchronised else backbone).double()
    batch = torch.randn(5, 1, EDGES[name], EDGES[name], dtype=torch.float64)[images]
    weights = torch.randn(5, width, dtype=torch.float64)[images]
    pooled = backbone(batch)
    (pooled * weights).sum().backward()
    gradients = [parameter.grad for parameter in backbone.parameters() if parameter.grad is not None]
    statistics = [value.double().flatten() for value in backbone.buffers()]
    with torch.no_grad():
        pooled_in_eval = backbone.eval()(batch)
    return {
        "pooled": pooled.detach(),
        "gradients": torch.cat([gradient.flatten() for gradient in gradients]),
        "statistics": torch.cat(statistics),
        "pooled in eval mode": pooled_in_eval,
    }


def on_each_rank() -> dict[str, dict[str, Tensor]]:
    torch.use_deterministic_algorithms(True)  # as in training
    mine = slice(None, CUT) if rank() == 0 else slice(CUT, None)
    return {name: passed_through(name, mine, synchronised=True) for name in EDGES}


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, dict[str, Tensor]]]:
    return spawn(on_each_rank)


@pytest.mark.slow
@pytest.mark.parametrize("name", EDGES)
def test_two_ranks_equal_one_process(ranks: list[dict[str, dict[str, Tensor]]], name: str) -> None:
    expected = passed_through(name, slice(None), synchronised=False)
    first, second = (found[name] for found in ranks)
    for key in ("pooled", "pooled in eval mode"):
        torch.testing.assert_close(torch.cat([first[key], second[key]]), expected[key])
    torch.testing.assert_close(first["gradients"] + second["gradients"], expected["gradients"])
    for found in (first, second):
        torch.testing.assert_close(found["statistics"], expected["statistics"])


def test_one_process_is_not_changed_at_all() -> None:
    plain, replaced = (passed_through("mobilenet_v2", slice(None), synchronised) for synchronised in (False, True))
    for key, value in plain.items():
        assert torch.equal(replaced[key], value), key
