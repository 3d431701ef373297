"""The selection of a stage's config, and why: a pure function of its trials' rows."""

from collections.abc import Mapping, Sequence

from raysl.results.criteria import voters
from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import Ineligible, Ranked, SelectionRecord, StageRecord
from raysl.results.tables.build import ConfigSummary
from raysl.search.code import mixture
from raysl.search.config_means import by_config, judged, params_text, summarise, value_of
from raysl.search.rules import RULES, Rule
from raysl.search.vote import first_choices
from raysl.statistics.paired import ERROR, is_same

FEWEST_TIED = 3  # number of equal values that count as a tie, unless the values are the best possible
MOST_TIED = 5  # number of tied configs that a reason names


def select(record: StageRecord, rows: Mapping[str, TrialRow], selected_at: float) -> SelectionRecord:
    """Return the selection of a stage's config by its rule.

    Of configs whose values differ by rounding only, the first of the search is selected; if the stage takes the
    cheapest of the tie set, that of the least mean training time.
    """
    rule = RULES[record.rule]
    summaries = [judged(summary, rule) for summary in summarise(record, rows, {})]
    eligible = [summary for summary in summaries if summary.eligible]
    ranking = _ranking(eligible, rule)
    best = _taken(record, ranking)
    members = by_config(record)[best.config_id] if best else []
    params = {config_id: config[0].params for config_id, config in by_config(record).items()}
    reasons = (
        _why(record, ranking, best, params),
        _voted(record, eligible, params),
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
        ranking=tuple(Ranked(s.config_id, value_of(s, rule)) for s in ranking),
        selected_at=selected_at,
    )


def _ranking(eligible: Sequence[ConfigSummary], rule: Rule) -> list[ConfigSummary]:
    """Return configs, best first; those that differ from the best by rounding only in the order of the search."""
    ranking = sorted(eligible, key=lambda summary: value_of(summary, rule), reverse=rule.highest)
    is_best = {s.config_id: is_same(value_of(s, rule), value_of(ranking[0], rule)) for s in ranking}
    return [s for s in eligible if is_best[s.config_id]] + [s for s in ranking if not is_best[s.config_id]]


def _taken(record: StageRecord, ranking: Sequence[ConfigSummary]) -> ConfigSummary | None:
    if record.ties == "cheapest" and (tied := [summary for summary in ranking if summary.in_tie_set]):
        order = {config_id: place for place, config_id in enumerate(by_config(record))}
        return min(tied, key=lambda summary: (summary.means["seconds"], order[summary.config_id]))
    return ranking[0] if ranking else None


def _compared(record: StageRecord, eligible: Sequence[ConfigSummary], rows: Mapping[str, TrialRow]) -> list[TrialRow]:
    configs = {summary.config_id for summary in eligible}
    members = [member for member in record.members if member.config_id in configs]
    return [rows[trial_id] for member in members for trial_id in member.folds or [member.trial_id]]


def _reason(rule: Rule, ranking: Sequence[ConfigSummary], params: Mapping[str, Mapping[str, object]]) -> str:
    if not ranking:
        return f"no config is eligible: none of {len(params)} has all its seeds finished"
    best = value_of(ranking[0], rule)
    text = f"{'highest' if rule.highest else 'lowest'} {rule.words} over the seeds: {best:.6g}"
    if len(ranking) > 1 and not is_same(value_of(ranking[1], rule), best):
        text += f" (next: {value_of(ranking[1], rule):.6g})"
    tied = [f"({params_text(params[s.config_id])})" for s in ranking[1:] if is_same(value_of(s, rule), best)]
    more = [f"{len(tied) - MOST_TIED} more"] if len(tied) > MOST_TIED else []
    named = ", ".join([*tied[:MOST_TIED], *more])
    return text + (f"; tied with {named}, the first of the search is taken" if tied else "")


def _race_text(record: StageRecord, summaries: Sequence[ConfigSummary]) -> str:
    num_dropped = sum(summary.dropped_in_round is not None for summary in summaries)
    if record.race is None or not num_dropped:
        return ""
    whole = len(summaries) * len(record.race.seeds)
    which = "the best" if record.race.num_configs is None else "one that is no worse than those before it"
    return (
        f"a race dropped {num_dropped} of {len(summaries)} configs ({which} with a probability of at most "
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
    return f"{summary.means['seconds']:.4g} s a trial, {rule.words} over the seeds {value_of(summary, rule):.6g}"


def _voted(record: StageRecord, eligible: Sequence[ConfigSummary], params: Mapping[str, Mapping[str, object]]) -> str:
    """Return what each criterion of a vote would select alone; empty if the rule is no vote."""
    chosen = first_choices(eligible, voters(record.rule))
    texts = [f"{name} ({params_text(params[config_id])})" for name, config_id in chosen.items()]
    return f"alone would be taken by {', by '.join(texts)}" if texts else ""


def is_tie(values: Sequence[float], rule: Rule) -> bool:
    """Return whether all values are equal but for rounding, and too many for this to be an accident.

    That is 2 values if they are the best possible, else FEWEST_TIED.
    """
    same = all(is_same(value, values[0]) for value in values)
    return bool(values) and same and len(values) >= (2 if rule.highest and values[0] == 1 else FEWEST_TIED)
