"""A results folder as a leaderboard, in four formats."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from raysl.console.fitted_table import Column, print_table
from raysl.console.interval_ends import brackets_text, interval_ends
from raysl.console.screen import write_json
from raysl.outgoing import presentable
from raysl.outgoing.harmless import one_line
from raysl.results.attack_text import attacked_text
from raysl.results.criteria import CRITERION_NAMES, VOTE, measured_criteria
from raysl.results.metrics import CROSS_FITTED, METRICS, measured
from raysl.results.records.rows import spec_of
from raysl.results.short_names import short_names
from raysl.results.tables.build import Tables
from raysl.results.tie_text import tie_text
from raysl.search.grid_ends import grid_ends, growth_text
from raysl.search.rules import OBJECTIVES, RULES, Rule
from raysl.statistics.intervals import Interval

Rows = list[dict[str, Any]]
SCORERS = {"classifier": "its classifier", "knn": "its nearest neighbours", "clustering": "clustering"}  # by probe
SPARE = ("s/trial", "Pareto", "selected")  # columns that a narrow screen goes without; the lines below say the same
FORMATS = ("table", "markdown", "csv", "json")


def show(
    tables: Tables, uri: str, form: str, console: Console, most: int | None = None, intervals: str | None = None
) -> None:
    """Print a results folder's current stages: their configs, what was selected and why, and what went wrong.

    most: how many configs of a stage table and Markdown show, the best by its rule; None is all.
    intervals: the kind of intervals that table and Markdown show (`INTERVALS`); None shows standard deviations.
    """
    current = tables.current()
    if form == "json":
        write_json(console, _facts(current))
    elif form == "csv":
        console.file.write(presentable(_csv(_leaderboard(current.configs.to_pylist()))))
    else:
        _show_stages(current, uri, _markdown if form == "markdown" else _table, console, most, intervals)
        _show_earlier(tables, current, uri, console)


def _show_stages(
    tables: Tables,
    uri: str,
    draw: Callable[[Console, str, Rows], None],
    console: Console,
    most: int | None,
    intervals: str | None,
) -> None:
    trials = _grouped(tables.trials.to_pylist(), "stage_id")
    chosen = {row["stage_id"]: row for row in tables.selections.to_pylist()}
    for stage_id, configs in _grouped(tables.configs.to_pylist(), "stage_id").items():
        selection = chosen.get(stage_id)
        rule = RULES[selection["rule"]] if selection is not None else None
        rows = _best(configs, selection, most) if most is not None and len(configs) > most else configs
        ends = {} if intervals is None else interval_ends(trials[stage_id], intervals)
        shown = [_shorter(row, ends.get(row["config_id"], {}), rule) for row in _ranked(_leaderboard(rows))]
        draw(console, _title(configs[0], trials[stage_id]), shown)
        if intervals is not None:
            console.print(brackets_text(trials[stage_id], intervals), markup=False, soft_wrap=True)
        if len(rows) < len(configs):
            more = f"and {len(configs) - len(rows)} more configs: `raysl show {uri}`"
            console.print(more, markup=False, soft_wrap=True)
        console.print(_selected(selection), markup=False)
        if ties := tie_text(configs, {config["config_id"]: _name(config) for config in configs}):
            console.print(ties, markup=False)
        for end in _ends(configs, selection, trials[stage_id]):
            console.print(end, markup=False, soft_wrap=True)
        if configs[0]["pareto"] is not None:
            console.print(_front(configs), markup=False)
        for line in (*_left_out(configs), *_failures(trials[stage_id], uri)):
            console.print(line, markup=False)
        console.print()


def _left_out(configs: Rows) -> Iterator[str]:
    for row in configs:
        if not row["eligible"]:
            fate = "" if row["dropped_in_round"] is not None else "not eligible: "
            yield f"{fate}{row['config_id']}: {row['reason']}"


def _failures(trials: Rows, uri: str) -> Iterator[str]:
    for trial in trials:
        if trial["status"] == "failed":
            yield f"failed: {trial['trial_id']}: {trial['reason']}; log: {uri}/logs/{trial['trial_id']}.log"


def _best(configs: Rows, selection: Mapping[str, Any] | None, most: int) -> Rows:
    """Return the `most` best configs of a stage, best first; the first of the search if none is selected yet."""
    if selection is None:
        return configs[:most]
    rule = RULES[selection["rule"]]
    known = [config for config in configs if config["eligible"] and config[f"{rule.column}_mean"] is not None]
    ranked = sorted(known, key=lambda config: config[f"{rule.column}_mean"], reverse=rule.highest)
    beyond = [
        config for config in ranked[most:] if config["selected"]
    ]  # a cheaper one that cannot be told from the best
    return [*ranked[: most - len(beyond)], *beyond] or configs[:most]


def _show_earlier(tables: Tables, current: Tables, uri: str, console: Console) -> None:
    num_earlier = len(set(tables.configs["stage_id"].to_pylist()) - set(current.configs["stage_id"].to_pylist()))
    if num_earlier:
        searches, are = ("searches", "are") if num_earlier > 1 else ("search", "is")
        text = f"{num_earlier} earlier {searches} of these stages {are} kept in {uri}"
        console.print(text, markup=False, soft_wrap=True)


def _title(config: Mapping[str, Any], trials: Rows) -> str:
    profile = f" (profile {config['profile']})" if config["profile"] else ""
    data, model = json.loads(config["data"]), json.loads(config["model"] or "{}")
    backbone = f"{model['backbone']}, " if "backbone" in model else ""
    variant = f", {config['variant']}" if config["variant"] else ""
    images = f"{data.get('labels')} labelled images of {data.get('source')}{attacked_text(data)}{variant}"
    return f"{config['experiment']}{profile}: {config['stage']}, {backbone}{images}{_scored(trials)}"


def _scored(trials: Rows) -> str:
    """Return the probe that scores a stage's trials, as text; empty if it is the linear SVM."""
    specs = (spec_of(trial["spec"]) for trial in trials if trial["spec"])
    probe = next((spec.get("probe") for spec in specs), None)
    return f", scored by {SCORERS.get(str(probe), probe)}" if probe is not None else ""


