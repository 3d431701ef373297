"""What may be said of a model, and what stays unsaid."""

from typing import Any

import pytest
from pydantic import ValidationError

from raysl.models.settings import ModelSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hidden": 4096, "features": None}, r"hidden: .*features"),
        ({"backbone": "mobilenet_v2", "stem": "cifar"}, r"stem: mobilenet_v2 .*resnet18 and resnet50"),
        ({"stem": "stl10"}, r"stem: small_resnet .*resnet18 and resnet50 take 'stl10'"),
        ({"norm_momentum": 0.0}, "norm_momentum"),
        ({"norm_momentum": 1.5}, "norm_momentum"),
        ({"norm_eps": 0.0}, "norm_eps"),
    ],
)
def test_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSettings.model_validate(given)


def test_what_is_not_given_is_no_part_of_a_trials_name() -> None:
    assert ModelSettings().model_dump(exclude_none=True) == {
        "backbone": "small_resnet",
        "stem": "imagenet",
        "features": 128,
    }
    given = {"hidden": 4096, "norm_momentum": 0.001, "norm_eps": 0.001}
    assert given.items() <= ModelSettings.model_validate(given).model_dump(exclude_none=True).items()
