"""Training losses that mean the same, and those that do not."""

import pytest

from raysl.search.comparable import loss_trouble

SEMI = {"name": "semi", "pretext": {"name": "simclr", "temperature": 0.5}}


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"name": "simclr", "temperature": 0.5}, {"name": "simclr", "temperature": 0.5}, ""),
        ({"name": "simclr", "temperature": 0.5}, {"name": "simclr", "temperature": 0.1}, "method.temperature is 0.5"),
        ({"name": "simclr"}, {"name": "vicreg"}, "method is simclr and vicreg"),
        ({"name": "gone"}, {"name": "gone"}, "method is gone"),
        (SEMI, SEMI, ""),
        (SEMI, SEMI | {"pretext": {"name": "simclr", "temperature": 0.1}}, "method.pretext.temperature is 0.5 and 0.1"),
        (SEMI, SEMI | {"pretext": {"name": "vicreg"}}, "method.pretext is simclr and vicreg"),
        ({"name": "simclr", "temperature": 0.5}, {"name": "simclr", "temperature": 0.5, "min_crop": 0.2}, "method.min"),
    ],
)
def test_losses_are_compared_where_nothing_that_shapes_them_differs(
    one: dict[str, object], other: dict[str, object], told: str
) -> None:
    if told == "method.min":  # a key that is at its default is that of a trial which is older than the key
        from raysl.methods import describe

        other["min_crop"] = describe("simclr").hyperparameters["min_crop"][1]
        told = ""
    assert loss_trouble(one, other).startswith(told)
    assert bool(loss_trouble(one, other)) is bool(told)
