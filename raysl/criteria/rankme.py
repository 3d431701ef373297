"""RankMe: the effective rank of features (Garrido et al. 2023, arXiv:2210.02885, equation 1); torch-free.

With the singular values s_k of the features Z [N, D], p_k = s_k / sum s + 1e-7 and RankMe(Z) = exp(-sum p_k log p_k).
The paper takes 25,600 images and the projector's embeddings, and shows that the encoder's representations serve too;
a trial keeps its encoder alone, so these are taken here.  The features are not centred.
"""

from raysl.criteria.features import Features, checked, entropy_rank, singular_values

EPSILON = 1e-7  # the paper's, for features in single precision


def rankme(features: Features) -> float:
    """Return the effective rank of features [N, D], from 1 to min(N, D); of constant features 1, of zeros 0.

    Raises ValueError if there are fewer than 2 images, or a feature is not finite.
    """
    return entropy_rank(singular_values(checked(features)), EPSILON)
