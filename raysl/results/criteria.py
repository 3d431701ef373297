"""The label-free criteria of trained features: one place that names their rules, their columns and their words.

A criterion is measured on features of unlabelled training images, without labels and without the test set.  Its name
is that of its rule and of its column.
"""

from dataclasses import dataclass
from typing import Literal

CriterionName = Literal["rankme", "lidar", "alpha_req", "alignment", "uniformity", "ami"]  # of each of CRITERIA


@dataclass(frozen=True)
class Criterion:
    """One criterion.

    words: its name in a sentence.  highest: whether a higher value is better.  meaning: what its value is.
    """

    name: CriterionName
    words: str
    highest: bool
    meaning: str


CRITERIA = (
    Criterion("rankme", "RankMe", True, "RankMe: effective rank of the features"),
    Criterion("lidar", "LiDAR", True, "LiDAR: effective rank of the features' differences between images"),
    Criterion("alpha_req", "|alpha-ReQ - 1|", False, "alpha-ReQ: |alpha - 1| for eigenvalues that decay as i^-alpha"),
    Criterion("alignment", "alignment", False, "alignment: mean squared distance of two views of an image"),
    Criterion("uniformity", "uniformity", False, "uniformity: log of the mean Gaussian potential of two images"),
    Criterion("ami", "k-means AMI", True, "adjusted mutual information of two k-means clusterings"),
)
CRITERION_NAMES = tuple(criterion.name for criterion in CRITERIA)
