"""Result rows, records and tables: one file per fact, written once, atomically (the truth).

Torch-free. `raysl.read(FOLDER)` gives the four published tables of a results folder.
"""

from raysl.results.rows import Epoch, Score, TrialRow, read_row, read_rows, read_scores, write_row, write_score
from raysl.results.stages import (
    Member,
    SelectionRecord,
    StageRecord,
    read_selections,
    read_stages,
    write_selection,
    write_stage,
)
from raysl.results.store import Store
from raysl.results.tables import ConfigSummary, Tables, build, publish, read

__all__ = [
    "ConfigSummary",
    "Epoch",
    "Member",
    "Score",
    "SelectionRecord",
    "StageRecord",
    "Store",
    "Tables",
    "TrialRow",
    "build",
    "publish",
    "read",
    "read_row",
    "read_rows",
    "read_scores",
    "read_selections",
    "read_stages",
    "write_row",
    "write_score",
    "write_selection",
    "write_stage",
]