def _selected(selection: Mapping[str, Any] | None) -> str:
    if selection is None:
        return "not selected yet: trials are missing"
    chosen = f"selected {selection['config_id']}: " if selection["config_id"] else ""
    return f"{chosen}{selection['reason']}"


def _ends(configs: Rows, selection: Mapping[str, Any] | None, trials: Rows) -> list[str]:
    """Return a line for each selected value at an end of its grid, and one if the grid has no room beyond."""
    if selection is None or selection["config_id"] is None:
        return []
    beyond = {"smallest": "smaller", "largest": "larger"}
    ends = grid_ends(configs, selection["config_id"], trials[0]["method"])
    lines = [
        f"{key}={value:g} is the {end} of its {count} values: a {beyond[end]} one may be better"
        for key, value, end, count in ends
    ]
    full = growth_text(ends, len(configs), len(trials))
    return [*lines, full] if full else lines


def _front(configs: Sequence[Mapping[str, Any]]) -> str:
    names = [name for name in configs[0]["objectives"] if name in OBJECTIVES]
    goals = [f"{name} ({'highest' if OBJECTIVES[name].highest else 'lowest'})" for name in names]
    front = [config["config_id"] for config in configs if config["pareto"]]
    return f"Pareto front of {' and '.join(goals)}: {', '.join(front) or 'no config is eligible'}"


def _leaderboard(configs: Sequence[Mapping[str, Any]]) -> Rows:
    statistics = [
        f"{name}_{of}"
        for metric in measured(configs, "_mean")
        for name in (metric.probe, metric.test)
        for of in ("mean", "std")
    ]
    crossed = [CROSS_FITTED] if any(row[f"{CROSS_FITTED}_mean"] is not None for row in configs) else []
    for name in (*crossed, *measured_criteria(configs)):
        statistics += [column for column in (f"{name}_mean", f"{name}_std") if column in configs[0]]
    columns = [
        "experiment", "profile", "stage", "backbone",
        "source", "labels", "unlabelled", "image_size", "attack", "config_id",
        *[key for key in configs[0] if key.startswith("params.")],
        "num_seeds", "num_finished", "final_loss_mean", "final_loss_std", *statistics,
        "seconds_mean", "pareto", "in_tie_set", "selected", "eligible", "reason",
    ] if configs else []  # fmt: skip
    rows = [_flat(row) for row in configs]
    return [{column: row[column] for column in columns} for row in rows]


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    data, model = json.loads(config["data"]), json.loads(config["model"] or "{}")
    known = {key: data.get(key) for key in ("source", "labels", "unlabelled", "image_size")}
    attack = (data.get("attack") or {}).get("name", "")
    return {**config, **known, "backbone": model.get("backbone", ""), "attack": attack}


