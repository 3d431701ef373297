"""The rules that select a stage's config, and the Pareto front: pure functions of its trials' rows.

No rule and no objective gets test scores as an argument, so none can read them.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from raysl.results.metrics import METRIC_COLUMNS, METRICS, as_columns
from raysl.results.records.rows import Score, TrialRow
from raysl.results.records.stages import Ineligible, Member, Ranked, SelectionRecord, StageRecord
from raysl.results.tables.build import ConfigSummary
from raysl.search.code import mixture
from raysl.search.race import Drop, Standing, replay
from raysl.statistics.paired import ERROR, is_same, tie_set

FEWEST_TIED = 3  # number of equal values that count as a tie, unless the values are the best possible
MOST_TIED = 5  # number of tied configs that a reason names


class Rule(NamedTuple):
    """column: the column of rows that is averaged over the seeds.  highest: whether higher is better."""

    column: str
    words: str
    highest: bool


RULES = {
    "train_loss": Rule("final_loss", "mean final training loss", highest=False),
    **{
        metric.probe: Rule(metric.probe, f"mean probe {metric.words} on the labelled training images", highest=True)
        for metric in METRICS
    },
}
_COLUMNS = ("final_loss", "seconds", *METRIC_COLUMNS)  # what is averaged over seeds
# The objectives that a search can have: the values of rules, and the training time.
OBJECTIVES = RULES | {"seconds": Rule("seconds", "mean training time", highest=False)}


def summarise(record: StageRecord, rows: Mapping[str, TrialRow], scores: Mapping[str, Score]) -> list[ConfigSummary]:
    """Return each config's mean and standard deviation over its seeds, in the order of the search.

    A config with a seed that has not finished, for whatever reason, has no means: no mean leaves a seed out.
    """
    found = [_summary(record, config_id, members, rows, scores) for config_id, members in by_config(record).items()]
    if record.race is not None:
        dropped = standing_of(record, rows).dropped
        found = [_dropped(one, dropped[one.config_id], record) if one.config_id in dropped else one for one in found]
    found = _with_ties(record, found, rows)
    if len(record.objectives) < 2:
        return found
    front = pareto_front(found, record.objectives)
    return [replace(summary, pareto=summary.config_id in front) for summary in found]


def _with_ties(
    record: StageRecord, summaries: Sequence[ConfigSummary], rows: Mapping[str, TrialRow]
) -> list[ConfigSummary]:
    """Return summaries that say which configs are in the tie set, where a second seed allows a test."""
    rule, members = RULES[record.rule], by_config(record)
    known = [summary for summary in summaries if summary.eligible and rule.column in summary.means]
    seeds = {seed: place for place, seed in enumerate(sorted({member.seed for member in record.members}))}
    if len(known) < 2 or all(summary.num_seeds < 2 for summary in known):
        return list(summaries)
    values = np.full((len(known), len(seeds)), np.nan)
    for place, summary in enumerate(known):
        for member in members[summary.config_id]:
            values[place, seeds[member.seed]] = _values(rows[member.trial_id], None)[rule.column]
    tied = {known[place].config_id for place in np.flatnonzero(tie_set(values, rule.highest))}
    return [replace(summary, in_tie_set=summary.config_id in tied) for summary in summaries]


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


def standing_of(record: StageRecord, rows: Mapping[str, TrialRow]) -> Standing:
    """Return how a stage's race stands; a trial that the record does not list has not ended."""
    assert record.race is not None, "the stage is raced"
    rule = RULES[record.rule]
    ended: dict[str, dict[int, float | None]] = {member.config_id: {} for member in record.members}
    for member in record.members:
        if (row := rows.get(member.trial_id)) is not None:
            value = _values(row, None)[rule.column] if row.status == "finished" else None
            ended[member.config_id][member.seed] = -value if rule.highest and value is not None else value
    return replay(record.race, tuple(ended), ended)


def _dropped(summary: ConfigSummary, drop: Drop, record: StageRecord) -> ConfigSummary:
    reason = f"dropped in round {drop.number}, at {drop.num_seeds} seeds: {drop_text(record, drop)}"
    return replace(summary, eligible=False, reason=reason, dropped_in_round=drop.number)


def drop_text(record: StageRecord, drop: Drop) -> str:
    """Return by how much a config was worse, than which other, and how surely."""
    params = next(member.params for member in record.members if member.config_id == drop.leader)
    worse = f"{RULES[record.rule].words} {drop.difference:.3g} worse than that of ({params_text(params)})"
    return f"{worse}, p = {drop.p:.2g} <= {drop.level:.2g}"


