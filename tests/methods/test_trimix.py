"""TriMix's terms by hand for batches of 3 and 4, its ends, its gradients, and what ranks share.

That a whole step of encoder and projector on two ranks equals one process's is in `test_contract`.
"""

from functools import partial
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo import spawn
from numpy.typing import NDArray
from steps import FIRST
from tiny import of_stages, write
from torch import Tensor, nn

from raysl import methods
from raysl.collectives import mean_over_ranks, rank, world_size
from raysl.config import load
from raysl.data.augment.views import Draw
from raysl.data.storage.scan import inspect, resolve
from raysl.methods._method import Losses, View
from raysl.methods.barlow_twins import BarlowTwins
from raysl.methods.simsiam import distorted_views
from raysl.methods.trimix import Trimix, distance, mixed, mixing_matrices, normalised
from raysl.models.encoder import Encoder, build_encoder
from raysl.models.settings import ModelSettings
from raysl.results.storage.store import Store
from raysl.search.trials import expand
from raysl.training.process import Execution
from raysl.training.trial import run_trial

DEFAULTS = {
    "alpha": 0.005,
    "beta": 1000.0,
    "gamma": 200.0,
    "tau": 2.0,
    "feature_norms": True,
    "virtual_on": "z",
    "consistency_on": "z",
    "projector": 1024,
    "hidden": None,
    "min_crop": 0.2,
    "interpolation": "bicubic",
}
SHAPES_LOSS = [
    "alpha", "beta", "gamma", "tau", "feature_norms", "virtual_on", "consistency_on", "projector", "min_crop",
    "interpolation",
]  # fmt: skip
IMPOSSIBLE = [
    {"alpha": 0.0}, {"beta": -1.0}, {"gamma": -1.0}, {"tau": 0.0}, {"virtual_on": "x"}, {"consistency_on": "Z"},
    {"hidden": 0}, {"interpolation": "nearest"},
]  # fmt: skip
PASSES = 3  # both views, and the mixed images
Numbers = NDArray[np.float64]
TERMS = {"on_diagonal", "off_diagonal", "virtual", "consistency", "mixing_error"}
# What changes how the terms are made.
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "without feature norms": {"feature_norms": False},
    "both on y": {"virtual_on": "y", "consistency_on": "y"},
    "virtual on z, consistency on y": {"consistency_on": "y"},
    "virtual on y, consistency on z": {"virtual_on": "y"},
    "virtual alone": {"gamma": 0.0},
    "consistency alone": {"beta": 0.0},
}


def method(**hyperparameters: Any) -> Trimix:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    return Trimix(encoder, 3, **{"projector": 24, **hyperparameters})


def batch(size: int = 10, lambd: float = 0.3) -> dict[str, View]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, size, 1, 8, 8, generator=generator)
    return {"first": View(first, None, torch.full((size,), lambd)), "second": View(second, None, None)}


def flat(width: int, projector: nn.Module | None = None, **hyperparameters: Any) -> Trimix:
    """Return a method whose features y are the pixels themselves, and so are its embeddings z without a projector."""
    encoder = Encoder(nn.Flatten(), width, None, channels=1, image_size=width)
    trimix = Trimix(encoder, 3, **{"projector": 2, **hyperparameters}).double()
    trimix.projector = nn.Identity() if projector is None else projector.double()
    return trimix


def shown(first: Any, second: Any, lambd: float) -> dict[str, View]:
    """Return two views whose images are the given rows."""
    images = [torch.as_tensor(rows, dtype=torch.float64)[:, None, None] for rows in (first, second)]
    return {
        "first": View(images[0], None, torch.full((len(images[0]),), lambd)),
        "second": View(images[1], None, None),
    }


def rows_of(size: int, width: int) -> Tensor:
    """Return rows whose columns have means and scales far from 0 and 1."""
    generator = torch.Generator().manual_seed(100 * size + width)
    scale = torch.linspace(0.5, 4.0, width, dtype=torch.float64)
    return torch.randn(size, width, generator=generator, dtype=torch.float64) * scale + scale.flip(0)


def linear(width: int, outputs: int) -> nn.Linear:
    torch.manual_seed(width)
    return nn.Linear(width, outputs)


def mean_of(rows: list[list[float]]) -> float:
    return sum(map(sum, rows)) / sum(map(len, rows))


