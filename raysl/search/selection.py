"""The rules that select a stage's config, and the Pareto front: pure functions of its trials' rows.

No rule and no objective gets test scores as an argument, so none can read them.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from raysl.results.criteria import CRITERIA, CRITERION_NAMES, VOTE, voters
from raysl.results.metrics import METRIC_COLUMNS, METRICS, as_columns
from raysl.results.records.rows import Score, TrialRow
from raysl.results.records.stages import Ineligible, Member, Ranked, SelectionRecord, StageRecord
from raysl.results.tables.build import ConfigSummary
from raysl.search.code import mixture
from raysl.search.vote import first_choices, mean_ranks, with_mean_ranks

FEWEST_TIED = 3  # number of equal values that count as a tie, unless the values are the best possible
MOST_TIED = 5  # number of tied configs that a reason names


class Rule(NamedTuple):
    """column: the column of rows that is averaged over the seeds.  highest: whether higher is better.

    lacking: why a finished trial may have no value.
    """

    column: str
    words: str
    highest: bool
    lacking: str = "a class has fewer than 2 labelled training images"


class _Rules(dict[str, Rule]):
    """Rules by name; that of a vote is made from its name."""

    def __missing__(self, name: str) -> Rule:
        if not (names := voters(name)):
            raise KeyError(name)
        return Rule(VOTE, f"mean rank by {', '.join(names[:-1])} and {names[-1]}", highest=False, lacking=UNMEASURED)


UNMEASURED = "features of a trial have no such value, or its model was gone before they were measured"
RULES: dict[str, Rule] = _Rules(
    train_loss=Rule("final_loss", "mean final training loss", highest=False),
    **{
        metric.probe: Rule(metric.probe, f"mean probe {metric.words} on the labelled training images", highest=True)
        for metric in METRICS
    },
    **{one.name: Rule(one.name, f"mean {one.words}", one.highest, UNMEASURED) for one in CRITERIA},
)
_COLUMNS = ("final_loss", "seconds", *METRIC_COLUMNS, *CRITERION_NAMES)  # what is averaged over seeds
# The objectives that a search can have: the values of rules, and the training time.
OBJECTIVES = RULES | {"seconds": Rule("seconds", "mean training time", highest=False)}


def summarise(record: StageRecord, rows: Mapping[str, TrialRow], scores: Mapping[str, Score]) -> list[ConfigSummary]:
    """Return each config's mean and standard deviation over its seeds, in the order of the search.

    A config with a seed that has not finished, for whatever reason, has no means: no mean leaves a seed out.
    """
    found = [_summary(record, config_id, members, rows, scores) for config_id, members in by_config(record).items()]
    if names := voters(record.rule):
        found = with_mean_ranks(found, names)
    if len(record.objectives) < 2:
        return found
    front = pareto_front(found, record.objectives)
    return [replace(summary, pareto=summary.config_id in front) for summary in found]


def pareto_front(summaries: Iterable[ConfigSummary], objectives: Sequence[str]) -> set[str]:
    """Return the ids of the eligible configs that no other config dominates.

    One config dominates another if it is at least as good in all objectives and better in one.
    objectives: names of `OBJECTIVES`.  Configs of equal values are in the front together; one without a value is not.
    """
    rules = [OBJECTIVES[name] for name in objectives if name in OBJECTIVES]
    costs: dict[str, tuple[float, ...]] = {}
    for summary in summaries:
        if summary.eligible and all(rule.column in summary.means for rule in rules):
            costs[summary.config_id] = tuple((-1 if rule.highest else 1) * _value(summary, rule) for rule in rules)
    front: dict[str, tuple[float, ...]] = {}
    for name in sorted(costs, key=costs.__getitem__):  # a dominating config comes before the dominated one
        if not any(_beats(other, costs[name]) for other in front.values()):
            front[name] = costs[name]
    return set(front)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def by_config(record: StageRecord) -> dict[str, list[Member]]:
    """Return a stage's members by config, in the order of the search."""
    configs: dict[str, list[Member]] = {}
    for member in record.members:
        configs.setdefault(member.config_id, []).append(member)
    return configs


def select(record: StageRecord, rows: Mapping[str, TrialRow], selected_at: float) -> SelectionRecord:
    """Return the selection of a stage's config by its rule; of tied configs, the first of the search is selected."""
    rule = RULES[record.rule]
    summaries = [_judged(summary, rule) for summary in summarise(record, rows, {})]
    eligible = [summary for summary in summaries if summary.eligible]
    ranking = sorted(eligible, key=lambda summary: _value(summary, rule), reverse=rule.highest)
    best = ranking[0] if ranking else None
    members = by_config(record)[best.config_id] if best else []
    params = {config_id: config[0].params for config_id, config in by_config(record).items()}
    voted = _voted(record, eligible, params)
    reasons = _reason(rule, ranking, params), voted, mixture(_compared(record, eligible, rows))
    return SelectionRecord(
        stage_id=record.stage_id,
        rule=record.rule,
        config_id=best.config_id if best else None,
        params=dict(members[0].params) if members else {},
        trial_ids=tuple(member.trial_id for member in members),
        reason="; ".join(filter(None, reasons)),
        ineligible=tuple(Ineligible(s.config_id, s.reason) for s in summaries if not s.eligible),
        ranking=tuple(Ranked(s.config_id, _value(s, rule)) for s in ranking),
        selected_at=selected_at,
    )


