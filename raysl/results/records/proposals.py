"""The configs that an adaptive search proposed, and the results that it was told: one JSON file for each config.

Its name is `proposals/<stage_id>/<number>.<token>.json`, and no later search writes it again.  A driver that was fenced
may have written a proposal that its successor has not read, and proposes anew; the token of the successor is greater.
"""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from raysl.results.records.json_records import read_record, write_record
from raysl.results.records.stages import Value
from raysl.results.storage.store import Store

FOLDER = "proposals"
_NAME = re.compile(r"(\d{1,9})\.(\d{1,9})\.json")
_THREADS = 16  # reading is waiting: for the disk, or for the object store


@dataclass(frozen=True)
class Told:
    """The result of a config.

    number: of its proposal, from 0.
    status: `diverged` if a seed diverged or collapsed.
    values: of the search's objectives, means over the seeds; empty unless all seeds finished.  In a race, of a config
        without all its seeds: the mean that it would have.
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


_PROPOSAL = TypeAdapter(Proposal)
_PROPOSALS = TypeAdapter(list[Proposal])


def write_proposal(store: Store, stage_id: str, number: int, token: int, proposal: Proposal) -> None:
    """Write a stage's proposal; token: the fencing token of the driver that proposes."""
    write_record(store, f"{FOLDER}/{stage_id}/{number}.{token}.json", _PROPOSAL, proposal)


def read_proposals(store: Store, stage_id: str) -> list[Proposal]:
    """Return a stage's proposals, in order, up to the first that is missing, or damaged (logged, with its path).

    Of several proposals of one number, that with the greatest token counts.
    """
    # Earlier versions rewrote one file of all proposals.
    earlier = read_record(store, f"{FOLDER}/{stage_id}.json", _PROPOSALS) or []
    found = dict(enumerate(earlier))
    names = _counting(store.list(f"{FOLDER}/{stage_id}", ".json"))
    paths = [f"{FOLDER}/{stage_id}/{name}" for name in names.values()]
    with ThreadPoolExecutor(_THREADS) as pool:
        newer = dict(zip(names, pool.map(lambda path: read_record(store, path, _PROPOSAL), paths), strict=True))
    proposals: list[Proposal] = []
    while (proposal := newer.get(len(proposals), found.get(len(proposals)))) is not None:
        proposals.append(proposal)
    return proposals


def _counting(names: Iterable[str]) -> dict[int, str]:
    """Return the name with the greatest token of each number."""
    parsed = [(int(name[1]), int(name[2]), name[0]) for name in map(_NAME.fullmatch, names) if name is not None]
    return {number: name for number, _, name in sorted(parsed)}
