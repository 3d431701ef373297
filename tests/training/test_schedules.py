"""The learning rate's factor at the places where it is easily off by one."""

import math

import pytest

from raysl.training.schedules import lr_factor
from raysl.training.settings import Constant, Cosine, Exponential, PartialCosine, Poly

PAPER = Exponential(name="exponential")


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (0, 1.0),
        (4.99, 1.0),
        (5, 1.0),  # 5 % of 100 epochs: the first five epochs and epoch 5 itself keep the rate
        (5.99, 1.0),
        (6, math.exp(-0.01)),
        (6.5, math.exp(-0.01)),
        (99, math.exp(-0.94)),  # the last epoch
        (99.99, math.exp(-0.94)),
        (100, math.exp(-0.95)),
    ],
)
def test_exponential_is_that_of_the_paper(position: float, expected: float) -> None:
    assert lr_factor(PAPER, position, epochs=100) == pytest.approx(expected, rel=1e-12)


def test_exponential_holds_a_fraction_of_an_epoch() -> None:
    # 5 % of 30 epochs is 1.5: epoch 2 has decayed by half an epoch.
    assert lr_factor(PAPER, 1, epochs=30) == 1.0
    assert lr_factor(PAPER, 2, epochs=30) == pytest.approx(math.exp(-0.005))


def test_exponential_without_hold_or_rate() -> None:
    assert lr_factor(Exponential(name="exponential", hold=0.0, rate=0.1), 3.2, epochs=10) == pytest.approx(
        math.exp(-0.3)
    )
    assert lr_factor(Exponential(name="exponential", hold=1.0), 10, epochs=10) == 1.0


def test_partial_cosine_is_fixmatch_s() -> None:
    schedule = PartialCosine(name="partial_cosine")
    for k in (0, 1, 512, 1023):
        expected = math.cos(7 * math.pi * k / (16 * 1024))
        assert lr_factor(schedule, k / 128, epochs=8) == pytest.approx(expected, rel=1e-12)
    assert lr_factor(PartialCosine(name="partial_cosine", share=0.5), 8, epochs=8) == pytest.approx(0, abs=1e-12)


def test_cosine_is_continuous_over_the_end_of_the_warm_up() -> None:
    cosine = Cosine(name="cosine", warmup=10.0)
    assert lr_factor(cosine, 0, epochs=100) == 0.0
    assert lr_factor(cosine, 2.5, epochs=100) == 0.25
    assert lr_factor(cosine, 10 - 1e-9, epochs=100) == pytest.approx(1.0)
    assert lr_factor(cosine, 10, epochs=100) == 1.0
    assert lr_factor(cosine, 10 + 1e-3, epochs=100) == pytest.approx(1.0)
    assert lr_factor(cosine, 55, epochs=100) == pytest.approx(0.5)
    assert lr_factor(cosine, 100, epochs=100) == pytest.approx(0.0, abs=1e-12)


def test_cosine_without_warm_up_starts_at_once_and_goes_step_by_step() -> None:
    cosine = Cosine(name="cosine")
    assert lr_factor(cosine, 0, epochs=4) == 1.0
    assert lr_factor(cosine, 1, epochs=4) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert lr_factor(cosine, 1.5, epochs=4) < lr_factor(cosine, 1.25, epochs=4)


@pytest.mark.parametrize("warmup", [4.0, 9.0])
def test_warm_up_may_take_all_epochs_and_more(warmup: float) -> None:
    cosine = Cosine(name="cosine", warmup=warmup)
    assert [lr_factor(cosine, position, epochs=4) for position in (0, 2, 4)] == [0, 2 / warmup, 4 / warmup]


def test_constant_stays() -> None:
    assert {lr_factor(Constant(name="constant"), position, epochs=3) for position in (0, 1.5, 3)} == {1.0}


def test_poly_falls_from_1_towards_0() -> None:
    poly = Poly(name="poly")
    assert lr_factor(poly, 0, epochs=10) == 1
    assert lr_factor(poly, 7.5, epochs=10) == pytest.approx(0.25**0.9)
    assert lr_factor(poly, 9.99, epochs=10) > 0
