"""The record of what a search was given: its YAML and its options, with the stages that came of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from shlex import quote

from pydantic import TypeAdapter

from raysl.outgoing import mask
from raysl.results.records.json_records import read_record, write_record
from raysl.results.storage.checksums import digest_of
from raysl.results.storage.store import Store

FOLDER = "origins"
FROM_PYTHON = "from_python.yaml"  # the name under which a dict would be saved


@dataclass(frozen=True)
class Origin:
    """What a search was given; secrets in it are masked once it is written.

    file: the path of the YAML as it was given, or the name of a packaged one; `FROM_PYTHON` for a dict.
    profile: "" if there is none.  overrides: `key=value`.  cells: patterns of a table file's cells.
    texts: the content of the YAML, and of those that a table file names, by their paths.
    stages: ids.  began_at: unix seconds; of the first search with it that had a stage.
    """

    file: str
    profile: str
    overrides: tuple[str, ...]
    texts: dict[str, str]
    cells: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    began_at: float = 0.0

    @property
    def path(self) -> str:
        """The path of the record in a results folder."""
        facts = (self.file, self.profile, self.overrides, self.texts, self.cells)
        return f"{FOLDER}/{digest_of(*facts)}.json"

    def command(self, folder: str) -> str:
        """Return the command of the search; folder: its results."""
        options = [("--profile", self.profile)] if self.profile else []
        options += [("--cells", pattern) for pattern in self.cells]
        options += [("--set", text) for text in self.overrides]
        words = "".join(f" {name} {quote(value)}" for name, value in options)
        return f"raysl tune {quote(self.file)}{words} --results {quote(folder)}"


_ORIGIN = TypeAdapter(Origin)


def write_origin(store: Store, origin: Origin, stages: Iterable[str], now: float) -> None:
    """Write `origins/<digest>.json` with some stages beside those that it has, unless it has them already."""
    origin = _masked(origin)
    before = read_record(store, origin.path, _ORIGIN) or replace(origin, began_at=now)
    known = tuple(dict.fromkeys((*before.stages, *stages)))
    if known != before.stages:
        write_record(store, origin.path, _ORIGIN, replace(before, stages=known))


def read_origins(store: Store) -> dict[str, Origin]:
    """Return the latest origin of each stage, by the stage's id; damaged records are left out (logged)."""
    found = (read_record(store, f"{FOLDER}/{name}", _ORIGIN) for name in store.list(FOLDER, ".json"))
    every = sorted((one for one in found if one is not None), key=lambda one: (one.began_at, one.path))
    return {stage_id: origin for origin in every for stage_id in origin.stages}


def _masked(origin: Origin) -> Origin:
    return replace(
        origin,
        file=mask(origin.file),
        overrides=tuple(map(mask, origin.overrides)),
        texts={mask(path): mask(text) for path, text in origin.texts.items()},
    )
