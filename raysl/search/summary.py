"""A results folder's four tables, from its rows, scores, stages and selections."""

from raysl.results.rows import read_rows, read_scores
from raysl.results.stages import read_selections, read_stages
from raysl.results.store import Store
from raysl.results.tables import Tables, build
from raysl.search.selection import summarise


def summarise_store(store: Store) -> Tables:
    """Build the tables of everything that a results folder holds."""
    stages = read_stages(store)
    ids = {member.trial_id for stage in stages for member in stage.members}
    rows, scores = read_rows(store, ids), read_scores(store, ids)
    configs = [summary for stage in stages for summary in summarise(stage, rows, scores)]
    return build(stages, rows, scores, configs, read_selections(store))
