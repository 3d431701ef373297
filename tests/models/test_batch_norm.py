"""Two ranks normalise as one process does: output, gradients and running statistics."""

from typing import Any

import pytest
import torch
from gloo import spawn
from torch import Tensor, nn

from raysl.collectives import rank
from raysl.models.batch_norm import kept_statistics, sync_batch_norm

# name -> (rows on rank 0, rows on rank 1), shape of a row, constructor's options
CASES: dict[str, tuple[tuple[int, int], tuple[int, ...], dict[str, Any]]] = {
    "even": ((4, 4), (3, 5, 5), {}),
    "uneven": ((7, 2), (3, 5, 5), {}),
    "empty": ((0, 5), (3, 5, 5), {}),
    "vectors": ((5, 4), (6,), {}),
    "not affine": ((5, 4), (6,), {"affine": False}),
    "cumulative": ((3, 2), (3, 4, 4), {"momentum": None, "eps": 1e-2}),
    "no running statistics": ((3, 2), (3, 4, 4), {"track_running_stats": False}),
}


def example(case: str) -> tuple[nn.Module, Tensor, Tensor, int]:
    """Return a batch norm, the global batch, weights of a loss over its output, and where rank 1's rows begin."""
    sizes, shape, options = CASES[case]
    torch.manual_seed(0)
    kind = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    norm = kind(shape[0], **options).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    images = torch.randn(sum(sizes), *shape, dtype=torch.float64) * 3 + 1
    return norm, images, torch.randn_like(images), sizes[0]


def pass_through(norm: nn.Module, images: Tensor, weights: Tensor) -> dict[str, Tensor]:
    images = images.clone().requires_grad_()
    for _ in range(2):  # two steps: cumulative averages differ from the second on
        output = norm(images)
        (output**2 * weights).sum().backward()
    assert images.grad is not None
    gradients = {f"gradient of {name}": p.grad for name, p in norm.named_parameters() if p.grad is not None}
    return {"output": output.detach(), "images": images.grad, **gradients, **norm.state_dict()}


def on_each_rank() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for case in CASES:
        norm, images, weights, cut = example(case)
        mine = slice(None, cut) if rank() == 0 else slice(cut, None)
        found[case] = pass_through(sync_batch_norm(norm), images[mine], weights[mine])
    mine = slice(None, 20) if rank() == 0 else slice(20, None)
    found["large mean"], found["bfloat16"] = large_mean(mine), half_precision(mine)
    return found


def large_mean(rows: slice) -> Tensor:
    images = torch.randn(32, 4, generator=torch.Generator().manual_seed(0)) + 1e4
    output: Tensor = sync_batch_norm(nn.BatchNorm1d(4))(images[rows])
    return output.detach()


def half_precision(rows: slice) -> dict[str, Tensor]:
    images = torch.randn(32, 4, 3, 3, generator=torch.Generator().manual_seed(0)).bfloat16()[rows]
    with torch.autocast("cpu", torch.bfloat16):
        return pass_through(sync_batch_norm(nn.BatchNorm2d(4)), images, torch.ones_like(images))


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return spawn(on_each_rank)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(ranks: list[dict[str, Any]], case: str) -> None:
    norm, images, weights, _ = example(case)
    expected = pass_through(norm, images, weights)
    first, second = (found[case] for found in ranks)
    assert first.keys() == second.keys() == expected.keys()
    for name, value in expected.items():
        if name in ("output", "images"):
            torch.testing.assert_close(torch.cat([first[name], second[name]]), value)
        elif name.startswith("gradient"):
            torch.testing.assert_close(first[name] + second[name], value)
        else:
            torch.testing.assert_close(first[name], value)
            torch.testing.assert_close(second[name], value)


def test_variance_survives_a_large_mean_in_fp32(ranks: list[dict[str, Any]]) -> None:
    output = torch.cat([found["large mean"] for found in ranks])
    torch.testing.assert_close(output, large_mean(slice(None)), rtol=0, atol=2e-2)
    torch.testing.assert_close(output.var(0, correction=0), torch.ones(4), rtol=1e-2, atol=0)


