"""The stages of results folders: what was searched, what was selected, and what a stage is called."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raysl.errors import ResultsError, UserError, choices, dotted
from raysl.outgoing.harmless import harmless, one_line
from raysl.results import read as read_tables
from raysl.results.attack_text import attack_text
from raysl.results.metrics import Metric, of_data
from raysl.results.records.features import Features, read_features, read_masks
from raysl.results.records.seed_design import SeedDesign
from raysl.results.records.segmented import Segmented
from raysl.results.storage.file_systems import without_keys
from raysl.results.tables.build import Tables

Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Searched:
    """A stage of a results folder, as its tables have it.

    uri: of the folder.  data, model: settings.  configs: in the order of the search.  trials: by config and seed.
    selection: None where the stage's rule has not chosen yet.
    """

    uri: str
    experiment: str
    profile: str
    stage: str
    stage_id: str
    data: Row
    model: Row
    configs: tuple[Row, ...]
    trials: tuple[Row, ...]
    curves: pa.Table
    selection: Row | None

    @property
    def name(self) -> str:
        """EXPERIMENT/STAGE."""
        return f"{self.experiment}/{self.stage}"

    @property
    def metric(self) -> Metric:
        """What its images are measured by."""
        return of_data(self.data)

    @property
    def selected(self) -> tuple[Row, ...]:
        """Trials of the selected config, by seed; none where nothing is selected."""
        return tuple(sorted((trial for trial in self.trials if trial["selected"]), key=lambda trial: trial["seed"]))

    @property
    def method(self) -> str:
        """The learning method; empty where no trial has ended."""
        return next((str(trial["method"]) for trial in self.trials if trial["method"]), "")

    @property
    def design(self) -> SeedDesign | None:
        """The design whose cells its seeds number; None where they are independent."""
        text = self.trials[0]["seed_design"]
        return None if text is None else SeedDesign.parse(text)

    def setting(self, key: str) -> str:
        """Return a key of its settings as `--set` takes it; key: dotted, or a column of it in the tables."""
        return f"{dotted(('stages', self.stage))}.{key.removeprefix('params.')}"

    def seed(self, seed: int | None) -> tuple[Row, ...]:
        """Return the selected trial of a seed, or those of all seeds where it is None.

        Raises UserError where no trial has this seed.
        """
        if seed is None:
            return self.selected
        found = tuple(trial for trial in self.selected if trial["seed"] == seed)
        if not found:
            seeds = choices(str(seed), (trial["seed"] for trial in self.selected))
            raise UserError(f"--seed {seed}: {self.name} in {without_keys(self.uri)} was not trained with it; {seeds}")
        return found

    def masks(self, trial: Row) -> Segmented:
        """Return the segmentation of the test set by one of its trials; ResultsError where there is none."""
        found = read_masks(self.uri, trial["trial_id"])
        return replace(found, class_names=tuple(_shown(found.class_names)))

    def features(self, trial: Row) -> Features:
        """Return the test features of one of its trials; ResultsError where there are none."""
        found = read_features(self.uri, trial["trial_id"])
        return replace(found, class_names=tuple(_shown(found.class_names)))


def read_stages(uris: Iterable[str]) -> list[Searched]:
    """Return the current stages of results folders, folder by folder, in the order of their searches.

    Raises ResultsError where a folder is missing, or holds no tables.
    """
    return [stage for uri in dict.fromkeys(uris) for stage in stages_of(uri, read_tables(uri))]


def read_selected(uris: Sequence[str], names: str | None = None) -> list[Searched]:
    """Return the stages for which a config is selected, or those named in a list such as `supervised,rotation/semi`.

    Raises ResultsError where nothing is selected, UserError where a name says nothing or is that of several stages.
    """
    return selected_of(read_stages(uris), uris, names)


def selected_of(every: Iterable[Searched], uris: Sequence[str], names: str | None = None) -> list[Searched]:
    """Return those of some stages for which a config is selected; names, errors: as of `read_selected`."""
    stages = [stage for stage in every if stage.selected]
    if not stages:
        folders = [without_keys(uri) for uri in uris]
        command = f"`raysl tune FILE --results {quote(folders[0])}`"
        raise ResultsError(f"{', '.join(folders)}: nothing is selected; {command} does it")
    return stages if names is None else [_named(name.strip(), stages) for name in names.split(",")]


def title(stage: Searched) -> str:
    """Return what a stage is called: its name, the images, the labels, and the attack if there is one."""
    name = stage.stage if stage.stage == stage.experiment else stage.name
    labels = f"{stage.data['labels']} labels"
    return ", ".join([name, source(stage), labels, *([f"{attack(stage)} attack"] if attack(stage) else [])])


def titles(stages: Sequence[Searched]) -> list[str]:
    """Return the titles of stages; where two would be the same, with the settings that tell them apart."""
    plain = [title(stage) for stage in stages]
    facts = [_facts(stage) for stage in stages]
    found = []
    for text, own in zip(plain, facts, strict=True):
        alike = [other for name, other in zip(plain, facts, strict=True) if name == text]
        telling = [key for key in own if key != "source" and len({other.get(key) for other in alike}) > 1]
        found.append(", ".join([text, *(f"{key} {own[key]}" for key in telling)]))
    # Folders of one name may hold the same search.
    return [
        f"{text}, {without_keys(stage.uri)}" if found.count(text) > 1 else text
        for text, stage in zip(found, stages, strict=True)
    ]


def without_common(found: Sequence[str]) -> tuple[str, list[str]]:
    """Return what several titles have in common, and each without it; a lone title stays whole."""
    parts = [text.split(", ") for text in found]
    common = [part for part in parts[0][1:] if all(part in other[1:] for other in parts)] if len(parts) > 1 else []
    return ", ".join(common), [", ".join(part for part in own if part not in common) for own in parts]


def source(stage: Searched) -> str:
    """Return the name of a stage's images: a file's or a folder's without the way to it."""
    kind, colon, place = str(stage.data["source"]).partition(":")
    return PurePosixPath(place).stem if colon else kind