def softmax(row: list[float], tau: float) -> list[float]:
    return [exp(value / tau) / sum(exp(other / tau) for other in row) for value in row]


def differences(one: list[list[float]], other: list[list[float]]) -> list[list[float]]:
    return [[abs(a - b) for a, b in zip(*rows, strict=True)] for rows in zip(one, other, strict=True)]


def test_terms_by_hand_for_a_batch_of_four() -> None:
    # The columns have mean 0 and variance 1: x is z.  In reverse order the first and third change their sign, and the
    # second does not; mixed with lambda = 3/4 they are 1/2, 1 and 1/2 of themselves, and z again once standardised.
    x = [[1, 1, 1], [1, -1, -1], [-1, -1, 1], [-1, 1, -1]]
    # (1, -1, -1) has mean -1/3 and deviations (4/3, -2/3, -2/3), so a variance of (16 + 4 + 4) / 27 = 8/9: over its
    # features it is (r, -h, -h).  (1, 1, 1) has none: nothing is left of it.
    r, h = sqrt(2), 1 / sqrt(2)
    z_vrt = [[0, 0, 0], [r, -h, -h], [-h, -h, r], [-h, r, -h]]
    # z z_vrt^T, for instance (1, -1, -1) (r, -h, -h) = r + h + h = 2 r and (1, -1, -1) (-h, -h, r) = -r, over D = 3:
    before = [
        [0, 0, 0, 0],
        [0, 2 * r / 3, -r / 3, -r / 3],
        [0, -r / 3, 2 * r / 3, -r / 3],
        [0, -r / 3, -r / 3, 2 * r / 3],
    ]
    truth = [[0.75, 0, 0, 0.25], [0, 0.75, 0.25, 0], [0, 0.25, 0.75, 0], [0.25, 0, 0, 0.75]]
    after = [softmax(row, tau=2) for row in before]
    z_mixed = [[0.5, 1, 0.5], [0.5, -1, -0.5], [-0.5, -1, 0.5], [-0.5, 1, -0.5]]
    # The second view has x's first two columns and the first again: C = [[1, 0, 1], [0, 1, 0], [0, 0, 0]].
    second = [[a, b, a] for a, b, _ in x]
    total, terms, spread, *_ = flat(3, alpha=0.5, beta=10.0, gamma=3.0)(shown(x, second, 0.75), FIRST)
    expected = {
        "on_diagonal": 1.0,
        "off_diagonal": 1.0,
        "virtual": mean_of(differences(after, truth)),
        "consistency": mean_of(differences(z_mixed, z_vrt)),
        "mixing_error": mean_of(differences(before, truth)),
    }
    assert expected["consistency"] == pytest.approx(sqrt(2) / 3)  # (2 + r + r + (2 r - 2)) / 12
    # The first row is empty; in the others 2 r / 3 stands for 3/4, -r / 3 or 0 for 1/4, and r / 3 for nothing.
    first, others = 0.75 + 0.25, 3 * (2 * r / 3 - 0.75) + 2 * (r / 3 + 0.25) + 0.25 + 4 * r / 3
    assert expected["mixing_error"] == pytest.approx((first + others) / 16)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected, abs=1e-4)
    weighted = 1.0 + 0.5 * 1.0 + 10 * expected["virtual"] + 3 * expected["consistency"]
    assert total.item() == pytest.approx(weighted, abs=1e-3)
    assert spread is None


