"""The settings of probes."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt
from pydantic import AfterValidator

from raysl.settings import Settings

FeatureProbe = Literal["linear_svm", "knn", "clustering"]  # by name, those that need nothing but features


def _without_default(scale: str | None) -> str | None:
    return None if scale == "standard" else scale


class LinearSVM(Settings):
    """A linear SVM on features.

    C: inverse strength of the L2 regularisation.
    folds: of the cross-validation on D_l.
    scale: `standard`, the default, subtracts each unit's mean and divides by its deviation, over the images that it is
        fitted on; `none` takes the features as they are.  `standard` is stored as None, which keeps the ids of earlier
        trials.
    """

    C: Annotated[float, Gt(0.0)] = 1.0
    folds: Annotated[int, Ge(2)] = 5
    scale: Annotated[Literal["standard", "none"] | None, AfterValidator(_without_default)] = None


class KNN(Settings):
    """Weighted k nearest neighbours by cosine similarity.

    k [images]: neighbours that vote; all images if there are fewer.
    temperature: of the neighbours' weights, exp(similarity / temperature).
    folds: of the cross-validation on D_l.
    """

    k: Annotated[int, Ge(1)] = 200
    temperature: Annotated[float, Gt(0.0)] = 0.1
    folds: Annotated[int, Ge(2)] = 5


class Clustering(Settings):
    """k-means on L2-normalised features.

    restarts: runs of k-means from different centres, of which the best is taken.
    """

    restarts: Annotated[int, Ge(1)] = 10


ProbeSettings = LinearSVM | KNN | Clustering


class ProbesSettings(Settings):
    """The probes of an experiment, by name; one that is not given has its defaults.

    linear_svm: the settings of stages with `probe: linear_svm`.
    knn: the settings of stages with `probe: knn`.
    clustering: the settings of stages with `probe: clustering`.
    """

    linear_svm: LinearSVM = LinearSVM()
    knn: KNN | None = None
    clustering: Clustering | None = None

    def only(self, name: FeatureProbe) -> "ProbesSettings":
        """Return the settings that decide the numbers of a trial with one probe.

        The linear SVM's settings are always included, those of other probes only if they are used: this keeps the ids
        of trials from before there were others.
        """
        match name:
            case "linear_svm":
                return ProbesSettings(linear_svm=self.linear_svm)
            case "knn":
                return ProbesSettings(knn=self.knn or KNN())
            case "clustering":
                return ProbesSettings(clustering=self.clustering or Clustering())

    @property
    def used(self) -> ProbeSettings:
        """The settings of the probe of `only`."""
        return self.knn or self.clustering or self.linear_svm
