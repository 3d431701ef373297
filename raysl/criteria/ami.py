"""How much two k-means clusterings of the same features agree, by adjusted mutual information (AMI); torch-free.

Clusters that features have do not depend on the centres that k-means begins with (von Luxburg 2010, arXiv:1007.1075).
AMI (Vinh, Epps & Bailey 2010, JMLR 11, with the arithmetic mean of both entropies) is 1 for the same clusters and 0 on
average for random ones.  V-PET (Zhang et al. 2025, arXiv:2503.09707) has AMI among its criteria without labels.
"""

import warnings

import numpy as np

from raysl.criteria.features import ROUNDING, Doubles, Features, checked, unit_length

SEEDS = 0, 1  # of the two clusterings


def ami(features: Features, num_clusters: int) -> float | None:
    """Return the AMI, at most 1, of two clusterings of features [N, D] divided by their L2 norms.

    None if the images have fewer distinct features than `num_clusters`: any clusterings of them agree.
    Raises ValueError if there are fewer than 2 clusters or images, or a feature is not finite.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    if num_clusters < 2:
        raise ValueError(f"{num_clusters} clusters; their agreement needs at least 2")
    found = unit_length(checked(features))
    if len(np.unique(np.round(found / (10 * ROUNDING)), axis=0)) < num_clusters:
        return None
    one, other = (_clusters(found, num_clusters, seed) for seed in SEEDS)
    return float(adjusted_mutual_info_score(one, other))


def _clusters(features: Doubles, num_clusters: int, seed: int) -> Doubles:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(KMeans(num_clusters, n_init=1, random_state=seed).fit_predict(features))
