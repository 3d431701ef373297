"""LiDAR: the effective rank of what tells images apart (Thilak et al. 2024, arXiv:2312.04000, eq. 1-4); torch-free.

Each image is a class of its own, whose members are the features of its views.  With the covariance S_b of the images'
means, the covariance S_w of views around their image's mean, and S = (S_w + d I)^-1/2 S_b (S_w + d I)^-1/2, LiDAR is
exp(-sum p_k log p_k), where p_k = l_k / sum l + 1e-7 for the eigenvalues l_k of S.  Covariances are means, over N and
over N Q: other divisors would scale all l_k alike, but for d.
The paper gives neither d nor the constant in p_k a value, and no code of its authors was found.  d = 1e-4 and the
divisors are those of Skean et al. 2025 (github.com/OFSkean/information_flow, `metric_functions.py`); the constant is
RankMe's.  d is absolute, so that features far smaller than 0.01 are all within-class noise.
"""

import numpy as np

from raysl.criteria.features import Features, checked, entropy_rank

EPSILON = 1e-7
DELTA = 1e-4


def lidar(views: Features) -> float:
    """Return the effective rank, from 1 to min(N - 1, D), of the views' features [Q, N, D]; 0 if images do not differ.

    views: of each image, at least 2, in the same order of images.
    Raises ValueError if there are fewer than 2 views or images, or a feature is not finite.
    """
    from scipy.linalg import eigh

    found = checked(views, axes=3)
    if len(found) < 2:
        raise ValueError("features of 1 view; LiDAR needs at least 2 views of each image")
    means = found.mean(axis=0)
    between, within = _covariance(means - means.mean(axis=0)), _covariance((found - means).reshape(-1, means.shape[1]))
    # The eigenvalues of S are those of the generalised problem S_b v = l (S_w + d I) v.
    values = eigh(between, within + DELTA * np.eye(len(within)), eigvals_only=True)
    return entropy_rank(np.maximum(values, 0.0), EPSILON)


def _covariance(deviations: Features) -> Features:
    return deviations.T @ deviations / len(deviations)
