"""Backbones in the form of another library: its own network, with its names of the weights."""

from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from raysl.errors import UserError
from raysl.models.backbones import TIMM_NAMES
from raysl.models.settings import ModelSettings

Library = Literal["torchvision", "timm"]

# A library's name of each backbone that it has.
NAMES: Mapping[Library, Mapping[str, str]] = {
    "torchvision": {name: name for name in ("resnet18", "resnet50", "mobilenet_v2", "inception_v3")},
    "timm": {"resnet18": "resnet18", "resnet50": "resnet50", **TIMM_NAMES},
}
# Layers that depend on stem or channels: their names in the library's network, and in ours.
_RESNET = {"conv1": "conv1", "maxpool": "maxpool"}
_STEMS: Mapping[Library, Mapping[str, Mapping[str, str]]] = {
    "torchvision": {
        "resnet18": _RESNET,
        "resnet50": _RESNET,
        "mobilenet_v2": {"features.0.0": "conv_stem"},
        "inception_v3": {"Conv2d_1a_3x3.conv": "Conv2d_1a_3x3.conv"},
    },
    "timm": {"resnet18": _RESNET, "resnet50": _RESNET},
}
TOLERANCE = 1e-5  # of the largest feature


class LibraryForm(NamedTuple):
    """A backbone as a network of a library.

    state: its weights, by the library's names.  missing: the names of the library's classifier, if it is left out.
    lines: Python that makes the network `model` of `weights`, the loaded state.
    """

    state: dict[str, Tensor]
    missing: tuple[str, ...]
    lines: tuple[str, ...]


def in_library(
    library: Library,
    settings: ModelSettings,
    backbone: nn.Module,
    shape: tuple[int, int, int],
    classifier: nn.Linear | None = None,
) -> LibraryForm:
    """Return a backbone in the form of a library, after a check that the library's network computes the same.

    shape: of an input image, [C, H, W].  classifier: of the pooled features, if it becomes the library's own.
    Raises UserError if the library has no such network, or its version computes something else.
    """
    name = NAMES[library].get(settings.backbone)
    if name is None:
        raise UserError(f"{library} has no {settings.backbone}, but {', '.join(NAMES[library])}")
    network, made = _network(library, name, shape[0], classifier)
    lines = [f"import safetensors.torch, {library}, torch", made, *_adapt(network, library, settings, backbone)]
    *names, weight, bias = network.state_dict()
    state = dict(zip(names, backbone.state_dict().values(), strict=True))
    if classifier is None:
        head = weight.rpartition(".")[0]
        network.set_submodule(head, nn.Identity())
        lines += [
            f"model.load_state_dict(weights, strict=False)  # without {weight} and {bias}",
            f'model.set_submodule("{head}", torch.nn.Identity())  # gives the pooled features',
        ]
    else:
        state[weight] = classifier.weight.view_as(network.get_parameter(weight))
        state[bias] = classifier.bias
        lines += ["model.load_state_dict(weights)"]
    network.load_state_dict(state)
    ours = backbone if classifier is None else nn.Sequential(backbone, classifier)
    _check_same(f"{library}'s {name}", network, ours, shape)
    return LibraryForm(state, () if classifier else (weight, bias), (*lines, "model.eval()"))


def _network(library: Library, name: str, channels: int, classifier: nn.Linear | None) -> tuple[nn.Module, str]:
    """Return a library's network with random weights, and the line that makes it."""
    options: dict[str, Any] = {} if classifier is None else {"num_classes": classifier.out_features}
    if library == "timm":
        if channels != 3:
            options["in_chans"] = channels
    elif name == "inception_v3":
        options |= {"aux_logits": False, "init_weights": False}
    text = ", ".join(f"{key}={value}" for key, value in options.items())
    if library == "timm":
        network = import_module("timm").create_model(name, **options)
        return network, f"model = timm.create_model({', '.join(filter(None, [repr(name), text]))})"
    return getattr(import_module("torchvision.models"), name)(**options), f"model = torchvision.models.{name}({text})"


def _adapt(network: nn.Module, library: Library, settings: ModelSettings, backbone: nn.Module) -> list[str]:
    """Give a library's network the layers in which a backbone differs from it; return the lines that do."""
    lines = []
    for theirs, ours in _STEMS[library].get(settings.backbone, {}).items():
        module = backbone.get_submodule(ours)
        if repr(module) != repr(network.get_submodule(theirs)):
            network.set_submodule(theirs, deepcopy(module))
            lines.append(f'model.set_submodule("{theirs}", torch.nn.{module!r})')
    if settings.norm_eps is not None:
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = settings.norm_eps
        lines += [
            "for part in model.modules():",
            "    if isinstance(part, torch.nn.BatchNorm2d):",
            f"        part.eps = {settings.norm_eps!r}",
        ]
    return lines


@torch.no_grad()
def _check_same(what: str, network: nn.Module, ours: nn.Module, shape: tuple[int, int, int]) -> None:
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    expected, found = ours.eval()(images), network.eval()(images)
    if not (found - expected).abs().max() <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise UserError(f"{what} of the installed version computes other features from these weights")
