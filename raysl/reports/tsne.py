"""t-SNE of the test features of selected trials, side by side (Cavallari & Ponti 2021, Figures 5 to 9).

    uv run python -m analysis.tsne RESULTS_DIR... [--stages|--cells A,B] [--seed S] [--images N]

A dot is a test image, coloured by its class: the same images in every panel, drawn at random with a fixed seed.
t-SNE (van der Maaten & Hinton 2008) begins at the principal components, so that the same features give the same figure.
"""

from sklearn.manifold import TSNE

from raysl.reports import projections
from raysl.reports.command import Arguments
from raysl.reports.projections import SEED, Points, Projection

PERPLEXITY = 30.0


def embed(features: Points) -> Points:
    """Return the t-SNE embedding of features [N, D], as [N, 2]."""
    tsne = TSNE(perplexity=perplexity(len(features)), init="pca", random_state=SEED)
    found: Points = tsne.fit_transform(features)
    return found


def perplexity(num_images: int) -> float:
    """Return the perplexity: t-SNE's usual one, or less where there are few images."""
    return min(PERPLEXITY, (num_images - 1) / 3)


PROJECTION = Projection(
    name="tsne",
    words="t-SNE",
    most=2,
    embed=embed,
    setting=lambda num_images: f"perplexity {perplexity(num_images):g}",
)


def main(arguments: Arguments) -> None:
    """Draw the figure."""
    projections.main(PROJECTION, __doc__ or "", arguments)
