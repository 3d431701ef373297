"""UMAP of the test features of selected trials, side by side (Bdair et al. 2022, Figure 3).

    uv run python -m analysis.umap RESULTS_DIR... [--stages|--cells A,B] [--seed S] [--images N]

A dot is a test image, coloured by its class: the same images in every panel, drawn at random with a fixed seed. Stages
whose features are those of another, as of one that only probes it, are shown once.
UMAP (McInnes, Healy & Melville 2018, arXiv:1802.03426) is umap-learn's with its usual settings, but for its beginning:
at the principal components, in one thread and with a fixed seed, so that the same features give the same figure.
umap-learn is an extra: `uv sync --extra umap`.
"""

from importlib.util import find_spec

from raysl.errors import UserError
from raysl.reports import projections
from raysl.reports.command import Arguments
from raysl.reports.projections import SEED, Points, Projection

NEIGHBOURS = 15
MIN_DIST = 0.1


def require() -> None:
    """Raise UserError where umap-learn is not installed."""
    if find_spec("umap") is None:
        raise UserError("umap-learn is not installed; `uv sync --extra umap` or `pip install umap-learn` installs it")


def embed(features: Points) -> Points:
    """Return the UMAP embedding of features [N, D], as [N, 2]."""
    from umap import UMAP  # it takes its time

    num_neighbours = neighbours(len(features))
    umap = UMAP(n_neighbors=num_neighbours, min_dist=MIN_DIST, init="pca", random_state=SEED, n_jobs=1)
    found: Points = umap.fit_transform(features)
    return found


def neighbours(num_images: int) -> int:
    """Return how many neighbours count: UMAP's usual number, or all where there are few images."""
    return min(NEIGHBOURS, num_images - 1)


PROJECTION = Projection(
    name="umap",
    words="UMAP",
    most=10,
    embed=embed,
    setting=lambda num_images: f"{neighbours(num_images)} neighbours and a least distance of {MIN_DIST:g}",
    require=require,
)


def main(arguments: Arguments) -> None:
    """Draw the figure."""
    projections.main(PROJECTION, __doc__ or "", arguments)
