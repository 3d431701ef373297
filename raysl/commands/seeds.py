"""`raysl seeds`."""

from typing import Any

from rich.console import Console

from raysl.console.fitted_table import Column, print_table
from raysl.console.remaining_time import duration_text
from raysl.console.screen import screen, write_json
from raysl.errors import ResultsError
from raysl.reports import pairs
from raysl.reports.searched import MEASURES, rule_of
from raysl.reports.seeds_needed import MOST_SEEDS, POWER, BestTwo, best_two, options
from raysl.reports.stages import Searched, params_text, read_stages
from raysl.statistics.paired import ERROR

COLUMNS = (
    Column("stage", left=True, key=True),
    Column("selected", left=True),
    Column("next best", left=True),
    Column("difference (95 % interval)"),
    Column("seeds"),
    Column("needed"),
    Column("more trials"),
    Column("training time", spare=True),
)


def seeds(results: str, form: str) -> None:
    """Say how many seeds would tell the two best configs of each stage apart; form: `table` or `json`."""
    stages = read_stages([results])
    obstacles = {stage.name: pairs.obstacle(stage) for stage in stages}
    found = [best_two(stage) for stage in stages if not obstacles[stage.name]]
    console = screen()
    if form == "json":
        write_json(console, [_facts(one) for one in found])
        return
    if not found:
        raise ResultsError("; ".join(f"{name}: {why}" for name, why in obstacles.items()))
    _show(found, console)
    for stage in stages:
        if why := obstacles[stage.name]:
            console.print(f"{stage.name}: {why}", markup=False, soft_wrap=True)


def _show(found: list[BestTwo], console: Console) -> None:
    print_table(console, "", COLUMNS, [_cells(one) for one in found])
    test = f"a paired t test (two-sided, {ERROR:.0%}) finds such a difference {POWER:.0%} of the time"
    note = f"needed: seeds at which {test}, estimated from those that are there. {pairs.CAUTION}"
    console.print(note, markup=False, soft_wrap=True)
    for one in found:
        if one.needed is not None and one.num_trials:
            line = f"{one.stage.name}: raysl tune FILE {' '.join(options(one))} --results {one.stage.uri}"
            console.print(line, markup=False, soft_wrap=True)


def _cells(one: BestTwo) -> list[str]:
    low, high = one.pair.interval
    seconds = one.seconds
    return [
        one.stage.name,
        _config(one.stage, one.selected["config_id"]),
        _config(one.stage, one.next["config_id"]),
        f"{one.pair.mean:.3g} ({low:.3g} to {high:.3g})",
        str(len(one.pair.differences)),
        f"> {MOST_SEEDS}" if one.needed is None else str(one.needed),
        "-" if one.needed is None else str(one.num_trials),
        "-" if one.needed is None or seconds is None else duration_text(seconds),
    ]


def _config(stage: Searched, config_id: str) -> str:
    config = next(config for config in stage.configs if config["config_id"] == config_id)
    return params_text(config) or config_id


def _facts(one: BestTwo) -> dict[str, Any]:
    rule = rule_of(one.stage)
    assert rule is not None, "others have an obstacle"
    low, high = one.pair.interval
    return {
        "stage": one.stage.name,
        "measure": MEASURES[rule.column].words,
        "selected": one.selected["config_id"],
        "next_best": one.next["config_id"],
        "difference": one.pair.mean,
        "interval": [low, high],
        "seeds": list(one.seeds),
        "seeds_needed": one.needed,
        "more_trials": None if one.needed is None else one.num_trials,
        "seconds": None if one.needed is None else one.seconds,
        "options": [] if one.needed is None else options(one),
    }
