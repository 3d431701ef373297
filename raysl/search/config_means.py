"""Each config's means over its seeds, with its place in the race, the tie set and the Pareto front of its stage."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from raysl.results.criteria import CRITERION_NAMES, voters
from raysl.results.cross_fit import CROSS_FITTED
from raysl.results.metrics import METRIC_COLUMNS, as_columns
from raysl.results.records.fold_rows import cross_fitted
from raysl.results.records.rows import Score, TrialRow
from raysl.results.records.stages import Member, Race, StageRecord
from raysl.results.tables.build import ConfigSummary
from raysl.search.race import Drop, Ended, Standing, replay
from raysl.search.race_of_proposals import replay_proposals
from raysl.search.rules import OBJECTIVES, RULES, Rule
from raysl.search.vote import with_mean_ranks
from raysl.statistics.paired import tie_set

_COLUMNS = ("final_loss", "seconds", *METRIC_COLUMNS, *CRITERION_NAMES)  # what is averaged over seeds


def summarise(record: StageRecord, rows: Mapping[str, TrialRow], scores: Mapping[str, Score]) -> list[ConfigSummary]:
    """Return each config's mean and standard deviation over its seeds, in the order of the search.

    A config with a seed that has not finished, for whatever reason, has no means: no mean leaves a seed out.
    """
    found = [_summary(record, config_id, members, rows, scores) for config_id, members in by_config(record).items()]
    if record.race is not None:
        dropped = standing_of(record, rows).dropped
        found = [_dropped(one, dropped[one.config_id], record) if one.config_id in dropped else one for one in found]
        found = [_undecided(one, record.race) if one.eligible else one for one in found]
    found = _with_ties(record, found, rows)
    if names := voters(record.rule):
        found = with_mean_ranks(found, names)
    if len(record.objectives) < 2:
        return found
    front = pareto_front(found, record.objectives)
    return [replace(summary, pareto=summary.config_id in front) for summary in found]


def _with_ties(
    record: StageRecord, summaries: Sequence[ConfigSummary], rows: Mapping[str, TrialRow]
) -> list[ConfigSummary]:
    """Return summaries that say which configs are in the tie set, where a second seed allows a test.

    A vote has no tie set, because no seed has a value of it; nor have cells of a design, which are not independent.
    """
    rule, members = RULES[record.rule], by_config(record)
    known = [summary for summary in summaries if summary.eligible and rule.column in summary.means]
    seeds = {seed: place for place, seed in enumerate(sorted({member.seed for member in record.members}))}
    if len(known) < 2 or record.design is not None or all(summary.num_seeds < 2 for summary in known):
        return list(summaries)
    values = np.full((len(known), len(seeds)), np.nan)
    for place, summary in enumerate(known):
        for member in members[summary.config_id]:
            values[place, seeds[member.seed]] = _values(member, rows, {})[rule.column]
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
            costs[summary.config_id] = tuple((-1 if rule.highest else 1) * value_of(summary, rule) for rule in rules)
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
    ended = ended_values(record, rows)
    decide = replay if record.race.num_configs is None else replay_proposals
    return decide(record.race, tuple(ended), ended)


def ended_values(record: StageRecord, rows: Mapping[str, TrialRow]) -> Ended:
    """Return what a stage's rule compares, by config and seed, of the trials that have ended."""
    rule = RULES[record.rule]
    ended: dict[str, dict[int, float | None]] = {member.config_id: {} for member in record.members}
    for member in record.members:
        if (row := rows.get(member.trial_id)) is not None:
            value = _values(member, rows, {})[rule.column] if row.status == "finished" else None
            ended[member.config_id][member.seed] = -value if rule.highest and value is not None else value
    return ended


def _dropped(summary: ConfigSummary, drop: Drop, record: StageRecord) -> ConfigSummary:
    reason = f"dropped in round {drop.number}, at {drop.num_seeds} seeds: {drop_text(record, drop)}"
    return replace(summary, eligible=False, reason=reason, dropped_in_round=drop.number)


def _undecided(summary: ConfigSummary, race: Race) -> ConfigSummary:
    """Return that a proposed config is not eligible until it has all seeds: another has more or fewer of them.

    Configs that are all known get their seeds in rounds, and have equally many.
    """
    if race.num_configs is None or summary.num_seeds == len(race.seeds):
        return summary
    return replace(
        summary, eligible=False, reason=f"the race has given it {summary.num_seeds} of {len(race.seeds)} seeds so far"
    )


