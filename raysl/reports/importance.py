"""How much each searched hyperparameter matters: to all configs of a stage (fANOVA), and to its best (PED-ANOVA).

    uv run python -m analysis.importance RESULTS_DIR... [--stages|--cells A,B] [--column COLUMN] [--format FORMAT]

Per stage: the share of the variance of the objective over the searched space that a hyperparameter explains alone, by a
random forest fitted to the means of the eligible configs (Hutter et al. 2014, "An Efficient Approach for Assessing
Hyperparameter Importance"). What is left is of combinations of hyperparameters.

Beside it: the hyperparameter's share of what gets a config among the best, by how far the density of its values among
the best is from that among all (Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
Arbitrary Subspaces"). Both in Optuna's implementation.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from raysl.errors import ResultsError
from raysl.reports import figures, tables
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.searched import MEASURES, Key, measure_of, measured, searched_keys, unmeasured_reason
from raysl.reports.stages import Searched, source, titles, without_common
from raysl.reports.tables import Table
from raysl.results.schema import nullable

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

    Distribution = Callable[[Key, Sequence[str]], BaseDistribution]  # of a key's values, given the configs' ids

LEAST_CONFIGS = 4  # fewer say nothing of two hyperparameters
BEST = 0.1  # fraction of the configs that counts as the best: the paper's, and Optuna's
LEAST_BEST = 5  # configs that a density is estimated from, as Optuna's documentation advises
LEAST_OF_BEST = 2 * LEAST_BEST  # configs, so that at most half of them count as the best
ROUNDING = 1e-12  # of densities' differences
SEED = 0  # of the forest
COMBINATIONS = "combinations"
NOTE = (
    "Share of the variance over the searched space that each hyperparameter explains alone (fANOVA), and its share of "
    "what gets a config among the best (PED-ANOVA)"
)
ROUGH = "Both are rough guides: where shares are close, their order says little."
ASSUMPTIONS = (
    "fANOVA (Hutter et al. 2014): a random forest stands for the objective, over the range from the least to the "
    "greatest value tried, evenly on each value's own scale. PED-ANOVA (Watanabe et al. 2023): the best tenth of the "
    f"configs, or {LEAST_BEST}, against all that were tried, by the densities of each hyperparameter alone; its shares "
    "add up to 100 %, even if nothing matters. What spoils a config counts for fANOVA, what tells the best from the "
    f"good for PED-ANOVA. Both in Optuna's implementation, of eligible configs alone, and of their means. {ROUGH}"
)
ROW_HEIGHT = 0.26  # inches
BAR_HEIGHT = 0.4  # of a row
LABEL_WIDTH = 16  # characters


@dataclass(frozen=True, eq=False)
class Importance:
    """What explains a stage's objective.

    column: of the objective.  num_configs: those that it was fitted to.
    shares: of the variance, by key, highest first; their sum is at most about 1.
    num_best: the configs that count as the best.
    best_shares: of what gets a config among these, by key; their sum is 1, or 0 if they have each value as often as all
        configs; empty where `best_obstacle` says why.
    """

    stage: Searched
    column: str
    num_configs: int
    shares: Mapping[Key, float]
    num_best: int
    best_shares: Mapping[Key, float]
    best_obstacle: str

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
    from optuna.importance import FanovaImportanceEvaluator  # it takes its time

    assert obstacle(stage, column) is None, "it can be told"
    values = [float(config[f"{column}_mean"]) for config in measured(stage, column)]
    keys = {key.column: key for key in searched_keys(stage)}
    study = _study(stage, column, keys, _distribution)
    shares = FanovaImportanceEvaluator(seed=SEED).evaluate(study, list(keys))
    num_best = _num_best(values, MEASURES[column].highest)
    why = _best_obstacle(len(values), num_best)
    return Importance(
        stage,
        column,
        len(values),
        {keys[name]: float(share) for name, share in shares.items()},
        num_best,
        {} if why else _best_shares(stage, column, keys, num_best),
        why,
    )


def _num_best(values: Sequence[float], highest: bool) -> int:
    """Return how many configs count as the best: those that equal the last of them count too."""
    ordered = sorted(values, reverse=highest)
    last = ordered[min(len(ordered), max(LEAST_BEST, math.ceil(BEST * len(ordered)))) - 1]
    return sum(value >= last if highest else value <= last for value in values)


def _best_obstacle(num_configs: int, num_best: int) -> str:
    """Return why the best configs say nothing; empty where they do."""
    if num_configs < LEAST_OF_BEST:
        return f"{num_configs} eligible configs, and PED-ANOVA needs {LEAST_OF_BEST}"
    if num_best > num_configs / 2:
        return f"PED-ANOVA cannot tell the best: {num_best} of {num_configs} configs are as good as one another"
    return ""


def _best_shares(stage: Searched, column: str, keys: Mapping[str, Key], num_best: int) -> dict[Key, float]:
    from optuna.importance import PedAnovaImportanceEvaluator

    study = _study(stage, column, keys, _counted)
    quantile = (num_best - 0.5) / len(study.trials)  # Optuna rounds up
    with warnings.catch_warnings(action="ignore"):  # Optuna 4 calls the evaluator experimental
        found = PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(study, list(keys))
    total = sum(found.values())
    return {keys[name]: float(value / total) if total > ROUNDING else 0.0 for name, value in found.items()}


def _study(stage: Searched, column: str, keys: Mapping[str, Key], distribution: "Distribution") -> "Study":
    """Return the eligible configs as Optuna's trials."""
    from optuna import create_study, logging
    from optuna.trial import create_trial

    configs = measured(stage, column)
    ids = [config["config_id"] for config in configs]
    distributions = {name: distribution(key, ids) for name, key in keys.items()}
    logging.set_verbosity(logging.WARNING)
    study = create_study(direction="maximize" if MEASURES[column].highest else "minimize")
    for config in configs:
        params = {name: _place(key, config["config_id"]) for name, key in keys.items()}
        study.add_trial(create_trial(params=params, distributions=distributions, value=config[f"{column}_mean"]))
    return study


def _place(key: Key, config_id: str) -> float | str:
    """Return a value on the key's own scale: fANOVA measures the space by it, and Optuna's reads no `log`."""
    value = key.values[config_id]
    return math.log10(value) if key.log and isinstance(value, float) else value


def _distribution(key: Key, config_ids: Sequence[str]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    places = {_place(key, config_id) for config_id in config_ids}
    if key.is_number:
        numbers = [float(place) for place in places]
        return FloatDistribution(min(numbers), max(numbers))
    return CategoricalDistribution(sorted(places))


def _counted(key: Key, config_ids: Sequence[str]) -> "BaseDistribution":
    """Return the distribution of values, each by itself where most were tried again, as in a grid.

    A density over a few numbers would be smooth among all configs and peaked among the best, whatever the objective.
    """
    from optuna.distributions import CategoricalDistribution

    places = {_place(key, config_id) for config_id in config_ids}
    if 2 * len(places) <= len(config_ids):
        return CategoricalDistribution(sorted(places))
    return _distribution(key, config_ids)


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
