"""How long the trials of a stage took."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raysl.reports import figures
from raysl.reports.searched import own_trials
from raysl.reports.stages import Row, Searched

NOTE = "Training time of each trial, by config in the order of the search; bars: means"


@dataclass(frozen=True)
class Cost:
    """What the trials of a stage took.

    num_trials: that were trained, of folds too; those that were only measured, with the weights of others, have no time
        of their own.
    seconds: of training, all trials together.  worker_seconds: the same times the workers of each.
    elapsed: seconds from the start of the first trial to the end of the last.  devices: that trained.
    """

    num_trials: int
    seconds: float
    worker_seconds: float
    elapsed: float
    devices: tuple[str, ...]


def cost(stage: Searched) -> Cost:
    """Return what the ended trials of a stage took."""
    ended = [trial for trial in stage.trials if _is_trained(trial)]
    of_folds = [trial for trial in stage.trials if trial["fold_seconds"]]
    spent = [(t["seconds"], t["workers"] or 1) for t in ended]
    spent += [(t["fold_seconds"], t["workers"] or 1) for t in of_folds]
    times = [(trial["started_at"], trial["finished_at"]) for trial in (*ended, *of_folds) if trial["started_at"]]
    elapsed = max(end for _, end in times) - min(start for start, _ in times) if times else None
    return Cost(
        num_trials=len(ended) + sum(len(trial["folds"]) for trial in of_folds),
        seconds=sum(seconds for seconds, _ in spent),
        worker_seconds=sum(seconds * workers for seconds, workers in spent),
        elapsed=elapsed.total_seconds() if elapsed else 0.0,
        devices=tuple(dict.fromkeys(str(trial["device"]) for trial in (*ended, *of_folds) if trial["device"])),
    )


def obstacle(stage: Searched) -> str:
    """Return why there is nothing to draw; empty where there is."""
    return "" if cost(stage).num_trials else "no trial was trained here"


def _is_trained(trial: Row) -> bool:
    return trial["seconds"] is not None and trial["weights_of"] is None


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw a panel for each stage."""
    return figures.panel_each(names, stages, note, _draw_panel)


def _draw_panel(panel: Axes, stage: Searched) -> None:
    for place, config in enumerate(stage.configs, 1):
        seconds = [trial["seconds"] for trial in own_trials(stage, config) if _is_trained(trial)]
        if seconds:
            bar = panel.bar(place, sum(seconds) / len(seconds), color=figures.PALETTE[0], alpha=0.5)[0]
            figures.of_config(bar, config["config_id"])
            panel.plot([place] * len(seconds), seconds, "o", color=figures.PALETTE[0], markersize=2)
    panel.set_xlabel("config, in the order of the search")
    panel.set_ylabel("training time (s)")
    panel.set_ylim(bottom=0)
    panel.set_xlim(0.4, len(stage.configs) + 0.6)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
