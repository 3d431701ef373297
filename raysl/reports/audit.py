"""What selecting without a validation set gave up, in stages whose configs are all scored (`raysl tune --score all`).

    uv run python -m analysis.audit RESULTS_DIR... [--stages|--cells A,B] [--format text|markdown|latex]

Per stage: the regret of the selection rule, in percentage points of test accuracy, against the config of the best mean
test accuracy: the mean of the differences paired by seed, with a 95 % t interval over the seeds.
Per rule: the same for each rule that a stage has values of, and the mean over the stages, with an interval over them.
"""

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from raysl.errors import ResultsError
from raysl.reports import figures, tables
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.regrets import UPPER_BOUND, Regret, interval, obstacle, regret, regrets_of_rules, write_arrow
from raysl.reports.stages import Row, Searched, params_text, read_stages, titles
from raysl.reports.tables import Table
from raysl.results.criteria import voters

NOTE = "Dots: means; lines: 95 % t intervals; ticks: seeds; open: the rule chose the best."
LABEL_WIDTH = 34  # characters
ROW_HEIGHT = 0.36  # inches


def table(names: Sequence[str], regrets: Sequence[Regret], notes: Sequence[str]) -> Table:
    """Return a row per stage."""
    return Table(
        title="Regret of the selection rule against the best of the scored configs",
        header=(
            "stage", "method", "rule", "seeds", "configs", "selected", "accuracy %", "best", "accuracy %",
            "regret, points", "95 % interval",
        ),
        rows=tuple(_row(name, one) for name, one in zip(names, regrets, strict=True)),
        notes=(_summary(regrets), UPPER_BOUND, *notes),
    )  # fmt: skip


def _row(name: str, one: Regret) -> tuple[str, ...]:
    return (
        name,
        one.stage.method,
        _rule_text(one.rule),
        str(len(one.differences)),
        str(len(one.stage.configs)),
        params_text(one.selected),
        _spread(one.selected, one.stage.metric.test),
        "the selected" if one.best is one.selected else params_text(one.best),
        _spread(one.best, one.stage.metric.test),
        f"{one.mean:.2f}",
        _interval(one.interval),
    )


def rules_table(names: Sequence[str], regrets: Sequence[Sequence[Regret]]) -> Table:
    """Return a row per rule over the stages, then one per rule and stage.

    regrets: of each stage's rules (`regrets.regrets_of_rules`).
    """
    found: dict[str, list[tuple[str, Regret]]] = {}
    for name, own in zip(names, regrets, strict=True):
        for one in own:
            found.setdefault(_rule_text(one.rule), []).append((name, one))
    rows = []
    for rule, cases in sorted(found.items(), key=lambda case: _mean(case[1])):
        between = interval([one.mean for _, one in cases])
        num_best = sum(one.best is one.selected for _, one in cases)
        whole = (rule, f"all {len(cases)}", f"best in {num_best}", f"{_mean(cases):.2f}", _interval(between))
        each = [
            (rule, name, params_text(one.selected), f"{one.mean:.2f}", _interval(one.interval)) for name, one in cases
        ]
        rows += [whole, *each] if len(cases) > 1 else each
    return Table(
        title="Regret of each rule against the best of the scored configs, rules of the lowest mean first",
        header=("rule", "stage", "selected", "regret, points", "95 % interval"),
        rows=tuple(rows),
        notes=("Intervals of a stage are over its seeds, paired; of all stages, over the stages.", UPPER_BOUND),
    )


def _rule_text(rule: str) -> str:
    return f"vote of {len(names)}" if len(names := voters(rule)) > 3 else rule


def _mean(cases: Sequence[tuple[str, Regret]]) -> float:
    return statistics.fmean(one.mean for _, one in cases)


def _interval(found: tuple[float, float] | None) -> str:
    return "-" if found is None else f"{found[0]:+.2f} to {found[1]:+.2f}"


def _spread(config: Row, column: str) -> str:
    std = config[f"{column}_std"]
    return f"{100 * config[f'{column}_mean']:.2f}" + (f" ± {100 * std:.2f}" if std is not None else "")


def _summary(regrets: Sequence[Regret]) -> str:
    num_best = sum(one.best is one.selected for one in regrets)
    mean = statistics.fmean(one.mean for one in regrets)
    return f"The rule chose the best config in {num_best} of {len(regrets)} stages; mean regret {mean:.2f} points."


def _remarks(names: Sequence[str], regrets: Sequence[Regret], left_out: Mapping[str, str]) -> list[str]:
    pairs = zip(names, regrets, strict=True)
    ineligible = "; ".join(f"{name}: {one.num_ineligible}" for name, one in pairs if one.num_ineligible)
    remarks = [_ties(names, regrets)]
    remarks += [f"Configs that no rule could choose, and that are left out: {ineligible}."] if ineligible else []
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return remarks + [f"Not audited: {'; '.join(alike)}: {reason}." for reason, alike in reasons.items()]


def _ties(names: Sequence[str], regrets: Sequence[Regret]) -> str:
    """Return how many other configs tie with the selected and with the best one of each stage."""
    found = [
        f"{name}: {one.num_tied_selected} with the selected, {one.num_tied_best} with the best"
        for name, one in zip(names, regrets, strict=True)
        if one.num_tied_selected or one.num_tied_best
    ]
    num_without = len(regrets) - len(found)
    rest = "none" if not found else f"none in the other {num_without}" if num_without else ""
    return f"Ties: {'; '.join(filter(None, [*found, rest]))}."


def _obstacles(names: Sequence[str], stages: Sequence[Searched]) -> list[str | None]:
    """Return why each stage cannot be audited, or need not: one that two experiments share counts once."""
    first: dict[frozenset[str], str] = {}
    found = []
    for name, stage in zip(names, stages, strict=True):
        same = first.setdefault(frozenset(trial["trial_id"] for trial in stage.trials), name)
        found.append(obstacle(stage) or (f"the same trials as {same}" if same != name else None))
    return found


@figures.styled
def draw(names: Sequence[str], regrets: Sequence[Regret], note: str) -> Figure:
    """Draw a line per stage: its regret and the interval."""
    figure, (panel,) = figures.panels(1, note, height=0.45 + ROW_HEIGHT * len(regrets))
    panel.axvline(0, color=figures.GREY, linewidth=0.6)
    for place, one in enumerate(regrets):
        fill = "white" if one.best is one.selected else figures.PALETTE[0]
        if one.interval is not None:
            panel.plot(one.interval, [place, place], color=figures.PALETTE[0], linewidth=1.0)
        panel.plot(one.differences, [place] * len(one.differences), "|", color=figures.GREY, markersize=6)
        panel.plot(one.mean, place, "o", color=figures.PALETTE[0], markerfacecolor=fill, markersize=4.5)
    labels = [f"{name}, {len(one.differences)} seeds" for name, one in zip(names, regrets, strict=True)]
    panel.set_yticks(range(len(labels)), [figures.wrapped(label, LABEL_WIDTH) for label in labels])
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.set_xlabel("regret (percentage points)")
    return figure


def main(arguments: Arguments) -> None:
    """Print and write the table, the Arrow file and the figure."""
    options = parser("audit", __doc__ or "")
    add_choice(options)
    options.add_argument("--format", choices=list(tables.FORMATS), default="text")
    given = options.parse_args(arguments)
    is_choice = given.stages is not None or given.cells is not None
    stages = chosen(given) if is_choice else read_stages(given.results)
    folder = out_folder(given.results, given.out)
    every = titles(stages)
    obstacles = list(zip(every, stages, _obstacles(every, stages), strict=True))
    left_out = {name: reason for name, _, reason in obstacles if reason}
    if len(left_out) == len(stages):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ResultsError(f"{', '.join(given.results)}: nothing to audit: {reasons or 'no stages'}")
    names, audited = zip(*((name, stage) for name, stage, reason in obstacles if not reason), strict=True)
    regrets = [regret(stage) for stage in audited]
    found = table(names, regrets, _remarks(names, regrets, left_out))
    every_rule = [regrets_of_rules(stage) for stage in audited]
    write = tables.FORMATS[given.format][0]
    content = "\n".join([write(found), write(rules_table(names, every_rule))])
    write_arrow(regrets, [(stage, reason) for _, stage, reason in obstacles if reason], folder / "audit.arrow")
    write_arrow([one for own in every_rule for one in own], [], folder / "audit_rules.arrow")
    say(content)
    written = [tables.save(content, folder, "audit", given.format), folder / "audit.arrow"]
    say_written([*written, folder / "audit_rules.arrow"])
    say_written(figures.save(draw(names, regrets, f"{NOTE} {UPPER_BOUND}"), folder, "audit"))
