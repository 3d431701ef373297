"""`raysl.export_model`: a trained model as a file for other programs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from raysl.api.model_choice import SELECTED
from raysl.api.models import load_model
from raysl.api.turns import own_turn
from raysl.errors import UserError, checked_path, choices

if TYPE_CHECKING:
    from raysl.training.exporting import Form

SUFFIXES = dict.fromkeys(("safetensors", "torchvision", "timm"), ".safetensors") | {"onnx": ".onnx"}


@dataclass(frozen=True)
class Export:
    """A written file, and how it is used.

    backbone: its name in an experiment.  channels, image_size: of its input, float [N, channels, size, size].
    mean, std: of each channel; its input is (x - mean) / std of images x in [0, 1].
    lines: Python that makes the library's network `model` of the file; empty for the forms of no library.
    missing: names of the library's classifier, which the file does not have.
    left_out: parts of the trained model that the library's network has no place for.
    """

    path: Path
    trial_id: str
    method: str
    backbone: str
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    lines: tuple[str, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]


def export_model(
    results: str | os.PathLike[str],
    form: str = "safetensors",
    stage: str | None = None,
    config: str | Mapping[str, object] = SELECTED,
    seed: int = 0,
    epoch: int | None = None,
    output: str | os.PathLike[str] | None = None,
) -> Export:
    """Write a trained model for other programs.

    Args:
        results, stage, config, seed, epoch: the model, as `load_model` takes them.
        form: `safetensors` (the encoder and its classifier, by raysl's names), `torchvision` or `timm` (the backbone,
            by the names of the library's network), or `onnx` (a graph from preprocessed images to features, and to
            logits if the method has learnt classes).
        output: the file; TRIAL-FORM.safetensors or TRIAL.onnx in the working directory if None.

    Returns:
        what was written, and how it is loaded. With `torchvision` and `timm`, the library's own network was seen to
        compute the same features.

    Raises:
        UserError: as `load_model`; the library has no network of the backbone; a package is not installed; the file
            cannot be written.
    """
    given = _checked_output(form, output)
    model = load_model(results, stage, config, seed, epoch)
    milestone, library = "" if epoch is None else f"@{epoch}", "" if form == "onnx" else f"-{form}"
    path = given or Path(f"{model.trial_id}{milestone}{library}{SUFFIXES[form]}")
    from raysl.training.exporting import exported
    from raysl.training.torch_state import kept_torch_state

    with own_turn(), kept_torch_state():
        found = exported(model, cast("Form", form))
    try:
        path.write_bytes(found.content)
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None
    load = f"weights = safetensors.torch.load_file({str(path)!r})"
    return Export(
        path=path,
        trial_id=model.trial_id,
        method=str(model.spec.method["name"]),
        backbone=model.spec.model.backbone,
        channels=model.encoder.channels,
        image_size=model.encoder.image_size,
        mean=model.normalisation.mean,
        std=model.normalisation.std,
        lines=(found.lines[0], load, *found.lines[1:]) if found.lines else (),
        missing=found.missing,
        left_out=found.left_out,
    )


def _checked_output(form: str, output: str | os.PathLike[str] | None) -> Path | None:
    """Return the given path; raises UserError if there is no such form, or the path has another suffix."""
    if form not in SUFFIXES:
        raise UserError(f"--format {form}: {choices(str(form), SUFFIXES)}")
    given = None if output is None else checked_path(Path(os.fsdecode(output)), "--output")
    if given is not None and given.suffix != SUFFIXES[form]:
        raise UserError(f"--output {given}: the name of a file of format {form} ends in {SUFFIXES[form]}")
    return given
