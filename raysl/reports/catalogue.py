"""The figures that can be made of results folders, by name: what each shows, what it needs, how it is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from raysl.errors import ResultsError, UserError
from raysl.reports import (
    audit,
    axes,
    confusion,
    contour,
    curves,
    explained,
    grid,
    history,
    importance,
    loss_curves,
    loss_vs_lr,
    masks,
    pairs,
    parallel,
    pareto,
    regrets,
    slices,
    terms,
    times,
    tsne,
    umap,
    variance,
)
from raysl.reports.crossed import grid as crossed
from raysl.reports.projections import NUM_IMAGES, draw_stages
from raysl.reports.searched import measure_of, rule_of, searched_keys
from raysl.reports.stages import Searched, titles, without_common

Names = Sequence[str]
Stages = Sequence[Searched]


@dataclass(frozen=True)
class FigureType:
    """A figure with a panel, or several, for each stage.

    words: what it shows.  note: what is to be known of it.
    obstacle: why a stage has nothing to show; empty where it has.  draw: titles and stages -> the figure.
    """

    name: str
    words: str
    note: str
    obstacle: Callable[[Searched], str]
    draw: Callable[[Names, Stages], Figure]


def draw(kind: FigureType, stages: Stages, tell: Callable[[str], None]) -> Figure:
    """Return a figure of those stages that have something to show.

    tell: is told of stages that are left out, and why.
    Raises ResultsError with the reasons where none has.
    """
    reasons = [kind.obstacle(stage) for stage in stages]
    shown = [stage for stage, reason in zip(stages, reasons, strict=True) if not reason]
    left_out = [f"{stage.name}: {reason}" for stage, reason in zip(stages, reasons, strict=True) if reason]
    if not shown:
        raise ResultsError(f"--figure {kind.name}: {'; '.join(dict.fromkeys(left_out))}")
    for words in left_out:
        tell(f"left out: {words}")
    _, names = without_common(titles(shown))
    return kind.draw(names if len(shown) > 1 else [""], shown)


def _unselected(stage: Searched) -> str:
    return "" if rule_of(stage) and stage.selected else "nothing is selected"


def _draw_slices(names: Names, stages: Stages) -> Figure:
    return slices.draw(
        [
            (name, stage, key, measure_of(stage, None))
            for name, stage in zip(names, stages, strict=True)
            for key in searched_keys(stage)
        ],
        "",
    )


def _no_grid(stage: Searched) -> str:
    if reason := _unselected(stage):
        return reason
    try:
        found = crossed(stage, None, None)
    except UserError as error:
        return str(error)
    return "" if found.cells(measure_of(stage, None)) else "no config is eligible"


def _draw_grid(names: Names, stages: Stages) -> Figure:
    grids = [(name, crossed(stage, None, None)) for name, stage in zip(names, stages, strict=True)]
    return grid.draw([(name, one, column) for name, one in grids for column in one.columns(None)], "")


def _no_curves(stage: Searched) -> str:
    return _unselected(stage) or ("" if any(trial["epochs"] for trial in stage.selected) else "nothing was trained")


def _draw_terms(names: Names, stages: Stages) -> Figure:
    return terms.draw(terms.shown(names, [terms.curves(stage) for stage in stages], ""), "", log=False)


def _no_terms(stage: Searched) -> str:
    return _no_curves(stage) or ("" if len(terms.curves(stage)) > 2 else "its loss is of one term")


def _no_rates(stage: Searched) -> str:
    return "" if loss_vs_lr.lr_column(stage) else "no learning rate was searched"


def _are_wide(stages: Stages) -> bool:
    losses = [trial["final_loss"] for stage in stages for trial in stage.trials if trial["final_loss"] is not None]
    return axes.is_wide(losses)


def _no_importance(stage: Searched) -> str:
    return _unselected(stage) or explained.obstacle(stage, measure_of(stage, None)) or ""


def _no_umap(stage: Searched) -> str:
    try:
        umap.require()
    except UserError as error:
        return str(error)
    return confusion.obstacle(stage)


def _draw_audit(names: Names, stages: Stages) -> Figure:
    rows = [name or stage.name for name, stage in zip(names, stages, strict=True)]
    return audit.draw(rows, [regrets.regret(stage) for stage in stages], "")


def _draw_importance(names: Names, stages: Stages) -> Figure:
    return importance.draw(names, [explained.importance(stage, measure_of(stage, None)) for stage in stages], "")


_TYPES = (
    FigureType(
        "curves", "training loss of all configs, by epoch", curves.NOTE, curves.obstacle,
        partial(curves.draw, note=""),
    ),
    FigureType(
        "slices", "the objective over each searched value", slices.NOTE,
        lambda stage: _unselected(stage) or slices.obstacle(stage, measure_of(stage, None)) or "", _draw_slices,
    ),
    FigureType("grid", "accuracy over two searched values, a line for each of one", grid.NOTE, _no_grid, _draw_grid),
    FigureType(
        "loss_vs_lr", "final training loss over the learning rate", loss_vs_lr.NOTE, _no_rates,
        lambda names, stages: loss_vs_lr.draw(names, stages, "", log=_are_wide(stages)),
    ),
    FigureType(
        "history", "the objective in the order of the search", history.NOTE, history.obstacle,
        partial(history.draw, note=""),
    ),
    FigureType(
        "parallel", "parallel coordinates of the configs", parallel.NOTE, parallel.obstacle,
        partial(parallel.draw, note=""),
    ),
    FigureType(
        "importance", "what each searched value explains (fANOVA, PED-ANOVA)", importance.ASSUMPTIONS, _no_importance,
        _draw_importance,
    ),
    FigureType(
        "contour", "the objective over two searched values", contour.NOTE, contour.obstacle,
        partial(contour.draw, note=""),
    ),
    FigureType(
        "pareto", "two objectives against each other", pareto.NOTE, pareto.obstacle,
        partial(pareto.draw, note=""),
    ),
    FigureType(
        "seeds", "the best configs against the selected, by seed", f"{pairs.NOTE}. {pairs.CAUTION}", pairs.obstacle,
        partial(pairs.draw, note=""),
    ),
    FigureType(
        "variance", "what each random stream explains of the spread", variance.NOTE, variance.obstacle,
        partial(variance.draw, note=""),
    ),
    FigureType(
        "times", "training time of the trials", times.NOTE, times.obstacle,
        partial(times.draw, note=""),
    ),
    FigureType(
        "loss_curves", "loss and terms of the selected config, by epoch", loss_curves.TERMS_NOTE, _no_curves,
        lambda names, stages: loss_curves.draw(names, [loss_curves.curves(stage) for stage in stages], "", log=False),
    ),
    FigureType("loss_terms", "each unweighted term of the loss", loss_curves.UNWEIGHTED_NOTE, _no_terms, _draw_terms),
    FigureType(
        "audit", "what the selection rule gave up on the test set", f"{audit.NOTE} {regrets.UPPER_BOUND}",
        lambda stage: regrets.obstacle(stage) or "",
        _draw_audit,
    ),
    FigureType(
        "confusion", "what the test images of each class are taken for", confusion.NOTE, confusion.obstacle,
        partial(confusion.draw, note=""),
    ),
    FigureType(
        "masks", "test images with their masks and what is predicted", masks.NOTE, masks.obstacle,
        partial(masks.draw, note=masks.NOTE),
    ),
    FigureType(
        "tsne", "test features in two dimensions",
        f"t-SNE of the features of the first seed; up to {NUM_IMAGES} test images, drawn at random",
        confusion.obstacle, lambda names, stages: draw_stages(tsne.PROJECTION, names, stages),
    ),
    FigureType(
        "umap", "test features in two dimensions, by UMAP",
        f"UMAP of the features of the first seed; up to {NUM_IMAGES} test images, drawn at random", _no_umap,
        lambda names, stages: draw_stages(umap.PROJECTION, names, stages),
    ),
)  # fmt: skip
FIGURES = {kind.name: kind for kind in _TYPES}
