"""Alignment and uniformity (Wang & Isola 2020, arXiv:2005.10242, section 4.1); torch-free.

Features are divided by their L2 norms first.  Alignment is E |f(x) - f(y)|^2 over pairs of views x, y of an image, the
paper's with alpha = 2.  Uniformity is log E exp(-2 |f(x) - f(y)|^2) over pairs of different images, its with t = 2.
Lower is better for both.  Features that are all the same have the best alignment, 0, and the worst uniformity, 0: only
the two together tell that features are good.
"""

import numpy as np

from raysl.criteria.features import Features, checked, unit_length


def alignment(views: Features) -> float:
    """Return the mean squared distance, from 0 to 4, of the first two views of each image.

    views: [Q, N, D], at least two.
    Raises ValueError if there are fewer than 2 views or images, or a feature is not finite.
    """
    found = checked(views, axes=3)
    if len(found) < 2:
        raise ValueError("features of 1 view; alignment needs 2 views of each image")
    one, other = unit_length(found[0]), unit_length(found[1])
    return float(np.mean(np.sum((one - other) ** 2, axis=1)))


def uniformity(features: Features) -> float:
    """Return the log of the mean of exp(-2 d^2), from -8 to 0, over distances d of different images; features: [N, D].

    Raises ValueError if there are fewer than 2 images, or a feature is not finite.
    """
    found = unit_length(checked(features))
    squares = np.sum(found**2, axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * found @ found.T, 0.0)
    return float(np.log(np.mean(np.exp(-2 * distances[np.triu_indices(len(found), 1)]))))
