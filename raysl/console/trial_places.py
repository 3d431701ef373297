"""The trials of stages by id, those of folds among them, and what a search calls them."""

from collections.abc import Mapping, Sequence

from raysl.results.attack_text import attacked_text
from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import Member, StageRecord
from raysl.search.config_means import compared_value, params_text
from raysl.search.rules import RULES


def places_of(records: Sequence[StageRecord]) -> dict[str, tuple[StageRecord, Member]]:
    """Return each trial's stage and its place there, by trial id."""
    return {
        trial_id: (record, member)
        for record in records
        for member in record.members
        for trial_id in (member.trial_id, *member.folds)
    }


def is_sure(trial_id: str, member: Member) -> bool:
    """Return whether a trial is sure to be trained: one with all labels, beside folds, is if its config is selected."""
    return not member.folds or trial_id in member.folds


def trial_text(trial_id: str, member: Member) -> str:
    """Return a trial's searched values, its seed, and its fold if it has one."""
    fold = f" fold={member.folds.index(trial_id)}" if trial_id in member.folds else ""
    return f"{params_text(member.params)} seed={member.seed}{fold}"


def stage_text(record: StageRecord) -> str:
    """Return a stage's name with its experiment, its data and its backbone."""
    variant = f", {record.variant}" if record.variant else ""
    images = f"{record.data['labels']} labels of {record.data['source']}{attacked_text(record.data)}"
    return f"{record.experiment}/{record.stage} ({images}, {record.model['backbone']}{variant})"


def folds_text(record: StageRecord, members: Sequence[Member], rows: Mapping[str, TrialRow]) -> str:
    """Return that a config is chosen by its folds, and is trained with all labels; members: of the config.

    Its value is not always the highest: the cheapest of the tie set may be chosen, or the next best.
    """
    value = compared_value(record, members, rows)
    chosen = f"({params_text(members[0].params)}) is chosen by its folds, {RULES[record.rule].words} {value:.6g}"
    return f"{chosen}; it is trained with all labels ({len(members)} seeds)"