def select(record: StageRecord, rows: Mapping[str, TrialRow], selected_at: float) -> SelectionRecord:
    """Return the selection of a stage's config by its rule.

    Of configs whose values differ by rounding only, the first of the search is selected; if the stage takes the
    cheapest of the tie set, that of the least mean training time.
    """
    rule = RULES[record.rule]
    summaries = [_judged(summary, rule) for summary in summarise(record, rows, {})]
    eligible = [summary for summary in summaries if summary.eligible]
    ranking = _ranking(eligible, rule)
    best = _taken(record, ranking)
    members = by_config(record)[best.config_id] if best else []
    params = {config_id: config[0].params for config_id, config in by_config(record).items()}
    reasons = (
        _why(record, ranking, best, params),
        _race_text(record, summaries),
        mixture(_compared(record, eligible, rows)),
    )
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


def _ranking(eligible: Sequence[ConfigSummary], rule: Rule) -> list[ConfigSummary]:
    """Return configs, best first; those that differ from the best by rounding only in the order of the search."""
    ranking = sorted(eligible, key=lambda summary: _value(summary, rule), reverse=rule.highest)
    is_best = {s.config_id: is_same(_value(s, rule), _value(ranking[0], rule)) for s in ranking}
    return [s for s in eligible if is_best[s.config_id]] + [s for s in ranking if not is_best[s.config_id]]


def _taken(record: StageRecord, ranking: Sequence[ConfigSummary]) -> ConfigSummary | None:
    if record.ties == "cheapest" and (tied := [summary for summary in ranking if summary.in_tie_set]):
        order = {config_id: place for place, config_id in enumerate(by_config(record))}
        return min(tied, key=lambda summary: (summary.means["seconds"], order[summary.config_id]))
    return ranking[0] if ranking else None


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
        reason = f"no {rule.column}: a class has fewer than 2 labelled training images"
        return replace(summary, eligible=False, reason=reason)
    return summary


def _values(row: TrialRow, score: Score | None) -> dict[str, float | None]:
    tested = as_columns(score.metrics if score else {}, "test")
    return {"final_loss": row.final_loss, "seconds": row.seconds} | as_columns(row.probe, "probe") | tested


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
    if len(ranking) > 1 and not is_same(_value(ranking[1], rule), best):
        text += f" (next: {_value(ranking[1], rule):.6g})"
    tied = [f"({params_text(params[s.config_id])})" for s in ranking[1:] if is_same(_value(s, rule), best)]
    more = [f"{len(tied) - MOST_TIED} more"] if len(tied) > MOST_TIED else []
    named = ", ".join([*tied[:MOST_TIED], *more])
    return text + (f"; tied with {named}, the first of the search is taken" if tied else "")


def _race_text(record: StageRecord, summaries: Sequence[ConfigSummary]) -> str:
    num_dropped = sum(summary.dropped_in_round is not None for summary in summaries)
    if record.race is None or not num_dropped:
        return ""
    whole = len(summaries) * len(record.race.seeds)
    return (
        f"a race dropped {num_dropped} of {len(summaries)} configs (the best with a probability of at most "
        f"{record.race.error:g}) and saved {whole - len(record.members)} of {whole} trials"
    )


def _why(
    record: StageRecord,
    ranking: Sequence[ConfigSummary],
    taken: ConfigSummary | None,
    params: Mapping[str, Mapping[str, object]],
) -> str:
    rule = RULES[record.rule]
    if record.ties == "first" or taken is None:
        return _reason(rule, ranking, params)
    num_tied, error = sum(bool(summary.in_tie_set) for summary in ranking), f"{100 * ERROR:g} %"
    if num_tied < 2:
        return f"{_reason(rule, ranking, params)}; no other config ties with it at {error}"
    text = f"cheapest of the {num_tied} configs that cannot be told from the best at {error}: {_costs(taken, rule)}"
    if taken is ranking[0]:
        return f"{text}, and the best"
    return f"{text}; the best ({params_text(params[ranking[0].config_id])}): {_costs(ranking[0], rule)}"


def _costs(summary: ConfigSummary, rule: Rule) -> str:
    return f"{summary.means['seconds']:.4g} s a trial, {rule.words} over the seeds {_value(summary, rule):.6g}"


def is_tie(values: Sequence[float], rule: Rule) -> bool:
    """Return whether all values are equal but for rounding, and too many for this to be an accident.

    That is 2 values if they are the best possible, else FEWEST_TIED.
    """
    same = all(is_same(value, values[0]) for value in values)
    return bool(values) and same and len(values) >= (2 if rule.highest and values[0] == 1 else FEWEST_TIED)


def params_text(params: Mapping[str, object]) -> str:
    """Return `optimizer.lr=0.01, epochs=5` for a config's searched values."""
    return ", ".join(f"{key}={_shown(value)}" for key, value in params.items()) or "the only config"


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
