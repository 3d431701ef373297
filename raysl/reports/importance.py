"""How much of the differences between a stage's configs each searched hyperparameter explains (fANOVA).

    uv run python -m analysis.importance RESULTS_DIR... [--stages|--cells A,B] [--column COLUMN] [--format FORMAT]

Per stage: the share of the variance of the objective over the searched space that a hyperparameter explains alone, by a
random forest fitted to the means of the eligible configs (Hutter et al. 2014, "An Efficient Approach for Assessing
Hyperparameter Importance", in Optuna's implementation). What is left is of combinations of hyperparameters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from matplotlib.figure import Figure

from raysl.errors import ResultsError
from raysl.reports import figures, tables
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.searched import MEASURES, Key, measure_of, measured, searched_keys, unmeasured_reason
from raysl.reports.stages import Searched, source, titles, without_common
from raysl.reports.tables import Table
from raysl.results.schema import nullable

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEAST_CONFIGS = 4  # fewer say nothing of two hyperparameters
SEED = 0  # of the forest
COMBINATIONS = "combinations"
NOTE = "Share of the variance over the searched space that each hyperparameter explains alone (fANOVA)"
ROUGH = "The forest is a rough guide: where shares are close, their order says little."
ASSUMPTIONS = (
    "fANOVA (Hutter et al. 2014) in Optuna's implementation: a random forest stands for the objective, over the range "
    "from the least to the greatest value tried, evenly on each value's own scale; of eligible configs alone, and of "
    f"their means. {ROUGH}"
)
ROW_HEIGHT = 0.22  # inches
LABEL_WIDTH = 16  # characters


@dataclass(frozen=True, eq=False)
class Importance:
    """What explains a stage's objective.

    column: of the objective.  num_configs: those that it was fitted to.
    shares: of the variance, by key, highest first; their sum is at most about 1.
    """

    stage: Searched
    column: str
    num_configs: int
    shares: Mapping[Key, float]

    @property
    def rest(self) -> float:
        """The share that no hyperparameter explains alone."""
        return max(0.0, 1.0 - sum(self.shares.values()))


def obstacle(stage: Searched, column: str) -> str | None:
    """Return why importance cannot be told, or need not; None where it can."""
    keys, values = searched_keys(stage), [config[f"{column}_mean"] for config in measured(stage, column)]
    if not keys:
        return "no hyperparameter was searched"
    if len(keys) == 1:
        return f"{keys[0].name} alone was searched, and so explains all; slices draw how"
    if len(values) < LEAST_CONFIGS:
        lacking = unmeasured_reason(stage, column)
        few = f"{len(values)} eligible configs with {column}, and {LEAST_CONFIGS} are needed"
        return f"{few} ({lacking})" if lacking else few
    return f"{column} is the same for all configs" if len(set(values)) == 1 else None


def importance(stage: Searched, column: str) -> Importance:
    """Return how much each key explains of the means of a column."""
    from optuna import create_study, logging  # it takes its time
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.trial import create_trial

    assert obstacle(stage, column) is None, "it can be told"
    configs = measured(stage, column)
    keys = {key.column: key for key in searched_keys(stage)}
    distributions = {
        name: _distribution(key, [config["config_id"] for config in configs]) for name, key in keys.items()
    }
    logging.set_verbosity(logging.WARNING)
    points = create_study()
    for config in configs:
        params = {name: _place(key, config["config_id"]) for name, key in keys.items()}
        points.add_trial(create_trial(params=params, distributions=distributions, value=config[f"{column}_mean"]))
    shares = FanovaImportanceEvaluator(seed=SEED).evaluate(points, list(keys))
    return Importance(stage, column, len(configs), {keys[name]: float(share) for name, share in shares.items()})


def _place(key: Key, config_id: str) -> float | str:
    """Return a value on the key's own scale: fANOVA measures the space by it, and Optuna's reads no `log`."""
    value = key.values[config_id]
    return math.log10(value) if key.log and isinstance(value, float) else value


def _distribution(key: Key, config_ids: Sequence[str]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    places = [_place(key, config_id) for config_id in config_ids]
    if key.is_number:
        numbers = [float(place) for place in places]
        return FloatDistribution(min(numbers), max(numbers))
    return CategoricalDistribution(sorted(set(map(str, places))))


def table(names: Sequence[str], found: Sequence[Importance]) -> Table:
    """Return a row per stage and key, and one of what no key explains alone."""
    rows = []
    for name, one in zip(names, found, strict=True):
        shares = {key.name: share for key, share in one.shares.items()} | {COMBINATIONS: one.rest}
        facts = (name, one.column, str(one.num_configs))
        for place, (key, share) in enumerate(shares.items()):
            rows.append((*(facts if place == 0 else ("", "", "")), key, f"{100 * share:.1f}"))
    return Table(
        title=NOTE,
        header=("stage", "objective", "configs", "hyperparameter", "share %"),
        rows=tuple(rows),
        notes=(ROUGH,),
    )


@figures.styled
def draw(names: Sequence[str], found: Sequence[Importance], note: str) -> Figure:
    """Draw a panel for each stage, with a bar for each key."""
    most = max(len(one.shares) + 1 for one in found)
    words = [MEASURES[one.column].words.partition(" (")[0] for one in found]
    heads = [", ".join(filter(None, pair)) for pair in zip(names, words, strict=True)]
    height = 0.45 + ROW_HEIGHT * most + figures.title_height(heads)
    figure, axes = figures.panels(len(found), note, height=height)
    for panel, head, one in zip(axes, heads, found, strict=True):
        labels = [*(key.name for key in one.shares), COMBINATIONS]
        panel.barh(range(len(one.shares)), [100 * share for share in one.shares.values()], color=figures.PALETTE[0])
        panel.barh(len(one.shares), 100 * one.rest, color=figures.GREY)
        panel.set_yticks(range(len(labels)), [figures.wrapped(label, LABEL_WIDTH) for label in labels])
        panel.set_ylim(most - 0.5, -0.5)
        panel.set_xlim(0, 100)
        figures.set_title(panel, head)
        panel.set_xlabel("share (%)")
    return figure


def write_arrow(found: Sequence[Importance], left_out: Sequence[tuple[Searched, str, str]], path: Path) -> None:
    """Write a row per stage and key; of stages left out, one with the reason.

    left_out: stages with the column and the reason.
    """
    rows = [
        _facts(one.stage, one.column)
        | {"num_configs": one.num_configs, "key": key.column.removeprefix("params."), "scale": _scale(key)}
        | {"num_values": len(set(key.values.values())), "share": share}
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