def _compared(record: StageRecord, eligible: Sequence[ConfigSummary], rows: Mapping[str, TrialRow]) -> list[TrialRow]:
    configs = {summary.config_id for summary in eligible}
    return [rows[member.trial_id] for member in record.members if member.config_id in configs]


def compared_value(record: StageRecord, members: Sequence[Member], rows: Mapping[str, TrialRow]) -> float | None:
    """Return the value that a stage's rule compares, of one config; None if the config is not eligible (yet).

    members: of the config.
    """
    rule = RULES[record.rule]
    summary = _judged(_summary(record, members[0].config_id, members, rows, {}), rule)
    return _value(summary, rule) if summary.eligible else None


def _summary(
    record: StageRecord,
    config_id: str,
    members: Sequence[Member],
    rows: Mapping[str, TrialRow],
    scores: Mapping[str, Score],
) -> ConfigSummary:
    troubles = [trouble for member in members if (trouble := _trouble(member, rows.get(member.trial_id)))]
    finished = [] if troubles else [rows[member.trial_id] for member in members]
    values = [_values(row, scores.get(row.trial_id)) for row in finished]
    whole = {name: known for name in _COLUMNS if (known := _known([one[name] for one in values]))}
    return ConfigSummary(
        stage_id=record.stage_id,
        config_id=config_id,
        num_seeds=len(members),
        num_finished=sum(1 for member in members if _trouble(member, rows.get(member.trial_id)) is None),
        eligible=not troubles,
        reason="; ".join(troubles),
        means={name: statistics.fmean(values) for name, values in whole.items()},
        stds={name: _deviation(values) for name, values in whole.items() if name != "seconds" and len(values) > 1},
    )


def _trouble(member: Member, row: TrialRow | None) -> str | None:
    if row is None:
        return f"seed {member.seed} is not trained yet"
    return None if row.status == "finished" else f"seed {member.seed} {row.status} ({row.reason})"


def _judged(summary: ConfigSummary, rule: Rule) -> ConfigSummary:
    if summary.eligible and rule.column not in summary.means:
        reason = f"no {rule.column}: {rule.lacking}"
        return replace(summary, eligible=False, reason=reason)
    return summary


def _values(row: TrialRow, score: Score | None) -> dict[str, float | None]:
    tested = as_columns(score.metrics if score else {}, "test")
    measured = {name: row.criteria.get(name) for name in CRITERION_NAMES} | as_columns(row.probe, "probe")
    return {"final_loss": row.final_loss, "seconds": row.seconds} | measured | tested


def _known(values: Sequence[float | None]) -> tuple[float, ...]:
    """Return the values of all seeds; none if one is missing."""
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else ()


@lru_cache(maxsize=2**16)  # exact arithmetic is slow, and configs are summarised repeatedly
def _deviation(values: tuple[float, ...]) -> float:
    return statistics.stdev(values)


def _value(summary: ConfigSummary, rule: Rule) -> float:
    return summary.means[rule.column]


def _reason(rule: Rule, ranking: Sequence[ConfigSummary], params: Mapping[str, Mapping[str, object]]) -> str:
    if not ranking:
        return f"no config is eligible: none of {len(params)} has all its seeds finished"
    best = _value(ranking[0], rule)
    text = f"{'highest' if rule.highest else 'lowest'} {rule.words} over the seeds: {best:.6g}"
    if len(ranking) > 1 and _value(ranking[1], rule) != best:
        text += f" (next: {_value(ranking[1], rule):.6g})"
    tied = [f"({params_text(params[s.config_id])})" for s in ranking[1:] if _value(s, rule) == best]
    more = [f"{len(tied) - MOST_TIED} more"] if len(tied) > MOST_TIED else []
    named = ", ".join([*tied[:MOST_TIED], *more])
    return text + (f"; tied with {named}, the first of the search is taken" if tied else "")


def _voted(record: StageRecord, eligible: Sequence[ConfigSummary], params: Mapping[str, Mapping[str, object]]) -> str:
    """Return what each criterion of a vote would select alone; empty if the rule is no vote."""
    chosen = first_choices(eligible, voters(record.rule))
    texts = [f"{name} ({params_text(params[config_id])})" for name, config_id in chosen.items()]
    return f"alone would be taken by {', by '.join(texts)}" if texts else ""


def best_by(name: str, means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the ids of the configs that a rule puts first, those of equal values in the order of the search.

    means: over the seeds, by config and column; a config without the rule's value is left out.
    """
    rule, names = RULES[name], voters(name)
    values = (
        mean_ranks(means, names) if names else {i: own[rule.column] for i, own in means.items() if rule.column in own}
    )
    best = (max if rule.highest else min)(values.values(), default=None)
    return [config for config, value in values.items() if value == best]


def is_tie(values: Sequence[float], rule: Rule) -> bool:
    """Return whether all values are equal, and too many for this to be an accident.

    That is 2 values if they are the best possible, else FEWEST_TIED.
    """
    return len(set(values)) == 1 and len(values) >= (2 if rule.highest and values[0] == 1 else FEWEST_TIED)


def params_text(params: Mapping[str, object]) -> str:
    """Return `optimizer.lr=0.01, epochs=5` for a config's searched values."""
    return ", ".join(f"{key}={_shown(value)}" for key, value in params.items()) or "the only config"


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
