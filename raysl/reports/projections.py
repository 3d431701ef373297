"""Test features of selected trials in two dimensions, side by side: what the figures of t-SNE and of UMAP share.

A dot is a test image, coloured by its class: the same images in every panel, drawn at random with a fixed seed.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from raysl.errors import UserError
from raysl.reports import figures
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.stages import Searched, titles, without_common
from raysl.results.records.features import Features

Indices = NDArray[np.int64]
Points = NDArray[np.float32]  # [N, D], or [N, 2] of a figure
Shown = tuple[Searched, Features]
SEED = 0
FEWEST = 4  # images
NUM_IMAGES = 300  # of figures that are not told how many


@dataclass(frozen=True)
class Projection:
    """A way to show features in two dimensions.

    name: of its module and files.  words: in sentences.  most: panels.
    embed: features [N, D] -> points [N, 2], the same for the same features.
    setting: number of images -> what it is computed with.  require: raises UserError where a library is missing.
    """

    name: str
    words: str
    most: int
    embed: Callable[[Points], Points]
    setting: Callable[[int], str]
    require: Callable[[], None] = lambda: None


def subsample(num_images: int, wanted: int) -> Indices:
    """Return the places of images that are drawn at random, in order: all where there are no more than wanted."""
    drawn = np.random.default_rng(SEED).permutation(num_images)[:wanted]
    return np.sort(drawn)


@figures.styled
def draw(projection: Projection, names: Sequence[str], shown: Sequence[Features], places: Indices, note: str) -> Figure:
    """Draw a panel for each of the features, with the test images in some places, and the classes' legend below."""
    classes = shown[0].class_names
    rows_below = -(-len(classes) // figures.legend_columns(classes))
    height = (1.95 if len(shown) > 1 else 3.4) + 0.14 * rows_below + figures.title_height(names)
    figure, axes = figures.panels(len(shown), note, height=height)
    for panel, name, features in zip(axes, names, shown, strict=True):
        points, labels = projection.embed(features.features[places]), features.labels[places]
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


def draw_stages(projection: Projection, names: Sequence[str], stages: Sequence[Searched]) -> Figure:
    """Draw a panel for each stage, of the test features of the first seed of its selected config.

    Raises UserError where they are too many or of other test images, ResultsError where features are missing.
    """
    found = [(stage, stage.features(stage.selected[0])) for stage in stages]
    _check(projection, found)
    projection.require()
    places = subsample(len(found[0][1].labels), NUM_IMAGES)
    return draw(projection, names, [features for _, features in found], places, "")


def note(projection: Projection, num_shown: int, num_images: int, seed: int, common: str) -> str:
    """Return what stands below the panels; common: what their titles share."""
    drawn = f"all {num_images}" if num_shown == num_images else f"{num_shown} of {num_images}"
    images = f"{drawn} test images{' drawn at random' if num_shown < num_images else ''}"
    how = f"{projection.words} with {projection.setting(num_shown)}"
    return "; ".join(filter(None, [f"{how} of the features of {images}", f"trials of seed {seed}", common]))


def main(projection: Projection, description: str, arguments: Arguments) -> None:
    """Draw the figure.

    description: of the report; its first line is the help.
    """
    given = _options(projection, description, arguments)
    stages = chosen(given)
    seed = _shared_seed(stages) if given.seed is None else given.seed
    found = [(stage, stage.features(stage.seed(seed)[0])) for stage in stages]
    if given.stages is None and given.cells is None:
        found = _without_repeats(found)
    _check(projection, found)
    projection.require()
    num_images = len(found[0][1].labels)
    places = subsample(num_images, given.images)
    folder = out_folder(given.results, given.out)
    common, names = without_common(titles([stage for stage, _ in found]))
    below = note(projection, len(places), num_images, seed, common)
    figure = draw(projection, names, [features for _, features in found], places, below)
    say_written(figures.save(figure, folder, projection.name))


def _options(projection: Projection, description: str, arguments: Arguments) -> Namespace:
    options = parser(projection.name, description)
    add_choice(options, f"up to {projection.most} stages")
    options.add_argument("--seed", type=int, metavar="S", help="of the trials; the first if not given")
    options.add_argument(
        "--images", type=int, default=2000, metavar="N", help="how many test images; 2000 if not given"
    )
    given = options.parse_args(arguments)
    if given.images < FEWEST:
        raise UserError(f"--images {given.images}: {projection.words} takes {FEWEST} images or more")
    return given


def _handle(place: int) -> Line2D:
    return Line2D([], [], color=figures.colour(place), marker=figures.marker(place), linestyle="", markersize=4)


def _shared_seed(stages: Sequence[Searched]) -> int:
    shared = set.intersection(*({trial["seed"] for trial in stage.selected} for stage in stages))
    if not shared:
        raise UserError("--stages: their trials have no seed in common; give one stage alone")
    return int(min(shared))


def _without_repeats(found: Sequence[Shown]) -> list[Shown]:
    """Leave out stages that changed nothing of the features, as those that only probe them."""
    kept: list[Shown] = []
    for stage, features in found:
        same = next((one for one, known in kept if np.array_equal(known.features, features.features)), None)
        if same is None:
            kept.append((stage, features))
        else:
            say(f"left out: {stage.name}: its features are those of {same.name}")
    return kept


def _check(projection: Projection, found: Sequence[Shown]) -> None:
    """Raise UserError where there are too many stages, or they are not of the same test images."""
    names = [stage.name for stage, _ in found]
    if len(found) > projection.most:
        raise UserError(
            f"--stages or --cells: {len(found)} stages are selected, and {projection.most} go side by side; "
            f"choose from {', '.join(names)}"
        )
    first = found[0][1]
    if any(one.class_names != first.class_names or not np.array_equal(one.labels, first.labels) for _, one in found):
        raise UserError(f"--stages: {' and '.join(names)} are of other test images")