def test_bfloat16_maps_keep_their_precision_and_statistics_are_fp32(ranks: list[dict[str, Any]]) -> None:
    expected = half_precision(slice(None))
    first, second = (found["bfloat16"] for found in ranks)
    assert first["output"].dtype == first["images"].dtype == expected["output"].dtype == torch.bfloat16
    torch.testing.assert_close(torch.cat([first["output"], second["output"]]), expected["output"])
    torch.testing.assert_close(torch.cat([first["images"], second["images"]]), expected["images"])
    torch.testing.assert_close(first["running_var"], expected["running_var"])


def test_replacing_keeps_tensors_keys_and_mode() -> None:
    shared = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    module = nn.Sequential(shared, nn.ModuleList([shared, nn.BatchNorm1d(4).eval()]))
    before = dict(module.state_dict(keep_vars=True))
    assert sync_batch_norm(module) is module
    after = dict(module.state_dict(keep_vars=True))
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    assert not any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in module.modules())
    assert [module.get_submodule(name).training for name in ("0.1", "1.0.1", "1.1")] == [True, True, False]


def test_dropout_and_activation_of_timm_are_kept() -> None:
    from timm.layers import BatchNormAct2d

    norm = BatchNormAct2d(3, act_layer=nn.PReLU, drop_layer=nn.Dropout)
    before = dict(norm.state_dict(keep_vars=True))
    replaced = sync_batch_norm(nn.Sequential(norm))
    after = dict(replaced[0].state_dict(keep_vars=True))
    assert list(before) == list(after)
    assert "act.weight" in after
    assert all(before[name] is after[name] for name in before)
    images = torch.randn(4, 3, 5, 5)
    torch.manual_seed(0)
    expected = norm(images)
    torch.manual_seed(0)
    assert torch.equal(replaced(images), expected)
    assert (expected == 0).any()
    assert torch.equal(replaced.eval()(images), norm.eval()(images))


def test_a_batch_norm_with_another_forward_is_refused() -> None:
    class Halved(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002, as torch names it
            return super().forward(input) / 2

    with pytest.raises(TypeError, match="Halved"):
        sync_batch_norm(nn.Sequential(Halved(3)))


def test_one_process_and_eval_mode_are_plain_batch_norm() -> None:
    for case in ("even", "vectors"):
        norm, images, weights, _ = example(case)
        expected = pass_through(norm, images, weights)
        same, images, weights, _ = example(case)
        replaced = sync_batch_norm(same)
        for name, value in pass_through(replaced, images, weights).items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
        assert torch.equal(replaced.eval()(images), norm.eval()(images))


def kept_on_each_rank() -> dict[str, Any]:
    """Return what a batch norm makes of the images of this rank inside `kept_statistics`, and its state after that."""
    norm, images, _, cut = example("uneven")
    mine = images[:cut] if rank() == 0 else images[cut:]
    norm = sync_batch_norm(norm)
    norm(mine)
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    with kept_statistics(norm):
        kept = norm(2 * mine).detach()
    same = all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())
    return {"kept": kept, "same": same, "after": norm(2 * mine).detach(), "moved": norm.state_dict()}


def test_kept_statistics_stay_over_ranks_and_normalise_by_the_batch() -> None:
    norm, images, _, _ = example("uneven")
    norm(images)
    expected = norm(2 * images)
    found = spawn(kept_on_each_rank)
    assert [each["same"] for each in found] == [True, True]
    for name in ("kept", "after"):
        torch.testing.assert_close(torch.cat([each[name] for each in found]), expected)
    torch.testing.assert_close(found[0]["moved"], dict(norm.state_dict()))  # once more, outside


@pytest.mark.parametrize("case", ["vectors", "cumulative", "no running statistics"])
def test_kept_statistics_move_again_afterwards_even_after_an_exception(case: str) -> None:
    norm, images, _, _ = example(case)
    tracked = norm.track_running_stats
    module = nn.Sequential(norm)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(ValueError, match="planted"), kept_statistics(module):  # noqa: PT012
        module(images)
        raise ValueError("planted")
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)
    assert norm.track_running_stats == tracked
    module(images)
    assert len(before) == len(module.state_dict())
    changed = {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}
    assert ("0.running_mean" in changed) == tracked


def test_kept_statistics_of_a_frozen_batch_norm_are_used() -> None:
    norm, images, _, _ = example("vectors")
    norm(images)
    expected = norm.eval()(images)
    with kept_statistics(norm):
        torch.testing.assert_close(norm(images), expected, rtol=0, atol=0)