def drop_text(record: StageRecord, drop: Drop) -> str:
    """Return by how much a config was worse, than which other, and how surely."""
    params = next(member.params for member in record.members if member.config_id == drop.leader)
    worse = f"{RULES[record.rule].words} {drop.difference:.3g} worse than that of ({params_text(params)})"
    return f"{worse}, p = {drop.p:.2g} <= {drop.level:.2g}"


def compared_value(record: StageRecord, members: Sequence[Member], rows: Mapping[str, TrialRow]) -> float | None:
    """Return the value that a stage's rule compares, of one config; None if the config is not eligible (yet).

    members: of the config.
    """
    rule = RULES[record.rule]
    summary = judged(_summary(record, members[0].config_id, members, rows, {}), rule)
    return value_of(summary, rule) if summary.eligible else None


def _summary(
    record: StageRecord,
    config_id: str,
    members: Sequence[Member],
    rows: Mapping[str, TrialRow],
    scores: Mapping[str, Score],
) -> ConfigSummary:
    troubles = [trouble for member in members if (trouble := _trouble(member, rows))]
    values = [] if troubles else [_values(member, rows, scores) for member in members]
    whole = {name: known for name in _COLUMNS if (known := _known([one[name] for one in values]))}
    return ConfigSummary(
        stage_id=record.stage_id,
        config_id=config_id,
        num_seeds=len(members),
        num_finished=sum(1 for member in members if _trouble(member, rows) is None),
        eligible=not troubles,
        reason="; ".join(troubles),
        means={name: statistics.fmean(values) for name, values in whole.items()},
        stds={name: _deviation(values) for name, values in whole.items() if name != "seconds" and len(values) > 1},
    )


def _trouble(member: Member, rows: Mapping[str, TrialRow]) -> str | None:
    """Return why a seed has no value that counts; None if it has.

    A seed of folds needs the trials of all of these.  Its own trial is trained only if its config is selected, and
    counts if it has ended.
    """
    parts = {f"fold {number} of seed {member.seed}": trial_id for number, trial_id in enumerate(member.folds)}
    if not member.folds or member.trial_id in rows:
        parts[f"seed {member.seed}"] = member.trial_id
    for name, trial_id in parts.items():
        row = rows.get(trial_id)
        if row is None:
            return f"{name} is not trained yet"
        if row.status != "finished":
            return f"{name} {row.status} ({row.reason})"
    return None


def judged(summary: ConfigSummary, rule: Rule) -> ConfigSummary:
    """Return a config, not eligible and with the reason if it lacks the mean that a rule compares."""
    if summary.eligible and rule.column not in summary.means:
        reason = f"no {rule.column}: {rule.lacking}"
        return replace(summary, eligible=False, reason=reason)
    return summary


def _values(member: Member, rows: Mapping[str, TrialRow], scores: Mapping[str, Score]) -> dict[str, float | None]:
    """Return a seed's values by column; None where there is none.

    Of a seed of folds, the time is the mean over the trials of these, which every config has.
    """
    row, score = rows.get(member.trial_id), scores.get(member.trial_id)
    found: dict[str, float | None] = dict(as_columns(score.metrics if score else {}, "test"))
    found |= as_columns(row.probe if row else {}, "probe")
    found |= {name: row.criteria.get(name) if row else None for name in CRITERION_NAMES}
    found |= {name: getattr(row, name, None) for name in ("final_loss", "seconds")}
    if member.folds:
        found["seconds"] = statistics.fmean(rows[trial_id].seconds for trial_id in member.folds)
    return found | {CROSS_FITTED: cross_fitted(member, rows)}


def _known(values: Sequence[float | None]) -> tuple[float, ...]:
    """Return the values of all seeds; none if one is missing."""
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else ()


@lru_cache(maxsize=2**16)  # exact arithmetic is slow, and configs are summarised repeatedly
def _deviation(values: tuple[float, ...]) -> float:
    return statistics.stdev(values)


def value_of(summary: ConfigSummary, rule: Rule) -> float:
    """Return the mean that a rule compares."""
    return summary.means[rule.column]


def params_text(params: Mapping[str, object]) -> str:
    """Return `optimizer.lr=0.01, epochs=5` for a config's searched values."""
    return ", ".join(f"{key}={_shown(value)}" for key, value in params.items()) or "the only config"


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
