"""Checked features in double precision, as all criteria take them; torch-free."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

# Of features in single precision: what is below this share of their size is rounding error.
ROUNDING = float(np.finfo(np.float32).eps)


def checked(features: Features, axes: int = 2) -> Doubles:
    """Return features as float64: [N, D], or [Q, N, D] of Q views if there are 3 axes.

    Raises ValueError if the number of axes is another, there are fewer than 2 images, or a value is not finite.
    """
    if features.ndim != axes:
        raise ValueError(f"features have the shape {list(features.shape)}; {axes} axes are needed")
    if features.shape[-2] < 2 or features.shape[-1] < 1:
        raise ValueError(f"features of {features.shape[-2]} images and width {features.shape[-1]}; 2 images are needed")
    if not np.isfinite(features).all():
        raise ValueError("features hold a value that is not finite")
    return features.astype(np.float64)


def unit_length(features: Doubles) -> Doubles:
    """Return features [..., D] divided by their L2 norms; zeros stay zeros."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(norms > 0, norms, 1.0)


def singular_values(features: Doubles) -> Doubles:
    """Return the singular values of features [N, D], falling: min(N, D) of them."""
    found: Doubles = np.linalg.svd(features, compute_uv=False).astype(np.float64)
    return found


def entropy_rank(values: Doubles, epsilon: float) -> float:
    """Return exp(-sum p_k log p_k) with p_k = v_k / sum v + epsilon, of values v >= 0; 0 if all values are 0.

    This is the effective rank of Roy & Vetterli 2007 if epsilon is 0: the number of equal values with this entropy.
    """
    total = values.sum()
    if total <= 0:
        return 0.0
    shares = values / total + epsilon
    return float(np.exp(-np.sum(shares * np.log(shares))))
