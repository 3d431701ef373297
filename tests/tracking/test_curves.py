import math

import pytest

from raysl.tracking.curves import Point, config_curve

END = 1_700_000_000_000


def trial(totals: list[float], **terms: list[float]) -> list[Point]:
    values = {"loss/total": totals, "schedule/lr": [0.1] * len(totals)} | {f"loss/{k}": v for k, v in terms.items()}
    return [Point(name, value, step, step) for name, all_ in values.items() for step, value in enumerate(all_)]


def of(points: list[Point]) -> dict[str, list[float]]:
    assert {point.time for point in points} <= {END}
    curves: dict[str, list[float]] = {}
    for point in points:
        assert point.step == len(curves.setdefault(point.name, []))
        curves[point.name].append(point.value)
    return curves


def test_mean_and_mean_less_and_plus_the_deviation() -> None:
    curves = of(config_curve([trial([1.0, 2.0]), trial([3.0, 2.0]), trial([5.0, 2.0])], END))
    assert curves == {"loss/total": [3, 2], "loss/total_minus_std": [1, 2], "loss/total_plus_std": [5, 2]}


def test_one_seed_has_no_deviation() -> None:
    assert of(config_curve([trial([1.0, 0.5])], END)) == {"loss/total": [1.0, 0.5]}


def test_two_terms_have_means_and_a_term_that_is_the_total_has_none() -> None:
    parts = {"a": [1.0], "b": [2.0], "c": [3.0]}
    curves = of(config_curve([trial([6.0], **parts), trial([6.0], **parts)], END))
    assert list(curves) == ["loss/total", "loss/total_minus_std", "loss/total_plus_std", "loss/a", "loss/b"]
    assert curves["loss/b"] == [2.0]
    alone = of(config_curve([trial([1.0], simclr=[1.0])], END))
    assert list(alone) == ["loss/total"]


def test_epochs_and_terms_that_a_trial_lacks_are_left_out() -> None:
    curves = of(config_curve([trial([1.0, 2.0, 3.0], a=[0.5, 0.5, 0.5]), trial([3.0])], END))
    assert curves["loss/total"] == [2.0]
    assert "loss/a" not in curves
    assert config_curve([], END) == []
    assert config_curve([trial([1.0]), []], END) == []


def test_an_infinite_loss_is_no_number() -> None:
    curves = of(config_curve([trial([math.inf]), trial([1.0])], END))
    assert all(math.isnan(value) for values in curves.values() for value in values)
    assert curves.keys() == {"loss/total", "loss/total_minus_std", "loss/total_plus_std"}


def test_the_total_is_compared_exactly() -> None:
    curves = of(config_curve([trial([1.0], a=[1.0]), trial([2.0], a=[1.5])], END))
    assert curves["loss/a"] == [pytest.approx(1.25)]