def _ranked(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: not row["selected"])


def _shorter(row: Mapping[str, Any], ends: Mapping[str, Interval], rule: Rule | None) -> dict[str, str]:
    """Return a row with mean and standard deviation in one cell, or the interval in its place, for reading.

    Of label-free criteria it has the one that the stage's rule compares; the other formats have all.
    ends: of the intervals, by column.
    """
    cells = {"config": row["config_id"]}
    searched = [key for key, value in row.items() if key.startswith("params.") and value is not None]
    names = short_names([key.removeprefix("params.") for key in searched])
    cells |= {name: _number(row[f"params.{key}"]) for key, name in names.items()}
    cells["seeds"] = f"{row['num_finished']}/{row['num_seeds']}"
    cells["final loss"] = _spread(row, "final_loss", "{:.4g}", 1, ends)
    for metric in (metric for metric in METRICS if f"{metric.probe}_mean" in row):
        for kind, name in (("probe", metric.probe), ("test", metric.test)):
            cells[f"{kind} {metric.words} %"] = _spread(row, name, "{:.1f}", 100, ends)
    if f"{CROSS_FITTED}_mean" in row:
        cells["cross-fitted accuracy %"] = _spread(row, CROSS_FITTED, "{:.1f}", 100, ends)
    if rule is not None and rule.column in (*CRITERION_NAMES, VOTE):
        cells[rule.words.removeprefix("mean ") if rule.column != VOTE else "mean rank"] = _spread(
            row, rule.column, "{:.4g}", 1, ends
        )
    cells["s/trial"] = _spread(row, "seconds", "{:.1f}", 1, {})
    if row["pareto"] is not None:
        cells["Pareto"] = "*" if row["pareto"] else ""
    cells["selected"] = "*" if row["selected"] else ""
    return cells


def _spread(row: Mapping[str, Any], column: str, form: str, factor: float, ends: Mapping[str, Interval]) -> str:
    mean, std = row[f"{column}_mean"], row.get(f"{column}_std")
    if mean is None:
        return "-"
    shown = form.format(mean * factor)
    if column in ends:
        low, high = (form.format(end * factor) for end in ends[column])
        return f"{shown} [{low}, {high}]"
    return shown + (f" ± {form.format(std * factor)}" if std is not None else "")


def _name(config: Mapping[str, Any]) -> str:
    """Return a config's searched values, as `lr=0.01, epochs=5`."""
    values = {key.removeprefix("params."): config[key] for key in config if key.startswith("params.")}
    values = {key: value for key, value in values.items() if value is not None}
    names = short_names(list(values))
    return ", ".join(f"{names[key]}={_number(value)}" for key, value in values.items()) or config["config_id"]


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(console: Console, title: str, rows: Rows) -> None:
    columns = [
        Column(name, left=name in ("config", "Pareto", "selected"), key=name == "config", spare=name in SPARE)
        for name in rows[0]
    ]
    bold = [number for number, row in enumerate(rows) if row["selected"]]
    print_table(console, title, columns, [list(row.values()) for row in rows], bold=bold)


def _markdown(console: Console, title: str, rows: Rows) -> None:
    lines = [f"### {one_line(title)}", "", _piped(rows[0]), "|" + " --- |" * len(rows[0])]
    lines += [_piped(row.values()) for row in rows]
    console.file.write(presentable("\n".join(lines)) + "\n\n")


def _piped(cells: Iterable[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _csv(rows: Rows) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _facts(tables: Tables) -> dict[str, Rows]:
    trials = tables.trials.drop_columns(["spec"]).to_pylist()
    return {"selections": tables.selections.to_pylist(), "configs": tables.configs.to_pylist(), "trials": trials}


def _grouped(rows: Rows, key: str) -> dict[str, Rows]:
    groups: dict[str, Rows] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups
