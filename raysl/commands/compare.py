"""`raysl compare`."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from rich.console import Console

from raysl.console.fitted_table import Column, print_table
from raysl.console.screen import screen, write_json
from raysl.errors import UserError, choices
from raysl.reports.comparison import Comparison, Overall, compare, interval, is_highest, overall
from raysl.reports.contestants import ComparedTask, Contestant, read_contestant, tasks
from raysl.reports.searched import MEASURES, OF_TRIALS
from raysl.reports.seeds_needed import POWER
from raysl.reports.stages import params_text
from raysl.results.records.rows import spec_of
from raysl.search.comparable import loss_trouble
from raysl.statistics.intervals import WORDS, Interval
from raysl.statistics.paired import ERROR

OWN = (Column("", left=True, key=True), Column("config", left=True, least=24), Column("mean (95 % interval)"))
PAIRS = (
    Column("", left=True, key=True),
    Column("difference (95 % interval)"),
    Column("p"),
    Column("better"),
    Column("detectable"),
)


def compare_all(given: Sequence[str], metric: str | None, kind: str, form: str) -> None:
    """Compare configs of results folders and stages; kind: of the intervals.  form: `table` or `json`."""
    if not 2 <= len(given) <= len(ascii_uppercase):
        raise UserError(f"{len(given)} to compare: from 2 to {len(ascii_uppercase)}")
    if metric is not None and metric not in OF_TRIALS:
        raise UserError(f"--metric {metric}: {choices(metric, OF_TRIALS)}")
    contestants = [read_contestant(one) for one in given]
    compared = tasks(contestants, metric)
    if metric == "final_loss":
        _check_losses(contestants, compared)
    pairs = compare(compared, kind)
    whole = overall(compared) if len(compared) > 1 else None
    if form == "json":
        write_json(screen(), _facts(given, compared, pairs, whole, kind))
    else:
        _show(contestants, compared, pairs, whole, kind, screen())


def _check_losses(contestants: Sequence[Contestant], compared: Sequence[ComparedTask]) -> None:
    for task in compared:
        settings = [
            spec_of(next(iter(side.trials().values()))["spec"]).get("method") or {"name": side.stage.method}
            for side in task.sides
        ]
        for contestant, other in zip(contestants[1:], settings[1:], strict=True):
            if trouble := loss_trouble(settings[0], other):
                raise UserError(f"--metric final_loss: {contestants[0].given} and {contestant.given}: {trouble}")


def _show(
    contestants: Sequence[Contestant],
    compared: Sequence[ComparedTask],
    pairs: Sequence[Comparison],
    whole: Overall | None,
    kind: str,
    console: Console,
) -> None:
    for letter, one in zip(ascii_uppercase, contestants, strict=False):
        console.print(f"{letter}: {one.given}", markup=False, soft_wrap=True)
    for task in compared:
        own = [_own(task, place, kind) for place in range(len(task.sides))]
        title = f"{task.name}: {MEASURES[task.column].words}, {_seeds(task)}"
        console.print(title, style="table.title", markup=False, soft_wrap=True)
        print_table(console, "", OWN, own)
        print_table(console, "", PAIRS, [_pair(one) for one in pairs if one.task is task])
    if whole is not None:
        _show_whole(whole, len(compared), compared[0].column, console)
    for note in _notes(compared, pairs, whole, kind):
        console.print(note, markup=False, soft_wrap=True)


def _own(task: ComparedTask, place: int, kind: str) -> list[str]:
    values, side = task.values[place], task.sides[place]
    name = params_text(side.config) or side.config["config_id"]
    return [ascii_uppercase[place], name, _with_interval(float(values.mean()), interval(values, kind), task.column)]


def _pair(one: Comparison) -> list[str]:
    return [
        f"{ascii_uppercase[one.first]} - {ascii_uppercase[one.second]}",
        _with_interval(one.mean, one.interval, one.task.column, "+"),
        "-" if one.p is None else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}",
        f"{100 * one.improvement:.0f} %",
        "-" if one.detectable is None else f"{one.detectable:.3g}",
    ]


def _show_whole(whole: Overall, num: int, column: str, console: Console) -> None:
    columns = [Column("", left=True, key=True), Column("interquartile mean (95 % interval)")]
    rows = [[ascii_uppercase[place], _with_interval(*one, column)] for place, one in enumerate(whole.iqms)]
    console.print(f"all {num} together", style="table.title", markup=False)
    print_table(console, "", columns, rows)
    columns = [Column("", left=True, key=True), Column("better (95 % interval)")]
    rows = [
        [f"{ascii_uppercase[first]} - {ascii_uppercase[second]}", _share(*one)]
        for (first, second), one in whole.improvements.items()
    ]
    print_table(console, "", columns, rows)


def _notes(
    compared: Sequence[ComparedTask], pairs: Sequence[Comparison], whole: Overall | None, kind: str
) -> list[str]:
    of = f"all {len(pairs)} comparisons" if len(pairs) > 1 else "one comparison"
    way = "greater" if is_highest(compared[0].column) else "lower"
    strictest = f"at {100 * ERROR / len(pairs):.2g} %" if len(pairs) > 1 else f"at {100 * ERROR:g} %"
    notes = [
        f"intervals: {WORDS[kind]}; differences are paired by seed, on the same labelled images, and not corrected",
        f"p: two-sided paired t tests, which take differences for normal; corrected for {of} (Holm)",
        f"better: how often a trial of the first has a {way} value than one of the second, ties half",
        f"detectable: the difference that such a test {strictest} finds {100 * POWER:g} % of the time with these seeds",
    ]
    if whole is not None:
        notes.append("all together: 95 % stratified bootstrap intervals (Agarwal et al. 2021); seeds are resampled")
    return notes


def _seeds(task: ComparedTask) -> str:
    return f"{len(task.seeds)} seeds" if len(task.seeds) > 1 else "one seed, which says nothing of noise"


def _with_interval(mean: float, ends: Interval | None, column: str, sign: str = "") -> str:
    form = f"{sign}.2f" if MEASURES[column].factor == 100 else f"{sign}.4g"
    return f"{mean:{form}}" + ("" if ends is None else f" ({ends[0]:{form}} to {ends[1]:{form}})")


def _share(mean: float, ends: Interval) -> str:
    return f"{100 * mean:.0f} % ({100 * ends[0]:.0f} to {100 * ends[1]:.0f})"


def _facts(
    given: Sequence[str],
    compared: Sequence[ComparedTask],
    pairs: Sequence[Comparison],
    whole: Overall | None,
    kind: str,
) -> dict[str, Any]:
    return {
        "compared": list(given),
        "measure": MEASURES[compared[0].column].words,
        "intervals": WORDS[kind],
        "tasks": [
            {
                "images": task.name,
                "seeds": task.seeds,
                "stages": [side.stage.stage_id for side in task.sides],
                "configs": [side.config["config_id"] for side in task.sides],
                "values": task.values.tolist(),
                "comparisons": [_pair_facts(given, one) for one in pairs if one.task is task],
            }
            for task in compared
        ],
        "together": None if whole is None else _whole_facts(given, whole),
    }


def _pair_facts(given: Sequence[str], one: Comparison) -> dict[str, Any]:
    return {
        "first": given[one.first],
        "second": given[one.second],
        "difference": one.mean,
        "differences": one.differences,
        "interval": one.interval,
        "p": one.p,
        "probability_of_improvement": one.improvement,
        "detectable": one.detectable,
    }


def _whole_facts(given: Sequence[str], whole: Overall) -> dict[str, Any]:
    return {
        "interquartile_means": [
            {"of": name, "mean": mean, "interval": ends} for name, (mean, ends) in zip(given, whole.iqms, strict=True)
        ],
        "probabilities_of_improvement": [
            {"first": given[first], "second": given[second], "probability": mean, "interval": ends}
            for (first, second), (mean, ends) in whole.improvements.items()
        ],
    }
