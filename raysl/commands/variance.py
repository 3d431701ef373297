"""`raysl variance`."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from raysl.console.fitted_table import Column, print_table
from raysl.console.remaining_time import duration_text
from raysl.console.report import FORMATS
from raysl.console.screen import screen, write_json
from raysl.errors import UserError, choices
from raysl.outgoing import presentable
from raysl.reports.contestants import read_contestant
from raysl.reports.searched import MEASURES, OF_TRIALS
from raysl.reports.stages import params_text
from raysl.reports.variance import Analysis, Repetition, analysis

COLUMNS = (
    Column("source", left=True, key=True),
    Column("df", spare=True),
    Column("standard deviation (95 % interval)"),
    Column("share % (95 % interval)"),
)
MORE = (
    Column("one more level of", left=True, key=True),
    Column("levels"),
    Column("trials"),
    Column("training time", spare=True),
    Column("standard error of the mean"),
)
NOTES = (
    "components of variance by ANOVA; 95 % generalised intervals (Weerahandi 1993), which take values for normal and "
    "are wide for few levels",
    "one more level: the standard error if components are as estimated; the first lowers the variance of the mean most "
    "for each trial. Stages that this one starts from train as many",
)


def variance(given: str, metric: str | None, form: str) -> None:
    """Say what each random stream explains of the spread of selected configs; form: one of `report.FORMATS`."""
    if form not in FORMATS:
        raise UserError(f"--format {form}: {choices(form, FORMATS)}")
    if metric is not None and metric not in OF_TRIALS:
        raise UserError(f"--metric {metric}: {choices(metric, OF_TRIALS)}")
    found = [analysis(side.stage, side.config, metric) for side in read_contestant(given).sides]
    console = screen()
    if form == "json":
        write_json(console, [_facts(one) for one in found])
    elif form == "csv":
        console.file.write(presentable(_csv(found)))
    else:
        for one in found:
            _show(one, console, is_markdown=form == "markdown")
        for note in NOTES:
            console.print(note, markup=False, soft_wrap=True)


def _show(one: Analysis, console: Console, *, is_markdown: bool) -> None:
    sizes = ", ".join(f"{size} of {name}" for name, size in zip(one.factors, one.levels, strict=True))
    config = params_text(one.config) or one.config["config_id"]
    mean = f"mean {_number(float(one.values.mean()))}, standard error {_number(one.error)}"
    title = f"{one.stage.name}, {config}: {MEASURES[one.column].words}, {one.design.kind} levels: {sizes}; {mean}"
    console.print(title, style="table.title", markup=False, soft_wrap=True)
    for columns, rows in ((COLUMNS, _components(one)), (MORE, _repetitions(one))):
        if is_markdown:
            lines = [[column.title for column in columns], ["---"] * len(columns), *rows]
            console.file.write(presentable("".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"))
        else:
            print_table(console, "", columns, rows)
    if (best := one.repetitions[0]).error < one.error:
        line = f"surer at least cost: raysl tune FILE {' '.join(one.options(best))} --results {one.stage.uri}"
        console.print(line, markup=False, soft_wrap=True)


def _components(one: Analysis) -> list[list[str]]:
    return [
        [
            name,
            str(own.freedom),
            _with_interval([value**0.5 for value in (own.variance, *own.variance_interval)]),
            _with_interval([100 * value for value in (own.share, *own.share_interval)], "{:.0f}"),
        ]
        for name, own in zip(one.names, one.found, strict=True)
    ]


def _repetitions(one: Analysis) -> list[list[str]]:
    return [
        [
            more.factor,
            f"{more.level - 1} -> {more.level}",
            str(more.num_trials),
            "-" if one.seconds is None else duration_text(one.seconds * more.num_trials),
            f"{_number(one.error)} -> {_number(more.error)}",
        ]
        for more in one.repetitions
    ]


def _with_interval(values: Sequence[float], form: str = "{:.3g}") -> str:
    value, low, high = (form.format(value) for value in values)
    return f"{value} ({low} to {high})"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _csv(found: Sequence[Analysis]) -> str:
    rows = [row for one in found for row in _flat(one)]
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def _flat(one: Analysis) -> list[dict[str, Any]]:
    place = {"stage": one.stage.name, "config_id": one.config["config_id"], "column": one.column}
    rows = _facts(one)["components"]
    for row in rows:
        for name in ("variance", "share"):
            row[f"{name}_low"], row[f"{name}_high"] = row.pop(f"{name}_interval")
    return [place | row for row in rows]


def _facts(one: Analysis) -> dict[str, Any]:
    return {
        "stage": one.stage.name,
        "stage_id": one.stage.stage_id,
        "config_id": one.config["config_id"],
        "measure": MEASURES[one.column].words,
        "column": one.column,
        "design": one.design.kind,
        "levels": dict(zip(one.factors, one.levels, strict=True)),
        "in_residual": one.unnamed,
        "mean": float(one.values.mean()),
        "standard_error": one.error,
        "components": [
            {
                "source": source,
                "freedom": own.freedom,
                "mean_square": own.mean_square,
                "variance": own.variance,
                "variance_interval": list(own.variance_interval),
                "share": own.share,
                "share_interval": list(own.share_interval),
            }
            for source, own in zip(one.sources, one.found, strict=True)
        ],
        "repetitions": [_repetition_facts(one, more) for more in one.repetitions],
    }


def _repetition_facts(one: Analysis, more: Repetition) -> dict[str, Any]:
    return {
        "factor": more.factor,
        "levels": more.level,
        "trials": more.num_trials,
        "seconds": None if one.seconds is None else one.seconds * more.num_trials,
        "standard_error": more.error,
        "options": one.options(more),
    }
