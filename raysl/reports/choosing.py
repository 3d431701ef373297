"""Which stages a report is of: named with `--stages`, or as cells of a paper's table with `--cells`."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase

from raysl.errors import ResultsError, UserError, choices
from raysl.reports.command import say
from raysl.reports.stages import Searched, read_stages, selected_of
from raysl.results.records.paper_tables import NOT_YET, read_paper_tables
from raysl.results.storage.file_systems import without_keys
from raysl.results.storage.store import Store


def add_choice(options: ArgumentParser, words: str = "only these") -> None:
    """Add `--stages` and `--cells`."""
    options.add_argument("--stages", metavar="A,B", help=f"{words}: STAGE, EXPERIMENT/STAGE or a stage's id")
    options.add_argument(
        "--cells", metavar="A,B", help=f"{words}, those of a searched table file: TABLE/ROW/COLUMN, with * for any"
    )


def chosen(given: Namespace) -> list[Searched]:
    """Return the stages that a report is asked for: `choose` of its arguments."""
    return choose(read_stages(given.results), given.results, given.stages, given.cells)


def choose(
    every: Sequence[Searched],
    results: Sequence[str],
    names: str | None,
    cells: str | None,
    tell: Callable[[str], None] = say,
) -> list[Searched]:
    """Return the selected stages of some names or cells, in their order; all if none is given.

    every: the stages of the results folders.  tell: is told of cells that are left out, and why.
    Raises ResultsError where nothing is selected, UserError where a name or a cell says nothing.
    """
    if cells is None:
        return selected_of(every, results, names)
    if names is not None:
        raise UserError(f"--cells {cells}: --stages is given too; leave one of the two out")
    selected = {stage.stage_id: stage for stage in selected_of(every, results)}
    found: dict[str, Searched] = {}
    for key, stage_id, reason in _cells(results, [pattern.strip() for pattern in cells.split(",")]):
        if stage_id in selected:
            found[stage_id] = selected[stage_id]
        else:
            tell(f"left out: {key}: {reason or 'nothing is selected there'}")
    if not found:
        raise ResultsError(f"--cells {cells}: none of them has a selected config")
    return list(found.values())


def _cells(uris: Sequence[str], patterns: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the cells that some patterns name: each one's key, its stage's id or nothing, and why there is none."""
    every = [tables for uri in dict.fromkeys(uris) for tables in read_paper_tables(Store.open(uri, create=False))]
    if not every:
        folders = ", ".join(without_keys(uri) for uri in uris)
        raise ResultsError(f"{folders}: no table file was searched here, so there are no cells; give --stages")
    keys = dict.fromkeys(cell.key for tables in every for cell in tables.cells)
    for pattern in patterns:
        matching = [key for key in keys if fnmatchcase(key, pattern)]
        if not matching:
            raise UserError(f"--cells {pattern}: no such cell; {choices(pattern, keys)}")
        for key in matching:
            for tables in (tables for tables in every if any(cell.key == key for cell in tables.cells)):
                stage_id = tables.stages.get(key, "")
                yield key, stage_id, "" if stage_id else tables.reasons.get(key, NOT_YET)
