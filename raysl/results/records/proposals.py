"""The configs that an adaptive search proposed, and the results that it was told, in order: a JSON file per stage."""

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from raysl.results.records.json_records import read_record, write_record
from raysl.results.records.stages import Value
from raysl.results.storage.store import Store

FOLDER = "proposals"


@dataclass(frozen=True)
class Told:
    """The result of a config.

    number: of its proposal, from 0.
    status: `diverged` if a seed diverged or collapsed.
    values: of the search's objectives, means over the seeds; empty unless all seeds finished.
    """

    number: int
    status: Literal["finished", "stopped", "failed", "diverged"]
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """A config that was proposed.

    params: the values of the searched keys.  told: results that the search was told since the previous proposal.
    """

    params: dict[str, Value]
    told: tuple[Told, ...]


_PROPOSALS = TypeAdapter(list[Proposal])


def write_proposals(store: Store, stage_id: str, proposals: list[Proposal]) -> None:
    """Write `proposals/<stage_id>.json`."""
    write_record(store, f"{FOLDER}/{stage_id}.json", _PROPOSALS, proposals)


def read_proposals(store: Store, stage_id: str) -> list[Proposal]:
    """Return a stage's proposals, in order; empty if their record is missing, or damaged (logged, with its path)."""
    return read_record(store, f"{FOLDER}/{stage_id}.json", _PROPOSALS) or []
