"""The experiments and cluster files that come with raysl: in a checkout beside the package, in a wheel within it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import raysl
from raysl.config.document import ConfigError, read_document
from raysl.config.experiment import load
from raysl.errors import choices, cut, printable

_CITATION = re.compile(r'(?:[^":]*: )?([A-Z][^":]*? (?:19|20)\d\d), "')  # at the beginning of a line


@dataclass(frozen=True)
class PackagedExperiment:
    """An experiment, or the searches of a paper's tables.

    name: what commands take in place of a file.  summary: its first sentence.  paper: authors and year.
    profiles: by name.
    num_trials, num_epochs: of the experiment without a profile, the epochs those of all trials together, at most; None
        for tables.
    """

    name: str
    file: Path
    summary: str
    paper: str
    profiles: tuple[str, ...]
    num_trials: int | None
    num_epochs: int | None


def packaged_folder(kind: Literal["search_spaces", "cluster"]) -> Path:
    """Return the folder of experiments, or that of cluster files."""
    package = Path(raysl.__file__).parent
    inside = package / "packaged" / kind
    return inside if inside.is_dir() else package.parent / kind


def schema_file() -> Path:
    """Return the JSON schema of experiments, for editors."""
    package = Path(raysl.__file__).parent
    inside = package / "packaged" / "experiment.schema.json"
    return inside if inside.is_file() else package.parent / "docs" / "experiment.schema.json"


def packaged_files() -> dict[str, Path]:
    """Return the files of experiments and tables by name, such as `rotation_semi` and `tables/sidae_table1`."""
    folder = packaged_folder("search_spaces")
    files = sorted([*folder.glob("*.yaml"), *folder.glob("tables/*.yaml")])
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def experiment_file(given: Path) -> Path:
    """Return the file of an experiment that is given as a path, or as the name of a packaged one.

    A file that exists comes before a packaged one of that name.
    Raises ConfigError for what looks like a name and is none.
    """
    files = packaged_files()
    if given.suffix or os.path.isfile(given) or (os.path.isdir(given) and given.as_posix() not in files):
        return given
    if given.as_posix() not in files:
        name = cut(printable(str(given)), 1000)
        raise ConfigError(f"{name}: no such file, and no packaged experiment; {choices(given.as_posix(), files)}")
    return files[given.as_posix()]


def packaged_experiments() -> list[PackagedExperiment]:
    """Return all packaged experiments, tables last."""
    found = [_described(name, file) for name, file in packaged_files().items()]
    return sorted(found, key=lambda one: (one.num_trials is None, one.name))


def _described(name: str, file: Path) -> PackagedExperiment:
    lines = [line[1:].strip() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    head = " ".join(lines[: lines.index("")])
    values = read_document(file).values
    is_table = "tables" in values
    experiment = None if is_table else load(file)
    cited = [match[1] for line in lines if (match := _CITATION.match(line))]
    return PackagedExperiment(
        name=name,
        file=file,
        summary=re.split(r"(?<=[.]) (?=[A-Z])", head)[0].rstrip(".") if not is_table else _titles(values["tables"]),
        paper=str(values["source"]) if is_table else next(iter(cited), ""),
        profiles=tuple(values.get("profiles", {})),
        num_trials=None if experiment is None else experiment.num_trials,
        num_epochs=None if experiment is None else experiment.num_epochs,
    )


def _titles(tables: dict[str, dict[str, object]]) -> str:
    return "; ".join(dict.fromkeys(str(table["title"]) for table in tables.values()))
