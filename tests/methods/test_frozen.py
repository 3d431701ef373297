"""The method that trains nothing keeps out of all that trains."""

import pytest
import torch
from steps import FIRST

from raysl import methods
from raysl.methods.frozen import Frozen
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {}
SHAPES_LOSS = []
IMPOSSIBLE = [{"copies": 1}]


def test_it_is_its_encoder_and_no_more() -> None:
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    method = methods.build({"name": "frozen"}, encoder, num_classes=3)
    assert isinstance(method, Frozen)
    assert method.encoder is encoder
    assert {name.partition(".")[0] for name, _ in method.named_parameters()} == {"encoder"}
    assert method.views() == {}
    with pytest.raises(TypeError, match="Frozen has no forward"):
        method({}, FIRST)
    with pytest.raises(TypeError, match="Frozen has no classifier"):
        method.classify(torch.rand(2, 1, 8, 8))


def test_the_catalogue_knows_that_it_trains_nothing() -> None:
    assert [name for name in methods.names() if not methods.describe(name).trains] == ["frozen"]
    assert "frozen" not in {*methods.pretexts(), *methods.classifiers()}
    assert methods.describe("frozen").hyperparameters == {}
