"""A model of every method goes to the libraries with its evaluated weights, and computes the same there."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load

import raysl.methods
from raysl.methods import settings_model
from raysl.models.backbones import build_backbone
from raysl.models.encoder import build_encoder
from raysl.training.exporting import exported
from raysl.training.model_file import Normalisation
from raysl.training.spec import TrialSpec
from raysl.training.trained_model import TrainedModel

pytestmark = pytest.mark.slow

NESTED = {"semi": {"pretext": {"name": "rotation"}}}


@pytest.mark.parametrize("name", raysl.methods.names())
def test_a_model_of_every_method_loads_in_torchvision_and_timm(name: str, make_spec: Callable[..., TrialSpec]) -> None:
    resnet = ("model.backbone=resnet18", "model.stem=cifar", "model.features=null")
    settings = settings_model(name)(name=name, **NESTED.get(name, {})).model_dump()
    spec = make_spec(*resnet).model_copy(update={"method": settings})
    torch.manual_seed(0)
    method = raysl.methods.build(settings, build_encoder(spec.model, 1, 8), 10)
    # What a library has not: dilation.
    has_dilation = raysl.methods.describe(name).level == "pixel"
    with torch.no_grad():
        for value in method.evaluation().encoder.parameters():
            value.mul_(1.1)  # else an average would equal the trained weights
    model = TrainedModel(spec, method, Normalisation((0.3,), (0.4,)))
    images = torch.randn(2, 1, 8, 8)
    for library in ("torchvision", "timm"):
        found = exported(model, library)
        names: dict[str, Any] = {"weights": load(found.content)}
        exec("\n".join(found.lines), names)
        with torch.no_grad():
            expected = model.classify(images) if model.classifies and not found.missing else model(images)
            if has_dilation:
                plain, _ = build_backbone(spec.model, 1)
                plain.load_state_dict(model.encoder.backbone.state_dict())
                expected = plain.eval()(images)
            torch.testing.assert_close(names["model"](images), expected, rtol=1e-5, atol=1e-5)
