"""A trained model for other programs: images in, features or logits out."""

from collections.abc import Iterable
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from raysl import methods
from raysl.data.storage.decoded_cache import class_names, load
from raysl.data.storage.images import decode, encode
from raysl.errors import DataError, UserError, quoted
from raysl.methods._method import Method
from raysl.training.input_pipeline import Normaliser
from raysl.training.model_file import Normalisation
from raysl.training.spec import TrialSpec


class TrainedModel(nn.Module):
    """The evaluated encoder of a trial, in eval mode, with its preprocessing and classifier.

    trial_id: of the trial.  spec: everything that decided its numbers.
    encoder: float [B, C, H, W], preprocessed, -> features [B, encoder.num_features].
    """

    def __init__(self, spec: TrialSpec, method: Method, normalisation: Normalisation | None = None) -> None:
        """Wrap a trial's trained method.

        normalisation: of its images; None computes it from the training images.
        Raises DataError if these are then not on this machine.
        """
        super().__init__()
        self.trial_id, self.spec = spec.id, spec
        self.encoder, self.method = method.evaluation().encoder, method
        statistics = normalisation or spec.model.weights or load(spec.data)
        for name in ("mean", "std"):
            values = torch.as_tensor(getattr(statistics, name), dtype=torch.float32)
            self.register_buffer(name, values.view(1, -1, 1, 1))
        self.eval()

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of its training images' classes, in the order of labels and logits.

        Raises DataError if the training images are not on this machine.
        """
        return class_names(self.spec.data, download=False)

    @property
    def normalisation(self) -> Normalisation:
        """The mean and standard deviation of each channel that images are normalised with."""
        mean, std = (tuple(self.get_buffer(name).flatten().tolist()) for name in ("mean", "std"))
        return Normalisation(mean, std)

    @property
    def classifies(self) -> bool:
        """Whether its method has learnt the classes; only then `classify` works."""
        return self.spec.method["name"] in methods.classifiers()

    @property
    def segments(self) -> bool:
        """Whether its method has learnt masks; only then `segment` works."""
        return self.spec.method["name"] in methods.segmenters()

    def preprocess(self, images: Any) -> Tensor:
        """Return preprocessed images for the model: float [N, C, H, W], resized and normalised, on its device.

        If it was trained on images with masks, the ratio of their edges is kept, and they lie at the top left.

        images: one or several; each a PIL image, an image file's bytes, or uint8 [H, W] or [H, W, C], C = 1 or 3.
        Raises DataError if one is not an image.
        """
        size, channels = self.spec.data.image_size, self.spec.data.channels
        assert size is not None, "a trial's data are resolved"
        assert channels is not None, "a trial's data are resolved"
        files = [_file(image) for image in _several(images)]
        pixels = decode(files, size, channels, 0, whole=self.spec.data.masks is not None)
        normalise = Normaliser(self.get_buffer("mean"), self.get_buffer("std"))
        return normalise(normalise.to_float(pixels))

    def forward(self, images: Tensor) -> Tensor:
        """Return the features [B, D] of preprocessed images."""
        features: Tensor = self.encoder(images)
        return features

    def classify(self, images: Tensor) -> Tensor:
        """Return the logits [B, K] of preprocessed images, in the order of `class_names`.

        Raises UserError if its method has learnt no classes.
        """
        if not self.classifies:
            name, known = self.spec.method["name"], ", ".join(methods.classifiers())
            raise UserError(f"classify: method {name} learns no classes; those that do: {known}")
        return self.method.classify(images)

    def segment(self, images: Tensor) -> Tensor:
        """Return the logits [B, K, H, W] of each pixel of preprocessed images, in the order of `class_names`.

        Raises UserError if its method has learnt no masks.
        """
        if not self.segments:
            name, known = self.spec.method["name"], ", ".join(methods.segmenters())
            raise UserError(f"segment: method {name} learns no masks; those that do: {known}")
        return self.method.segment(images)


def _several(images: Any) -> Iterable[Any]:
    """Return images as an iterable, also if a single image is given."""
    if isinstance(images, Image.Image | bytes) or (isinstance(images, np.ndarray) and images.ndim == 2):
        return [images]
    if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[-1] in (1, 3):
        return [images]
    if isinstance(images, Iterable) and not isinstance(images, str):
        return list(images)
    raise DataError(f"images: {quoted(images)}: choices: PIL images, bytes of image files, uint8 arrays [H, W, C]")


def _file(image: Any) -> bytes:
    """Return an image as the bytes of an image file."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, Image.Image):
        return _png(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
        pixels = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
        if pixels.ndim == 2 or pixels.shape[-1] == 3:
            return encode(np.ascontiguousarray(pixels))
    kind = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else quoted(image)
    raise DataError(f"images: {kind}: choices: PIL images, bytes of image files, uint8 arrays [H, W, C] with C 1 or 3")


def _png(image: Image.Image) -> bytes:
    """Return an image as a PNG file, with the orientation of its metadata."""
    buffer = BytesIO()
    try:
        image.save(buffer, "PNG", compress_level=0, exif=image.getexif())
    except (OSError, ValueError) as error:
        raise DataError(f"images: a picture of mode {image.mode}: {error}; image.convert('RGB') would do") from None
    return buffer.getvalue()
