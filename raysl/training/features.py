"""What a trained network makes of images, batch by batch, in eval mode and in fp32."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from raysl.methods._method import Method
from raysl.models.encoder import Encoder
from raysl.training.input_pipeline import Normaliser

FEATURE_BATCH = 256  # images at once; in eval mode it changes no number


def extract_features(encoder: Encoder, images: np.ndarray, normalise: Normaliser) -> np.ndarray:
    """Return the encoder's features, float32 [N, D], of uint8 images [N, H, W, C]."""
    encoder.eval()
    return _in_batches(encoder, images, normalise).cpu().numpy()


def pooled_features(encoder: Encoder, images: np.ndarray, normalise: Normaliser) -> Tensor:
    """Return what the backbone makes of uint8 images [N, H, W, C]: float32 [N, width], on their device."""
    encoder.backbone.eval()
    return _in_batches(encoder.backbone, images, normalise)


def logits(method: Method, images: np.ndarray, normalise: Normaliser) -> np.ndarray:
    """Return the logits, float32 [N, K], that a method's own classifier gives uint8 images [N, H, W, C]."""
    method.eval()
    return _in_batches(method.classify, images, normalise).cpu().numpy()


@torch.no_grad()  # no inference mode: a head may be trained on what comes out
def _in_batches(compute: Callable[[Tensor], Tensor], images: np.ndarray, normalise: Normaliser) -> Tensor:
    # A rank without images takes one batch of none, for its width.
    starts = range(0, max(len(images), 1), FEATURE_BATCH)
    batches = (normalise(normalise.to_float(np.array(images[start : start + FEATURE_BATCH]))) for start in starts)
    return torch.cat([compute(batch).float() for batch in batches])