def test_terms_by_hand_for_a_batch_of_three() -> None:
    # Columns of mean 0 and variance 1; in reverse order the first changes its sign.  Mixed with lambda = 1/4 it is -1/2
    # of itself, and its negative once standardised.
    p, q = sqrt(3 / 2), sqrt(1 / 2)
    x = [[p, q], [0, -2 * q], [-p, q]]
    # Two features that differ are 1 and -1 once they are normalised: of (-p, q), (0, -2 q) and (p, q) that leaves
    z_vrt = [[-1, 1], [1, -1], [1, -1]]
    # z z_vrt^T over D = 2: the rows' differences of features are p - q, 2 q and -(p + q).
    before = [
        [-(p - q) / 2, (p - q) / 2, (p - q) / 2],
        [-q, q, q],
        [(p + q) / 2, -(p + q) / 2, -(p + q) / 2],
    ]
    truth = [[0.25, 0, 0.75], [0, 1, 0], [0.75, 0, 0.25]]
    after = [softmax(row, tau=1) for row in before]
    z_mixed = [[-p / 2, q], [0, -2 * q], [p / 2, q]]
    _, terms, *_ = flat(2, tau=1.0)(shown(x, x, 0.25), FIRST)
    expected = {
        "on_diagonal": 0.0,
        "off_diagonal": 0.0,
        "virtual": mean_of(differences(after, truth)),
        "consistency": mean_of(differences(z_mixed, z_vrt)),
        "mixing_error": mean_of(differences(before, truth)),
    }
    # |-p/2 + 1| + |q - 1| + 1 + |-2 q + 1| + |p/2 - 1| + q + 1 = 4.1895
    assert expected["consistency"] == pytest.approx(4.1895 / 6, abs=1e-4)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected, abs=1e-3)


def test_terms_by_hand_without_feature_norms() -> None:
    # As in the batch of four, but z_vrt is z: |1 - 1/2| in two columns of three, and M = z z^T / 3.
    x = [[1, 1, 1], [1, -1, -1], [-1, -1, 1], [-1, 1, -1]]
    _, terms, *_ = flat(3, feature_norms=False)(shown(x, x, 0.75), FIRST)
    third = 1 / 3
    before = [[1.0 if m == n else -third for n in range(4)] for m in range(4)]
    truth = [[0.75, 0, 0, 0.25], [0, 0.75, 0.25, 0], [0, 0.25, 0.75, 0], [0.25, 0, 0, 0.75]]
    assert terms["consistency"].item() == pytest.approx(third, abs=1e-4)
    # Each row: |1 - 3/4| + |-1/3 - 1/4| + 1/3 + 1/3 = 1.5
    assert mean_of(differences(before, truth)) == pytest.approx(1.5 / 4)
    assert terms["mixing_error"].item() == pytest.approx(1.5 / 4, abs=1e-4)
    after = [softmax(row, tau=2) for row in before]
    assert terms["virtual"].item() == pytest.approx(mean_of(differences(after, truth)), abs=1e-4)


def test_matrices_by_hand() -> None:
    # Given as they are, nothing is normalised: M_mn = (row m of z) (row n of z_vrt) / 2, which is not symmetric.
    z, z_vrt = torch.tensor([[2.0, 0], [0, 2], [2, 2]]), torch.tensor([[1.0, 0], [0, -1], [2, 1]])
    truth, before, after = mixing_matrices(z, z_vrt, torch.full((3,), 0.25), tau=2.0)
    assert before.tolist() == [[1, 0, 2], [0, -1, 1], [1, -1, 3]]
    assert truth.tolist() == [[0.25, 0, 0.75], [0, 1, 0], [0.75, 0, 0.25]]
    # Each row is softmax(M / 2): e^(1/2), e^0 and e^1 over their sum in the first.
    weights = [[exp(0.5), 1, exp(1)], [1, exp(-0.5), exp(0.5)], [exp(0.5), exp(-0.5), exp(1.5)]]
    expected = [[weight / sum(row) for weight in row] for row in weights]
    np.testing.assert_allclose(after.numpy(), expected, rtol=1e-6)


def test_reversal_and_distance_by_hand() -> None:
    rows = torch.tensor([[0.0, 8], [2, 4], [4, 0]])
    # lambda = 1/4: (0, 8) / 4 + 3/4 (4, 0), the middle one with itself, and (4, 0) / 4 + 3/4 (0, 8).
    assert mixed(rows, torch.full((3,), 0.25)).tolist() == [[3, 2], [2, 4], [1, 6]]
    # |0 - 3| + |8 - 2| + 0 + 0 + |4 - 1| + |0 - 6| = 18, a mean over 6.
    assert distance(rows, mixed(rows, torch.full((3,), 0.25))).item() == pytest.approx(3)


