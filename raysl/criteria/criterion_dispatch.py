"""The choice of a criterion by its name: the one place where criteria are applied to features."""

from raysl.criteria.alignment import alignment, uniformity
from raysl.criteria.alpha_req import alpha_req
from raysl.criteria.ami import ami
from raysl.criteria.features import Features
from raysl.criteria.lidar import lidar
from raysl.criteria.rankme import rankme
from raysl.results.criteria import CriterionName

OF_VIEWS: tuple[CriterionName, ...] = ("lidar", "alignment")  # those of several views of each image


def value(name: CriterionName, features: Features, num_clusters: int) -> float | None:
    """Return a criterion's value; None if the features have none.

    features: [N, D], or [Q, N, D] of Q views for a criterion of OF_VIEWS.  num_clusters: of the criterion `ami`.
    Raises ValueError if there are fewer than 2 images, or a feature is not finite.
    """
    match name:
        case "rankme":
            return rankme(features)
        case "lidar":
            return lidar(features)
        case "alpha_req":
            return alpha_req(features)
        case "alignment":
            return alignment(features)
        case "uniformity":
            return uniformity(features)
        case "ami":
            return ami(features, num_clusters)
