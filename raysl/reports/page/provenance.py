"""The part of a page that says where its searches came from: their commands, and their YAML as it was."""

from collections.abc import Iterator, Mapping, Sequence
from os.path import normpath
from shlex import quote

from raysl.reports.page.html import Html, code, folded, joined, tag
from raysl.reports.stages import Searched
from raysl.results.records.origins import Origin
from raysl.results.records.paper_tables import PaperTables
from raysl.results.storage.file_systems import without_keys
from raysl.results.tables.comparison import ComparedTable

Compared = Sequence[tuple[PaperTables, ComparedTable]]
NOTE = "With the path of the YAML, and with the --set options that were given, if any: an earlier raysl kept neither."


def provenance(uri: str, stages: Sequence[Searched], compared: Compared, origins: Mapping[str, Origin]) -> Html:
    """Return the commands that repeat the searches of some stages, and the YAML files that they were given.

    origins: by stage; those of an earlier raysl have none, and their commands lack the path and the options.
    """
    folder = without_keys(uri)
    known = {one.path: one for stage in stages if (one := origins.get(stage.stage_id)) is not None}.values()
    unknown = [stage for stage in stages if stage.stage_id not in origins]
    lines = [*(one.command(folder) for one in known), *_without_paths(unknown, () if known else compared, folder)]
    texts = dict.fromkeys((normpath(path), text) for one in known for path, text in one.texts.items())
    files = [folded(joined(["The YAML of the search: ", code(path)]), tag("pre", code(text))) for path, text in texts]
    return joined([tag("pre", code("\n".join(lines))), tag("small", NOTE) if unknown else "", *files])


def _without_paths(stages: Sequence[Searched], compared: Compared, folder: str) -> Iterator[str]:
    if not stages:
        return
    found = {(tables.name, tables.profile) for tables, _ in compared} or {(s.experiment, s.profile) for s in stages}
    for name, profile in sorted(found):
        more = f" --profile {quote(profile)}" if profile else ""
        yield f"raysl tune {quote(f'{name}.yaml')}{more} --results {quote(folder)}"