def test_images_are_mixed_pixel_by_pixel_with_those_from_the_other_end() -> None:
    images = torch.rand(5, 3, 4, 4).to(memory_format=torch.channels_last)
    found = mixed(images, torch.full((5,), 0.3))
    for row in range(5):
        torch.testing.assert_close(found[row], 0.3 * images[row] + 0.7 * images[4 - row])
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_normalisation_is_over_the_batch_and_then_over_features() -> None:
    # Columns 0, 4, 8 and 3, 3, 6: standardised -r, 0, r and -h, -h, r with r^2 = 3/2 and h = r / sqrt(3); over its two
    # features each row is then 1 and -1. The other way round, the columns' signs alone would be left of it.
    r, h = sqrt(1.5), sqrt(0.5)
    rows = torch.tensor([[0.0, 3], [4, 3], [8, 6]], dtype=torch.float64)
    z, z_vrt = normalised(rows, rows, feature_norms=True)
    np.testing.assert_allclose(z.numpy(), [[-r, -h], [0, -h], [r, 2 * h]], atol=1e-4)
    np.testing.assert_allclose(z_vrt.numpy(), [[-1, 1], [1, -1], [-1, 1]], atol=1e-3)
    assert torch.equal(normalised(rows, rows, feature_norms=False)[1], z)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8])