def attack(stage: Searched) -> str:
    """Return what attacks a stage's labelled images: `attack_text`."""
    return attack_text(stage.data.get("attack"))


def params_text(config: Row, *, without: str = "") -> str:
    """Return the searched values of a config: `lr 0.001, w 0.5`; all but those of one column."""
    columns = (key for key in config if key.startswith("params.") and key != without and config[key] is not None)
    values = ((key.rpartition(".")[2], config[key]) for key in columns)
    return ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in values)


def short_text(config: Row) -> str:
    """Return the searched values of a config with 3 digits, as a legend has room for."""
    rounded = {key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in config.items()}
    return params_text(rounded)


def stages_of(uri: str, every: Tables) -> Iterator[Searched]:
    """Yield the current stages of a results folder's tables; ResultsError where an earlier version wrote them."""
    tables = every.current()
    trials, configs = _by_stage(tables.trials), _by_stage(tables.configs)
    selections = _by_stage(tables.selections)
    for stage_id, rows in configs.items():
        first = rows[0]
        if first["data"] is None:
            raise ResultsError(
                f"{uri}: tables of an earlier raysl, without data settings; the search's command writes them anew"
            )
        yield Searched(
            uri=uri,
            experiment=first["experiment"],
            profile=first["profile"],
            stage=first["stage"],
            stage_id=stage_id,
            data=_shown(json.loads(first["data"])),
            model=_shown(json.loads(first.get("model") or "{}")),
            configs=tuple(rows),
            trials=tuple(trials[stage_id]),
            curves=tables.curves.filter(pc.equal(tables.curves["stage_id"], stage_id)),
            selection=next(iter(selections.get(stage_id, [])), None),
        )


def _by_stage(table: pa.Table) -> dict[str, list[Row]]:
    stages: dict[str, list[Row]] = {}
    for row in table.to_pylist():
        stages.setdefault(row["stage_id"], []).append(_shown(row))
    return stages


def _shown(value: Any) -> Any:
    """Return a value of a table with its texts as they can be drawn: on one line, without control characters."""
    if isinstance(value, str):
        return one_line(harmless(value))
    if isinstance(value, Mapping):
        return {_shown(key): _shown(one) for key, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list | tuple) else value


def _named(name: str, stages: Sequence[Searched]) -> Searched:
    found = [stage for stage in stages if name in (stage.stage, stage.name, stage.stage_id)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"--stages {name}: no such stage is selected; {choices(name, {s.name for s in stages})}")
    alike = zip(titles(found), found, strict=True)
    ids = "; ".join(f"{stage.stage_id} ({text})" for text, stage in alike)
    raise UserError(f"--stages {name}: the name of {len(found)} stages; give an id instead, or one folder: {ids}")


def _facts(stage: Searched) -> dict[str, str]:
    """Return what may tell stages of equal titles apart, in the order of what says most."""
    settings = {**stage.data, **stage.model}
    weights = settings.pop("weights", None)
    plain = {key: str(value) for key, value in settings.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in settings.items() if isinstance(value, Mapping)}
    parts = {f"{key} {name}": str(value) for key, own in nested.items() for name, value in own.items()}
    folder = without_keys(stage.uri).rstrip("/").rpartition("/")[2]
    start = {
        "weights": weights["digest"][:8] if weights else "none",
        "variant": stage.configs[0].get("variant") or "none",
    }
    return {"profile": stage.profile or "none"} | plain | parts | start | {"folder": folder}
