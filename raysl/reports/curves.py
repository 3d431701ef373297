"""Training loss of all configs of a stage, epoch by epoch: means over the seeds, and their standard deviation."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from raysl.reports import axes, figures
from raysl.reports.searched import own_trials, ranking
from raysl.reports.stages import Row, Searched, short_text
from raysl.reports.terms import TOTAL, Curve, low_edge

NOTE = (
    "Lines: means over the seeds; bands: standard deviation (n - 1), and the lowest seed where they would reach 0. "
    "Losses above 10 times the highest of the eligible configs in colour are cut off"
)
MOST = 10.0  # times the greatest loss of eligible configs with a colour: one that diverges would press all others flat
COLOURS = tuple(figures.PALETTE[place] for place in (0, 1, 2, 4, 5, 6))  # without the grey ones
MOST_NAMED = len(COLOURS)  # configs with a colour of their own
OTHERS = "other configs"
MARGIN, PAD = 0.05, 1.2  # beyond the losses on a linear axis, and on a logarithmic one
BAND, FAINT = 0.2, 0.06  # opacity
NAME_WIDTH = 44  # characters


def by_config(stage: Searched) -> dict[str, Curve]:
    """Return the losses of configs whose trials trained, by config id: [seeds, epochs], NaN where a seed had ended."""
    table = stage.curves.filter(pc.equal(stage.curves["term"], TOTAL))
    if table.num_rows == 0:
        return {}
    num_epochs = pc.max(table["epoch"]).as_py() + 1
    places = {trial["trial_id"]: place for place, trial in enumerate(stage.trials)}
    values = np.full((len(places), num_epochs), np.nan)
    rows = np.array([places[trial_id] for trial_id in table["trial_id"].to_pylist()])
    values[rows, table["epoch"].to_numpy()] = table["value"].to_numpy()
    found = {}
    for config in stage.configs:
        own = values[[places[trial["trial_id"]] for trial in own_trials(stage, config)]]
        if not np.isnan(own).all():
            found[config["config_id"]] = own
    return found


def obstacle(stage: Searched) -> str:
    """Return why there is nothing to draw; empty where there is."""
    return "" if by_config(stage) else "nothing was trained, so there are no losses"


def named(stage: Searched) -> dict[str, str]:
    """Return the colours of the best configs, by id; all configs where they are few."""
    known = by_config(stage)
    ranked = [config["config_id"] for config in ranking(stage)]
    rest = [config["config_id"] for config in stage.configs if config["config_id"] not in ranked]
    order = [config_id for config_id in [*ranked, *rest] if config_id in known]
    best = order if len(order) <= MOST_NAMED else order[: MOST_NAMED - 1]
    in_order = [config["config_id"] for config in stage.configs if config["config_id"] in best]
    return dict(zip(in_order, COLOURS, strict=False))


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw a panel for each stage, each with a legend of its own."""
    most = max(len(named(stage)) for stage in stages) + 1
    return figures.panel_each(names, stages, note, _draw_panel, figures.PANEL_HEIGHT + figures.LEGEND_LINE * most)


def _draw_panel(panel: Axes, stage: Searched) -> None:
    found, colours = by_config(stage), named(stage)
    configs = {config["config_id"]: config for config in stage.configs}
    for config_id in sorted(found, key=lambda one: one in colours):  # those without a colour are behind
        _draw_curve(panel, found[config_id], configs[config_id], colours.get(config_id))
    panel.set_xlabel("epoch")
    panel.set_ylabel("training loss")
    num_epochs = max(values.shape[1] for values in found.values())
    panel.set_xlim(min(1, num_epochs - 0.5), max(num_epochs, 1.5))
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    _scale(panel, found, [one for one in colours if configs[one]["eligible"]] or list(colours))
    handles, words = _legend(configs, colours, has_others=len(found) > len(colours))
    panel.legend(handles, words, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=1)


def _scale(panel: Axes, found: Mapping[str, Curve], shown: Sequence[str]) -> None:
    """Scale the losses, without those that are far above all of the configs that are to be seen."""
    losses = np.concatenate([values.ravel() for values in found.values()])
    most = MOST * max(float(np.nanmax(found[config_id])) for config_id in shown)
    kept = losses[losses < most] if 0 < most < np.nanmax(losses) else losses
    axes.set_log_if_wide(panel, kept.tolist())
    if len(kept) < len(losses):
        low, high = float(kept.min()), float(kept.max())
        pad = (high - low) * MARGIN
        panel.set_ylim(*((low / PAD, high * PAD) if panel.get_yscale() == "log" else (low - pad, high + pad)))


def _draw_curve(panel: Axes, values: Curve, config: Row, colour: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of epochs that no seed reached
        mean = np.nanmean(values, axis=0)
        std = np.nanstd(values, axis=0, ddof=1) if len(values) > 1 else np.zeros(len(mean))
    epochs, band = np.arange(1, len(mean) + 1), np.nan_to_num(std)
    own = colour or figures.GREY
    style: dict[str, Any] = {"linewidth": 1.8 if config["selected"] else 1.0 if colour else 0.5}
    [line] = panel.plot(epochs, mean, color=own, marker="o" if len(mean) == 1 else "", markersize=3, **style)
    figures.of_config(line, config["config_id"])
    low = low_edge(values, mean - band)
    panel.fill_between(epochs, low, mean + band, color=own, alpha=BAND if colour else FAINT, linewidth=0)


def _legend(
    configs: Mapping[str, Row], colours: Mapping[str, str], *, has_others: bool
) -> tuple[list[Artist], list[str]]:
    marks: list[tuple[dict[str, Any], str]] = []
    for config_id, colour in colours.items():
        config = configs[config_id]
        name = short_text(config) or config_id
        name = name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 3]}..."
        style = {"color": colour, "linewidth": 1.8 if config["selected"] else 1.0}
        marks.append((style, f"{name} (selected)" if config["selected"] else name))
    if has_others:
        marks.append(({"color": figures.GREY, "linewidth": 0.5}, OTHERS))
    return [Line2D([], [], **style) for style, _ in marks], [words for _, words in marks]