def test_truth_is_the_identity_and_the_antidiagonal(size: int) -> None:
    rows = torch.zeros(size, 2, dtype=torch.float64)
    truth = mixing_matrices(rows, rows, torch.full((size,), 0.3, dtype=torch.float64), tau=2.0).truth
    for m in range(size):
        for n in range(size):
            assert truth[m, n].item() == pytest.approx(0.3 * (m == n) + 0.7 * (m + n == size - 1))
    torch.testing.assert_close(truth.sum(1), torch.ones(size, dtype=torch.float64))
    if size % 2:
        assert truth[size // 2, size // 2] == 1  # mixed with itself


def test_a_temperature_of_two_hardly_knows_a_perfect_matrix_from_an_empty_one() -> None:
    # Of 256 images: the two entries that count are 1/2 less 1/256 wrong in each row, whatever M is within -1 to 1.
    size = 256
    lambd = torch.full((size,), 0.4)
    truth = mixing_matrices(torch.zeros(size, 1), torch.zeros(size, 1), lambd, 2.0).truth
    found = {}
    for tau in (2.0, 0.05):
        perfect = mixing_matrices(size * torch.eye(size), truth.T, lambd, tau)
        assert torch.equal(perfect.before, truth)
        noise = torch.randn(2, size, 1024, generator=torch.Generator().manual_seed(0))
        found[tau] = [distance(made.after, truth).item() for made in (perfect, mixing_matrices(*noise, lambd, tau))]
    assert found[2.0] == pytest.approx([0.00773, 0.00775], abs=1e-5)
    assert found[0.05][0] < 0.5 * found[0.05][1]


def test_tau_changes_the_virtual_term_alone() -> None:
    reported = [method(tau=tau)(batch(), FIRST).terms for tau in (2.0, 0.2)]
    changed = {name for name in TERMS if not torch.equal(reported[0][name], reported[1][name])}
    assert changed == {"virtual"}


def by_numpy(z: Numbers, z_vrt: Numbers, lambd: float, *, tau: float, feature_norms: bool) -> dict[str, float]:
    """Return the terms of the third batch, written out."""
    z, z_vrt = ((rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) for rows in (z, z_vrt))
    if feature_norms:
        z_vrt = (z_vrt - z_vrt.mean(1, keepdims=True)) / np.sqrt(z_vrt.var(1, keepdims=True) + 1e-5)
    size, width = z.shape
    before = np.array([[np.dot(z[m], z_vrt[n]) / width for n in range(size)] for m in range(size)])
    after = np.exp(before / tau)
    after = np.array([row / row.sum() for row in after])
    truth = lambd * np.eye(size) + (1 - lambd) * np.rot90(np.eye(size))
    return {
        "virtual": np.abs(truth - after).mean(),
        "consistency": np.abs(lambd * z + (1 - lambd) * z[::-1] - z_vrt).mean(),
        "mixing_error": np.abs(truth - before).mean(),
    }


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [8, 9])
def test_terms_are_those_of_numpy(variant: str, size: int) -> None:
    settings = VARIANTS[variant]
    projector = linear(5, 7)
    first, second, lambd = rows_of(size, 5), rows_of(size, 5).flip(1), 0.3
    total, terms, *_ = flat(5, projector, tau=0.7, **settings)(shown(first, second, lambd), FIRST)

    def expected(on: str) -> dict[str, float]:
        x_vrt = lambd * first + (1 - lambd) * first.flip(0)
        seen = [(rows if on == "y" else projector(rows)).detach().numpy() for rows in (first, x_vrt)]
        return by_numpy(*seen, lambd, tau=0.7, feature_norms=settings.get("feature_norms", True))

    virtual, consistency = expected(settings.get("virtual_on", "z")), expected(settings.get("consistency_on", "z"))
    assert terms.keys() == TERMS
    assert terms["virtual"].item() == pytest.approx(virtual["virtual"], rel=1e-6)
    assert terms["mixing_error"].item() == pytest.approx(virtual["mixing_error"], rel=1e-6)
    assert terms["consistency"].item() == pytest.approx(consistency["consistency"], rel=1e-6)
    weights = {"on_diagonal": 1, "off_diagonal": 0.005, "virtual": 1000, "consistency": 200, "mixing_error": 0}
    weights |= {"virtual": settings.get("beta", 1000), "consistency": settings.get("gamma", 200)}
    assert total.item() == pytest.approx(sum(weights[name] * terms[name].item() for name in TERMS), rel=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_gradient_is_stopped(variant: str) -> None:
    # Against differences of the terms: a stop anywhere would leave out a part of what they see.
    trimix = flat(3, linear(3, 4), tau=0.7, **VARIANTS[variant])
    first, second = (view.images for view in list(shown(rows_of(5, 3), rows_of(5, 3).flip(1), 0.3).values()))
    first.requires_grad_()
    second.requires_grad_()

    def term(name: str, images: Tensor) -> Tensor:
        return trimix({"first": View(images, None, torch.full((5,), 0.3)), "second": View(second, None, None)}, FIRST)[
            1
        ][name]

    for name in ("virtual", "consistency"):
        assert torch.autograd.gradcheck(partial(term, name), (first,))
        # Both are of the first view alone.
        assert torch.autograd.grad(term(name, first), second, allow_unused=True) == (None,)
    assert not term("mixing_error", first).requires_grad


def test_terms_have_gradients_through_originals_and_virtual_images() -> None:
    lambd = torch.full((5,), 0.3)
    for name in ("virtual", "consistency"):
        rows, virtual = rows_of(5, 3).requires_grad_(), rows_of(5, 3).flip(0).sin().requires_grad_()
        z, z_vrt = normalised(rows, virtual, feature_norms=True)
        truth, _, after = mixing_matrices(z, z_vrt, lambd, tau=0.7)
        loss = distance(after, truth) if name == "virtual" else distance(mixed(z, lambd), z_vrt)
        for gradient in torch.autograd.grad(loss, (rows, virtual)):
            assert gradient.abs().amax() > 1e-4


@pytest.mark.parametrize("alpha", [0.0051, 0.3])
def test_without_its_terms_it_is_barlow_twins_gradient_for_gradient(alpha: float) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    # The same seed gives both the same first weights.
    twins, trimix = BarlowTwins(encoder, 3, lambd=alpha, projector=24), method(alpha=alpha, beta=0.0, gamma=0.0)
    expected, found = twins(batch(), FIRST), trimix(batch(), FIRST)
    assert found.terms == expected.terms
    assert found.total == expected.total
    for losses in (expected, found):
        losses.total.backward()
    gradients = [{name: p.grad for name, p in method.named_parameters()} for method in (twins, trimix)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


def passes(trimix: Trimix) -> set[int]:
    trimix(batch(), FIRST)
    return {int(value) for key, value in trimix.state_dict().items() if key.endswith("num_batches_tracked")}


def test_batches_pass_the_encoder_one_after_the_other() -> None:
    assert passes(method()) == {3}
    assert passes(method(beta=0.0)) == {3}
    assert passes(method(gamma=0.0)) == {3}
    assert passes(method(beta=0.0, gamma=0.0)) == {2}  # nothing is mixed


def test_total_weighs_its_terms() -> None:
    views = batch()
    plain = method(beta=0.0, gamma=0.0)(views, FIRST).total
    terms = method()(views, FIRST).terms
    for settings in ({"beta": 7.0, "gamma": 3.0}, {"beta": 7.0, "gamma": 0.0}, {"beta": 0.0, "gamma": 3.0}):
        losses = method(**settings)(views, FIRST)
        # One that weighs nothing is reported all the same.
        torch.testing.assert_close(losses.terms, terms)
        expected = plain + settings["beta"] * terms["virtual"] + settings["gamma"] * terms["consistency"]
        torch.testing.assert_close(losses.total, expected)


def test_features_may_come_in_any_order() -> None:
    views = shown(rows_of(8, 5), rows_of(8, 5).flip(1), 0.3)
    plain, shuffled = linear(5, 6), linear(5, 6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        shuffled.weight.copy_(shuffled.weight[order])
        shuffled.bias.copy_(shuffled.bias[order])
    torch.testing.assert_close(flat(5, shuffled)(views, FIRST), flat(5, plain)(views, FIRST))


def test_images_may_come_in_any_order_that_keeps_the_pairs() -> None:
    first, second = rows_of(7, 5), rows_of(7, 5).flip(1)
    expected = flat(5)(shown(first, second, 0.3), FIRST)

    def reordered(order: list[int]) -> Losses:
        return flat(5)(shown(first[order], second[order], 0.3), FIRST)

    torch.testing.assert_close(reordered([6, 5, 4, 3, 2, 1, 0]), expected)
    torch.testing.assert_close(reordered([1, 6, 2, 3, 4, 0, 5]), expected)  # pairs change places, and one its sides
    assert abs(reordered([1, 0, 2, 3, 4, 5, 6]).terms["virtual"] - expected.terms["virtual"]) > 1e-6


def test_first_view_brings_the_mixing_factor_and_is_the_same_image_without() -> None:
    images, views = torch.rand(6, 3, 12, 12), method(min_crop=0.6).views()

    def draw(name: str) -> Draw:
        return Draw(0, 0, 0, name, np.arange(6), 6)

    for name, plain in distorted_views(min_crop=0.6, p_blur=0.0).items():
        assert views[name].stream == "unlabelled"
        seen, drawn = views[name].make(images, draw(name))
        assert torch.equal(seen, plain.make(images, draw(name))[0])
        if name == "second":
            assert drawn is None
        else:
            assert drawn is not None
            assert drawn.shape == (6,)
            assert len(set(drawn.tolist())) == 1


def factors(epoch: int, step: int, seed: int = 0, ranks: int = 1) -> set[float]:
    """Return the mixing factors that all rows of all ranks are given."""
    found: set[float] = set()
    for number in range(ranks):
        positions = np.arange(number, 7, ranks)
        draw = Draw(seed, epoch, step, "first", positions, 7)
        drawn = method().views()["first"].make(torch.rand(len(positions), 1, 8, 8), draw)[1]
        assert drawn is not None
        found |= set(drawn.tolist())
    return found


def test_mixing_factor_is_one_number_for_a_batch_and_another_for_the_next() -> None:
    assert len(factors(0, 0)) == 1
    assert factors(0, 0) == factors(0, 0, ranks=2) == factors(0, 0, ranks=3)
    different = [factors(0, 0), factors(0, 1), factors(1, 0), factors(0, 0, seed=1)]
    assert len(set.union(*different)) == 4
    assert all(0 <= lambd < 1 for lambd in set.union(*different))


@pytest.mark.parametrize("variant", ["as published", "both on y"])
def test_mixing_shows_what_forward_takes_apart(variant: str) -> None:
    trimix, views = method(**VARIANTS[variant]), batch(9)
    found, terms = trimix.mixing({"first": views["first"]}), trimix(views, FIRST).terms
    assert torch.equal(found.images, views["first"].images)
    torch.testing.assert_close(found.virtual, 0.3 * found.images + 0.7 * found.images.flip(0))
    torch.testing.assert_close((found.after - found.truth).abs().mean(), terms["virtual"].detach())
    torch.testing.assert_close((found.before - found.truth).abs().mean(), terms["mixing_error"])
    torch.testing.assert_close(found.after, (found.before / 2).softmax(1))
    assert {tuple(matrix.shape) for matrix in found[2:]} == {(9, 9)}
    assert not any(tensor.requires_grad for tensor in found)


def test_losses_under_bf16_autocast_are_those_of_its_embeddings_in_fp32() -> None:
    trimix, seen = method(tau=0.5), []
    trimix.projector.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        terms = trimix(batch(), FIRST).terms
        shown_under_autocast = trimix.mixing(batch())
    z, _, z_vrt = (rows.detach().double().numpy() for rows in seen[:3])
    assert seen[0].dtype == torch.bfloat16
    for name, expected in by_numpy(z, z_vrt, 0.3, tau=0.5, feature_norms=True).items():
        assert terms[name].dtype == torch.float32
        assert terms[name].item() == pytest.approx(expected, rel=1e-5)
    assert {tensor.dtype for tensor in shown_under_autocast} == {torch.float32}
    assert {rows.dtype for rows in seen} == {torch.bfloat16}


def on_ranks(size: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what is reported, the gradients of this rank's images, and its rows of what is shown."""
    trimix = flat(5, linear(5, 7), tau=0.7, **settings)
    views = shown(rows_of(size, 5), rows_of(size, 5).flip(1), 0.3)
    mine = {
        name: View(
            view.images[rank() :: world_size()].detach().requires_grad_(),
            None,
            None if view.aug_params is None else view.aug_params[rank() :: world_size()],
        )
        for name, view in views.items()
    }
    total, terms, *_ = trimix(mine, FIRST)
    total.backward()
    return {
        "reported": {name: mean_over_ranks(value) for name, value in {"total": total, **terms}.items()},
        "gradients": [view.images.grad / world_size() for view in mine.values()],  # as DDP divides
        "shown": [tensor.detach() for tensor in trimix.mixing(mine)],
    }


def on_each_rank() -> dict[str, Any]:
    cases = [(size, name) for size in (8, 9, 1) for name in VARIANTS]
    return {f"{size} {name}": on_ranks(size, VARIANTS[name]) for size, name in cases}


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return spawn(on_each_rank)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [8, 9, 1])
def test_two_ranks_have_the_losses_gradients_and_matrices_of_one_process(
    ranks: list[dict[str, Any]], size: int, variant: str
) -> None:
    expected = on_ranks(size, VARIANTS[variant])
    for number, found in enumerate(ranks):
        mine = found[f"{size} {variant}"]
        torch.testing.assert_close(mine["reported"], expected["reported"])
        for name in ("gradients", "shown"):
            torch.testing.assert_close(mine[name], [rows[number::2] for rows in expected[name]])


def test_projector_is_three_layers_wide() -> None:
    encoder = build_encoder(ModelSettings(features=40), channels=1, image_size=8)
    shapes = [tuple(layer.weight.shape) for layer in Trimix(encoder, 3).projector if isinstance(layer, nn.Linear)]
    assert shapes == [(1024, 40), (1024, 1024), (1024, 1024)]


def test_a_trial_in_bf16_ends_with_its_terms_in_its_curve(tmp_path: Path) -> None:
    chosen = "stages.semi.method={name: trimix, projector: 32}"
    overrides = (chosen, "stages.semi.epochs=2", "stages.semi.precision=bf16", "stages.semi.optimizer.lr=1e-3")
    experiment = load(write(tmp_path), overrides=overrides)
    data = resolve(experiment.data, inspect(experiment.data))
    spec = expand(experiment, experiment.stages[0], of_stages(experiment, data), {})[0].spec
    row = run_trial(spec, Store.open(str(tmp_path / "results"), create=True), Execution(), lambda epoch: None)
    assert row is not None
    assert row.status == "finished"
    for epoch in row.curve:
        weights = {"on_diagonal": 1.0, "off_diagonal": 0.005, "virtual": 1000, "consistency": 200, "mixing_error": 0}
        assert epoch.terms.keys() == weights.keys()
        assert epoch.loss == pytest.approx(sum(weights[key] * value for key, value in epoch.terms.items()), rel=1e-5)
    assert row.curve[1].terms["on_diagonal"] < row.curve[0].terms["on_diagonal"]


def test_terms_may_weigh_nothing() -> None:
    methods.settings_model("trimix")(name="trimix", beta=0.0, gamma=0.0)


def test_hidden_layers_are_as_wide_as_the_embeddings_or_as_is_said() -> None:
    def widths(**given: Any) -> list[int]:
        encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
        return [layer.out_features for layer in Trimix(encoder, 3, **given).projector if isinstance(layer, nn.Linear)]

    assert widths(projector=24) == [24, 24, 24]
    assert widths(projector=24, hidden=40) == [40, 40, 24]
