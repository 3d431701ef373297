"""Computes features and logits of images with a trained network, batch by batch, in eval mode and fp32."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from raysl.methods._method import Method
from raysl.models.encoder import Encoder
from raysl.training.input_pipeline import Normaliser

FEATURE_BATCH = 256  # images at once; in eval mode the number changes no result


def extract_features(encoder: Encoder, images: np.ndarray, normalise: Normaliser) -> np.ndarray:
    """Return the encoder's features, float32 [N, D], of uint8 images [N, H, W, C]."""
    encoder.eval()
    return _in_batches(encoder, images, normalise).cpu().numpy()


def pooled_features(encoder: Encoder, images: np.ndarray, normalise: Normaliser) -> Tensor:
    """Return the backbone's pooled features of uint8 images [N, H, W, C]: float32 [N, width], on the device."""
    encoder.backbone.eval()
    return _in_batches(encoder.backbone, images, normalise)


def logits(method: Method, images: np.ndarray, normalise: Normaliser) -> np.ndarray:
    """Return the logits, float32 [N, K], that a method's own classifier gives uint8 images [N, H, W, C]."""
    method.eval()
    return _in_batches(method.classify, images, normalise).cpu().numpy()


@torch.no_grad()  # not inference mode: a head may be trained on the result
def _in_batches(compute: Callable[[Tensor], Tensor], images: np.ndarray, normalise: Normaliser) -> Tensor:
    # A rank without images computes one empty batch, for the width of the result.
    starts = range(0, max(len(images), 1), FEATURE_BATCH)
    batches = (normalise(normalise.to_float(np.array(images[start : start + FEATURE_BATCH]))) for start in starts)
    return torch.cat([compute(batch).float() for batch in batches])
