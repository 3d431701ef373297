"""t-SNE of the test features of selected trials, side by side (Cavallari & Ponti 2021, Figures 5 to 9).

    uv run python -m analysis.tsne RESULTS_DIR... [--stages A,B] [--seed S] [--images N]

A dot is a test image, coloured by its class: the same images in every panel, drawn at random with a fixed seed.
t-SNE (van der Maaten & Hinton 2008) begins at the principal components, so that the same features give the same figure.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from analysis import figures
from analysis.command import Arguments, execute, out_folder, parser, say_written
from analysis.stages import Searched, read_selected, titles, without_common
from raysl.errors import UserError
from raysl.results.features import Features

Indices = NDArray[np.int64]
SEED = 0
PERPLEXITY = 30.0
MOST_PANELS = 2
FEWEST = 4  # images


def subsample(num_images: int, wanted: int) -> Indices:
    """Return the places of images that are drawn at random, in order: all where there are no more than wanted."""
    drawn = np.random.default_rng(SEED).permutation(num_images)[:wanted]
    return np.sort(drawn)


def embed(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the t-SNE embedding of features [N, D], as [N, 2]."""
    tsne = TSNE(perplexity=perplexity(len(features)), init="pca", random_state=SEED)
    found: NDArray[np.float32] = tsne.fit_transform(features)
    return found


def perplexity(num_images: int) -> float:
    """Return the perplexity: t-SNE's usual one, or less where there are few images."""
    return min(PERPLEXITY, (num_images - 1) / 3)


@figures.styled
def draw(names: Sequence[str], shown: Sequence[Features], places: Indices, note: str) -> Figure:
    """Draw a panel for each of the features, with the test images in some places, and the classes' legend below."""
    classes = shown[0].class_names
    rows_below = -(-len(classes) // figures.legend_columns(classes))
    height = (1.95 if len(shown) > 1 else 3.4) + 0.14 * rows_below + figures.title_height(names)
    figure, axes = figures.panels(len(shown), note, height=height)
    for panel, name, features in zip(axes, names, shown, strict=True):
        points, labels = embed(features.features[places]), features.labels[places]
        for place in range(len(classes)):
            own, mark = points[labels == place], figures.marker(place)
            panel.scatter(own[:, 0], own[:, 1], s=3, c=figures.colour(place), marker=mark, linewidths=0, alpha=0.8)
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_aspect("equal", adjustable="datalim")
        panel.spines[["top", "right"]].set_visible(True)
        figures.set_title(panel, name)
    handles = [_handle(place) for place in range(len(classes))]
    figures.legend_below(axes[0], handles, classes, handlelength=1.0)
    return figure


def _handle(place: int) -> Line2D:
    return Line2D([], [], color=figures.colour(place), marker=figures.marker(place), linestyle="", markersize=4)


def _shared_seed(stages: Sequence[Searched]) -> int:
    shared = set.intersection(*({trial["seed"] for trial in stage.selected} for stage in stages))
    if not shared:
        raise UserError("--stages: their trials have no seed in common; give one stage alone")
    return int(min(shared))


def _whole(stages: Sequence[Searched], seed: int) -> list[Features]:
    """Return what the selected trial of each stage makes of the test images, which must be the same ones."""
    whole = [stage.features(stage.seed(seed)[0]) for stage in stages]
    first = whole[0]
    if any(one.class_names != first.class_names or not np.array_equal(one.labels, first.labels) for one in whole):
        raise UserError(f"--stages: {' and '.join(stage.name for stage in stages)} are of other test images")
    return whole


def _note(num_shown: int, num_images: int, seed: int, common: str) -> str:
    drawn = f"all {num_images}" if num_shown == num_images else f"{num_shown} of {num_images}"
    images = f"{drawn} test images{' drawn at random' if num_shown < num_images else ''}"
    note = f"t-SNE with perplexity {perplexity(num_shown):g} of the features of {images}; trials of seed {seed}"
    return f"{note}; {common}" if common else note


def main(arguments: Arguments) -> None:
    """Draw the figure."""
    options = parser("tsne", __doc__ or "")
    options.add_argument("--stages", metavar="A,B", help="one or two stages: STAGE, EXPERIMENT/STAGE or a stage's id")
    options.add_argument("--seed", type=int, metavar="S", help="of the trials; the first if not given")
    options.add_argument(
        "--images", type=int, default=2000, metavar="N", help="how many test images; 2000 if not given"
    )
    given = options.parse_args(arguments)
    if given.images < FEWEST:
        raise UserError(f"--images {given.images}: t-SNE takes {FEWEST} images or more")
    stages = read_selected(given.results, given.stages)
    if len(stages) > MOST_PANELS:
        raise UserError(
            f"--stages is missing: {len(stages)} stages are selected, and {MOST_PANELS} go side by side; choose from "
            + ", ".join(stage.name for stage in stages)
        )
    seed = _shared_seed(stages) if given.seed is None else given.seed
    whole = _whole(stages, seed)
    num_images = len(whole[0].labels)
    places = subsample(num_images, given.images)
    folder = out_folder(given.results, given.out)
    common, names = without_common(titles(stages))
    figure = draw(names, whole, places, _note(len(places), num_images, seed, common))
    say_written(figures.save(figure, folder, "tsne"))


if __name__ == "__main__":
    execute(main)
