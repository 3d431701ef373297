"""How much each searched hyperparameter matters: to all configs of a stage (fANOVA), and to its best (PED-ANOVA).

    uv run python -m analysis.importance RESULTS_DIR... [--stages|--cells A,B] [--column COLUMN] [--format FORMAT]

Per stage: the share of the variance of the objective over the searched space that a hyperparameter explains alone, by a
random forest fitted to the means of the eligible configs (Hutter et al. 2014, "An Efficient Approach for Assessing
Hyperparameter Importance"). What is left is of combinations of hyperparameters.

Beside it: the hyperparameter's share of what gets a config among the best, by how far the density of its values among
the best is from that among all (Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
Arbitrary Subspaces"). Both in Optuna's implementation.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from raysl.errors import ResultsError
from raysl.reports import figures, tables
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.explained import LEAST_BEST, Importance, importance, obstacle
from raysl.reports.searched import MEASURES, Key, measure_of
from raysl.reports.stages import Searched, source, titles, without_common
from raysl.reports.tables import Table
from raysl.results.schema import nullable

COMBINATIONS = "combinations"
NOTE = (
    "Share of the variance over the searched space that each hyperparameter explains alone (fANOVA), and its share of "
    "what gets a config among the best (PED-ANOVA)"
)
ROUGH = "Both are rough guides: where shares are close, their order says little."
ASSUMPTIONS = (
    "fANOVA (Hutter et al. 2014): a random forest stands for the objective, over the range from the least to the "
    "greatest value tried, evenly on each value's own scale. PED-ANOVA (Watanabe et al. 2023): the best tenth of the "
    f"configs, at least {LEAST_BEST}, against all that were tried, by the densities of each hyperparameter alone; its "
    "shares add up to 100 %, even if nothing matters. What spoils a config counts for fANOVA, what tells the best from "
    f"the good for PED-ANOVA. Both in Optuna's implementation, of eligible configs alone, and of their means. {ROUGH}"
)
ROW_HEIGHT = 0.26  # inches
BAR_HEIGHT = 0.4  # of a row
LABEL_WIDTH = 16  # characters


def table(names: Sequence[str], found: Sequence[Importance]) -> Table:
    """Return a row per stage and key, and one of what no key explains alone."""
    rows = []
    for name, one in zip(names, found, strict=True):
        facts = (name, one.column, str(one.num_configs))
        for place, (key, share) in enumerate(one.shares.items()):
            best = f"{100 * one.best_shares[key]:.1f}" if one.best_shares else ""
            rows.append((*(facts if place == 0 else ("", "", "")), key.name, f"{100 * share:.1f}", best))
        rows.append(("", "", "", COMBINATIONS, f"{100 * one.rest:.1f}", ""))
    reasons = dict.fromkeys(f"{name}: {one.best_obstacle}" for name, one in zip(names, found, strict=True))
    return Table(
        title=NOTE,
        header=("stage", "objective", "configs", "hyperparameter", "fANOVA %", "PED-ANOVA %"),
        rows=tuple(rows),
        notes=(*(reason for reason in reasons if not reason.endswith(": ")), ROUGH),
    )


@figures.styled
def draw(names: Sequence[str], found: Sequence[Importance], note: str) -> Figure:
    """Draw a panel for each stage, with two bars for each key."""
    most = max(len(one.shares) + 1 for one in found)
    words = [MEASURES[one.column].words.partition(" (")[0] for one in found]
    heads = [", ".join(filter(None, pair)) for pair in zip(names, words, strict=True)]
    height = 0.6 + ROW_HEIGHT * most + figures.title_height(heads)
    figure, axes = figures.panels(len(found), note, height=height)
    for panel, head, one in zip(axes, heads, found, strict=True):
        _draw_panel(panel, one)
        panel.set_ylim(most - 0.5, -0.5)
        figures.set_title(panel, head)
    figures.legend_below(
        axes[0],
        [Patch(color=figures.PALETTE[place]) for place in (0, 1)],
        ["of the variance (fANOVA)", "of getting among the best (PED-ANOVA)"],
        handlelength=1.0,
    )
    return figure


def _draw_panel(panel: Axes, one: Importance) -> None:
    labels = [*(key.name for key in one.shares), COMBINATIONS]
    shares = [100 * share for share in (*one.shares.values(), one.rest)]
    colours = [figures.PALETTE[0]] * len(one.shares) + [figures.GREY]
    panel.barh([place - BAR_HEIGHT / 2 for place in range(len(labels))], shares, height=BAR_HEIGHT, color=colours)
    if one.best_shares:
        best = [100 * one.best_shares[key] for key in one.shares]
        places = [place + BAR_HEIGHT / 2 for place in range(len(best))]
        panel.barh(places, best, height=BAR_HEIGHT, color=figures.PALETTE[1])
    panel.set_yticks(range(len(labels)), [figures.wrapped(label, LABEL_WIDTH) for label in labels])
    panel.set_xlim(0, 100)
    panel.set_xlabel("share (%)")


def write_arrow(found: Sequence[Importance], left_out: Sequence[tuple[Searched, str, str]], path: Path) -> None:
    """Write a row per stage and key; of stages left out, one with the reason.

    left_out: stages with the column and the reason.
    """
    rows = [
        _facts(one.stage, one.column)
        | {"num_configs": one.num_configs, "key": key.column.removeprefix("params."), "scale": _scale(key)}
        | {"num_values": len(set(key.values.values())), "share": share}
        | {"num_best": one.num_best if one.best_shares else None, "best_share": one.best_shares.get(key)}
        for one in found
        for key, share in one.shares.items()
    ]
    rows += [_facts(stage, column) | {"left_out": reason} for stage, column, reason in left_out]
    content = pa.Table.from_pylist(rows, schema=_SCHEMA)
    with pa.ipc.new_file(path, content.schema) as writer:
        writer.write_table(content)


def _facts(stage: Searched, column: str) -> dict[str, object]:
    names = ("experiment", "profile", "stage", "stage_id", "method")
    return {name: getattr(stage, name) for name in names} | {"source": source(stage), "column": column}


def _scale(key: Key) -> str:
    return "logarithmic" if key.log else "linear" if key.is_number else "categorical"


_TEXT = pa.string()
_SCHEMA = pa.schema(
    [
        nullable("experiment", _TEXT, "name of the experiment"),
        nullable("profile", _TEXT, "profile of the experiment; empty where there is none"),
        nullable("stage", _TEXT, "name of the stage"),
        nullable("stage_id", _TEXT, "identity of the stage and its search space"),
        nullable("method", _TEXT, "learning method"),
        nullable("source", _TEXT, "name of the images"),
        nullable("column", _TEXT, "the objective: a column of the configs table, without _mean"),
        nullable("num_configs", pa.int64(), "eligible configs that have it"),
        nullable("key", _TEXT, "the searched hyperparameter"),
        nullable("scale", _TEXT, "linear, logarithmic or categorical: how its values were taken"),
        nullable("num_values", pa.int64(), "values of it that were tried"),
        nullable("share", pa.float64(), "of the variance of the objective that it explains alone", "fraction"),
        nullable("num_best", pa.int64(), "configs that count as the best; null where PED-ANOVA cannot tell"),
        nullable("best_share", pa.float64(), "of what gets a config among the best (PED-ANOVA)", "fraction"),
        nullable("left_out", _TEXT, "why the stage's importance was not told; else null"),
    ],
    metadata={"raysl.table": "importance", "note": f"{NOTE}. {ROUGH}"},
)


def main(arguments: Arguments) -> None:
    """Print and write the table, the Arrow file and the figure."""
    options = parser("importance", __doc__ or "")
    add_choice(options)
    options.add_argument(
        "--column", choices=list(MEASURES), help="the objective; that of the stage's rule if not given"
    )
    options.add_argument("--format", choices=list(tables.FORMATS), default="text")
    given = options.parse_args(arguments)
    stages = chosen(given)
    every = [(stage, measure_of(stage, given.column)) for stage in stages]
    left_out = [(*one, reason) for one in every if (reason := obstacle(*one))]
    if len(left_out) == len(every):
        raise ResultsError("; ".join(f"{stage.name}: {reason}" for stage, _, reason in left_out))
    folder = out_folder(given.results, given.out)
    found = [importance(*one) for one in every if not obstacle(*one)]
    names = titles([one.stage for one in found])
    content = tables.FORMATS[given.format][0](table(names, found))
    write_arrow(found, left_out, folder / "importance.arrow")
    say(content)
    for stage, _, reason in left_out:
        say(f"left out: {stage.name}: {reason}")
    say_written([tables.save(content, folder, "importance", given.format), folder / "importance.arrow"])
    common, short = without_common(names)
    note = "; ".join(filter(None, [NOTE, common]))
    say_written(figures.save(draw(short, found, f"{note}. {ROUGH}"), folder, "importance"))
