"""The page of a results folder: what was searched, what came out, and how to make it again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from shlex import quote

from raysl import __version__
from raysl.reports.page.html import Html, Part, code, facts, tag
from raysl.reports.page.numbers import duration
from raysl.reports.page.paper_table import paper_tables
from raysl.reports.page.provenance import Compared, provenance
from raysl.reports.page.stage_section import stage_section
from raysl.reports.page.style import CSS
from raysl.reports.stages import Searched, titles
from raysl.results.records.origins import Origin
from raysl.results.storage.file_systems import without_keys

MOST_BYTES = 4_000_000  # of sections with figures: mail servers refuse larger files
NO_ROOM = (
    "The last stages have no figures here, so that the page stays small: give their ids to `raysl report --stages`."
)
SAFE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # the page loads nothing and runs nothing


def page(
    uri: str,
    stages: Sequence[Searched],
    compared: Compared,
    origins: Mapping[str, Origin],
    now: datetime,
    tell: Callable[[str], None],
    most_bytes: int = MOST_BYTES,
) -> str:
    """Return the page of some stages of a results folder as HTML.

    compared: the paper's tables of the folder, with our numbers.  origins: what searches were given, by stage.
    tell: is told what is being drawn.
    most_bytes: of sections, after which the others have no figures.
    """
    names = titles(stages)
    sections, is_whole = _sections(stages, names, tell, most_bytes)
    heading = ", ".join(dict.fromkeys(stage.experiment for stage in stages))
    if compared:
        heading = ", ".join(dict.fromkeys(tables.source for tables, _ in compared))
    body = tag(
        "body",
        tag("h1", heading),
        facts(_facts(uri, stages)),
        provenance(uri, stages, compared, origins),
        paper_tables(compared, {stage.stage_id for stage in stages}, quote(without_keys(uri))),
        _contents(stages, names),
        "" if is_whole else tag("p", NO_ROOM),
        *sections,
        _foot(uri, now),
    )
    return f'<!doctype html>\n<html lang="en">{_head(heading)}{body}</html>\n'


def _head(heading: str) -> Html:
    return tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{SAFE}">'),
        tag("title", f"raysl: {heading}"),
        tag("style", Html(CSS)),
    )


def _sections(
    stages: Sequence[Searched], names: Sequence[str], tell: Callable[[str], None], most_bytes: int
) -> tuple[list[Html], bool]:
    """Return the sections of the stages, and whether all have their figures."""
    sections: list[Html] = []
    num_bytes, is_whole = 0, True
    first: dict[frozenset[str], tuple[str, str]] = {}
    for place, (stage, name) in enumerate(zip(stages, names, strict=True)):
        tell(f"{place + 1}/{len(stages)} {name}")
        shown = first.setdefault(frozenset(trial["trial_id"] for trial in stage.trials), (stage.stage_id, name))
        same = None if shown[0] == stage.stage_id else shown
        has_figures = num_bytes < most_bytes
        is_whole = is_whole and has_figures
        sections.append(stage_section(stage, name, place, has_figures=has_figures, same=same))
        num_bytes += len(sections[-1].encode())
    return sections, is_whole


def _facts(uri: str, stages: Sequence[Searched]) -> dict[str, Part]:
    trials = [trial for stage in stages for trial in stage.trials]
    started = [trial["started_at"] for trial in trials if trial["started_at"]]
    ended = [trial["finished_at"] for trial in trials if trial["finished_at"]]
    distinct = {trial["trial_id"]: trial for trial in trials}.values()
    seconds = sum(trial["seconds"] or 0 for trial in distinct if trial["weights_of"] is None)
    measured = sum(trial["weights_of"] is not None for trial in distinct)
    without = f"; {measured} trials have the weights of others, and were only measured" if measured else ""
    return {
        "results folder": code(without_keys(uri)),
        "experiments": _distinct(stage.experiment for stage in stages),
        "profile": _distinct(stage.profile for stage in stages),
        "data": _distinct(str(stage.data.get("source")) for stage in stages),
        "labelled training images": _distinct(str(stage.data.get("labels")) for stage in stages),
        "methods": _distinct(stage.method for stage in stages),
        "backbone": _distinct(str(stage.model.get("backbone", "")) for stage in stages),
        "stages, configs, trials": f"{len(stages)}, {sum(len(stage.configs) for stage in stages)}, {len(trials)}",
        "trained": f"{_time(min(started))} to {_time(max(ended))}" if started and ended else "",
        "training time, all trials": f"{duration(seconds)}{without}",
        "raysl, torch": _distinct(f"{t['raysl_version']}, {t['torch_version']}" for t in trials if t["raysl_version"]),
        "code": _distinct(str(trial["code"]) for trial in trials if trial["code"]),
        "device": _distinct(str(trial["device"]) for trial in trials if trial["device"]),
    }


def _distinct(values: Iterable[str]) -> str:
    found = list(dict.fromkeys(value for value in values if value))
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return f"{'; '.join(found[:6])}{more}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _contents(stages: Sequence[Searched], names: Sequence[str]) -> Html:
    if len(stages) < 2:
        return Html("")
    links = [tag("li", tag("a", name, href=f"#{stage.stage_id}")) for stage, name in zip(stages, names, strict=True)]
    return tag("nav", tag("h2", "Stages"), tag("ul", *links))


def _foot(uri: str, now: datetime) -> Html:
    folder = without_keys(uri)
    lines = (
        "import raysl, pyarrow.compute as pc",
        f"configs = raysl.read({folder!r}).configs",
        "configs.filter(pc.field('config_id') == 'CONFIG').to_pylist()",
    )
    return tag(
        "footer",
        tag("p", "Every number is of a row of the folder's Arrow files, which its id names:"),
        tag("pre", code("\n".join(lines))),
        tag("p", "Made by ", code(f"raysl report {quote(folder)}"), f" with raysl {__version__} on {_time(now)}."),
    )
