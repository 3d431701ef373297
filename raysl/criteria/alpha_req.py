"""alpha-ReQ: how fast the eigenvalues of the features' covariance decay (Agrawal et al. 2022, NeurIPS); torch-free.

Eigenvalues l_1 >= l_2 >= ... are fitted by l_i ~ i^-alpha: a line through log l_i over log i with weights 1 / i, as in
the authors' code (github.com/kumarkrishna/fastssl, which has it from Stringer et al. 2019).  The paper finds the best
generalisation near alpha = 1; features with a smaller alpha are noisy, and with a larger one too few directions count.
What is compared is therefore |alpha - 1|, and lower is better.
The fit is over i = 4 ... 100, as in the authors' `scripts/train_model.py`: `trange=np.arange(3, 100)`, counted from 0.
Features narrower than 30 have few eigenvalues after the 4th: the fit begins after the first tenth of them.  Of those
narrower than 100, it ends with the last.
"""

import numpy as np

from raysl.criteria.features import ROUNDING, Doubles, Features, checked, singular_values

FIRST, LAST = 4, 100  # eigenvalues that are fitted, counted from 1
SKIPPED = 10  # of this many eigenvalues, one is left out at the beginning


def alpha_req(features: Features) -> float | None:
    """Return |alpha - 1| of features [N, D]; None if fewer than 2 of the fitted eigenvalues are above rounding errors.

    Raises ValueError if there are fewer than 2 images, or a feature is not finite.
    """
    alpha = decay(spectrum(features))
    return None if alpha is None else abs(alpha - 1)


def spectrum(features: Features) -> Doubles:
    """Return the eigenvalues of the covariance of features [N, D], falling: min(N - 1, D) of them.

    Those of rounding errors are left out.
    """
    found = checked(features)
    centred = found - found.mean(axis=0)
    singular = singular_values(centred)[: len(found) - 1]
    # Deviations of constant features are rounding errors of the features themselves.
    known = singular > ROUNDING * max(np.linalg.norm(found), np.finfo(np.float64).tiny)
    return np.where(known, singular, 0.0) ** 2 / len(found)


def decay(eigenvalues: Doubles) -> float | None:
    """Return alpha of falling eigenvalues; None if fewer than 2 of those that are fitted are above 0."""
    first = min(FIRST, 1 + len(eigenvalues) // SKIPPED)
    values = eigenvalues[first - 1 : LAST]
    values = values[values > 0]
    if len(values) < 2:
        return None
    places = np.arange(first, first + len(values), dtype=np.float64)
    weights = 1 / places
    x, y = np.log(places), np.log(values)
    x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
    return -float(np.sum(weights * x * y) / np.sum(weights * x * x))
