"""Trained models as files for other programs."""

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from raysl import __version__
from raysl.errors import DataError, UserError
from raysl.methods import describe
from raysl.models.backbones import build_backbone
from raysl.models.dense import enlarged
from raysl.models.library_forms import NAMES, in_library
from raysl.training.model_file import whole_tensors
from raysl.training.trained_model import TrainedModel

Form = Literal["safetensors", "torchvision", "timm", "onnx"]
ONNX_OUTPUTS = ("features", "logits")


class ExportedModel(NamedTuple):
    """A trained model as the content of a file.

    lines: Python that makes the network `model` of `weights`, the loaded file.  missing: names in the library's network
    that the file does not have.  left_out: the model's own parts that are not in the file.
    """

    content: bytes
    lines: tuple[str, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]


def forms_of(backbone: str) -> list[str]:
    """Return the forms in which a model with a backbone can be exported."""
    return ["safetensors", *(library for library in NAMES if backbone in NAMES[library]), "onnx"]


def exported(model: TrainedModel, form: Form) -> ExportedModel:
    """Return a trained model in a form.

    Raises UserError if there is no such form of its backbone, or a package for it is not installed.
    """
    if form == "safetensors":
        return _own_form(model)
    return _onnx_form(model) if form == "onnx" else _library_form(model, form)


def _own_form(model: TrainedModel) -> ExportedModel:
    state = dict(model.encoder.state_dict())
    if (classifier := _classifier(model)) is not None:
        state |= {f"classifier.{key}": value for key, value in classifier.state_dict().items()}
    if (head := _segmentation_head(model)) is not None:
        state |= {f"segmentation_head.{key}": value for key, value in head.state_dict().items()}
    return ExportedModel(_file(model, state), (), (), ())


def _library_form(model: TrainedModel, form: Literal["torchvision", "timm"]) -> ExportedModel:
    settings, encoder = model.spec.model, model.encoder
    if settings.backbone not in NAMES[form]:
        known = ", ".join(forms_of(settings.backbone))
        raise UserError(f"--format {form}: {form} has no {settings.backbone}; choices for it: {known}")
    has_head = not isinstance(encoder.head, nn.Identity)
    classifier = _classifier(model)
    own = classifier if isinstance(classifier, nn.Linear) and not has_head else None
    shape = (encoder.channels, encoder.image_size, encoder.image_size)
    found = in_library(form, settings, _without_dilation(model), shape, own)
    left_out = [f"the feature head, {encoder.num_features} wide"] if has_head else []
    left_out += ["the classifier"] if classifier is not None and own is None else []
    if model.segments:
        left_out += ["the segmentation head", "the dilation of its convolutions"]
    return ExportedModel(_file(model, found.state), found.lines, found.missing, tuple(left_out))


def _classifier(model: TrainedModel) -> nn.Module | None:
    return model.method.evaluation().classifier if model.classifies else None


def _segmentation_head(model: TrainedModel) -> nn.Module | None:
    return model.method.evaluation().classifier if model.segments else None


def _without_dilation(model: TrainedModel) -> nn.Module:
    """Return the evaluated backbone, without the dilation that methods of feature maps give it."""
    backbone, encoder = model.encoder.backbone, model.encoder
    if describe(model.spec.method["name"]).level == "image":
        return backbone
    plain, _ = build_backbone(model.spec.model, encoder.channels)
    plain.load_state_dict(backbone.state_dict())
    return plain.eval()


def _file(model: TrainedModel, state: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save(whole_tensors(state), facts_of(model))


def facts_of(model: TrainedModel) -> dict[str, str]:
    """Return what a user of an exported model must know, as metadata: its input, its classes and where it is from."""
    data = model.spec.data
    try:
        names = list(model.class_names)
    except DataError:  # the training images are not on this machine
        names = []
    return {
        "format": "pt",
        "raysl": __version__,
        "trial_id": model.trial_id,
        "method": str(model.spec.method["name"]),
        "backbone": model.spec.model.backbone,
        "model": model.spec.model.model_dump_json(exclude={"weights"}, exclude_none=True),
        "channels": str(data.channels),
        "image_size": str(data.image_size),
        "mean": json.dumps(model.normalisation.mean),
        "std": json.dumps(model.normalisation.std),
        "class_names": json.dumps(names),
    }


class _Outputs(nn.Module):
    """Preprocessed images -> features, and logits if the model has learnt classes, or masks: of each pixel."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.encoder, self.classifier, self.head = model.encoder, _classifier(model), _segmentation_head(model)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.head is not None:
            maps = self.encoder.maps(images)
            return maps.mean((2, 3)), enlarged(self.head(maps), images.shape[2:])
        features = self.encoder(images)
        return (features,) if self.classifier is None else (features, self.classifier(features))


def _onnx_form(model: TrainedModel) -> ExportedModel:
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError as error:
        raise UserError(f"--format onnx: {error.name} is not installed; pip install 'raysl[onnx]'") from None
    encoder, outputs = model.encoder, _Outputs(model).eval()
    images = torch.zeros(2, encoder.channels, encoder.image_size, encoder.image_size)
    names = ONNX_OUTPUTS[: 1 if outputs.classifier is None and outputs.head is None else 2]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        path = Path(folder, "model.onnx")
        torch.onnx.export(
            outputs,
            (images,),
            str(path),
            input_names=["images"],
            output_names=list(names),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        made = onnx.load(str(path))
    for key, value in facts_of(model).items():
        if key != "format":
            made.metadata_props.add(key=key, value=value)
    return ExportedModel(made.SerializeToString(), (), (), ())
