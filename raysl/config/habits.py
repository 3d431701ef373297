"""Hints for keys and values that are written as in other tools: raysl's word, and the place in this experiment."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from raysl.config.document import Document, Path_, dotted
from raysl.config.space import is_dimension, searchable_keys
from raysl.data.settings import DataSettings
from raysl.errors import cut, quoted
from raysl.models.settings import ModelSettings
from raysl.probes.settings import ProbesSettings
from raysl.search.experiment import ExperimentSettings, Resources
from raysl.search.settings import SearchSettings
from raysl.search.stage_settings import StageSettings
from raysl.settings import members
from raysl.training.settings import StopSettings

MOST_SHOWN = 6  # keys in a message
SECTIONS: Mapping[str, type[BaseModel]] = {
    "data": DataSettings,
    "model": ModelSettings,
    "resources": Resources,
    "probes": ProbesSettings,
}

# The names of keys in other tools, without _ and -.
WORDS = {
    "lr": ("learningrate", "baselr", "initlr", "stepsize", "alpha", "eta"),
    "weight_decay": ("wd", "decay", "l2"),
    "batch_size": ("bs", "batch", "batchsize", "trainbatchsize", "perdevicetrainbatchsize"),
    "unlabelled_ratio": ("mu", "unlabeledratio", "uratio"),
    "epochs": ("epoch", "numepochs", "nepochs", "maxepochs", "numtrainepochs", "trainingiteration", "iterations"),
    "seeds": ("seed", "numseeds", "nseeds", "randomseed", "randomstate", "repeats", "numrepeats"),
    "source": ("dataset", "set", "datapath", "datadir", "path", "root"),
    "labels": ("labeled", "labelled", "numlabels", "numlabeled", "numlabelled", "nlabels", "labeledfraction"),
    "unlabelled": ("unlabeled", "numunlabelled", "numunlabeled"),
    "image_size": ("size", "imgsize", "imagesize", "resolution", "inputsize"),
    "backbone": ("arch", "architecture", "net", "network", "encoder"),
    "num_configs": ("numsamples", "ntrials", "numtrials", "maxtrials", "niter", "runcap", "budget"),
    "select": ("metric", "criterion", "monitor", "goal", "selection"),
    "objectives": ("objective", "directions"),
    "algorithm": ("searchalg", "strategy", "tuner"),
    "optimizer": ("optim", "opt", "optimiser"),
    "schedule": ("lrscheduler", "lrschedule", "scheduler"),
    "stop": ("pruner", "earlystopping", "earlyterminate", "patience"),
    "gpus": ("numgpus", "gpu", "ngpus", "gpuspertrial"),
    "cpus": ("numcpus", "cpu", "ncpus", "cpuspertrial", "threads"),
    "workers": ("numworkers", "worldsize", "nproc", "devices"),
    "stages": ("stage", "steps", "phases"),
}
NAMES = {other: ours for ours, others in WORDS.items() for other in others}

# The main key of a mapping, for a value that is written without its mapping.
FIRST = {
    "method": "name",
    "pretext": "name",
    "optimizer": "name",
    "schedule": "name",
    "sampler": "name",
    "attack": "name",
    "search": "algorithm",
    "stop": "scheduler",
    "data": "source",
    "model": "backbone",
}
OF_SEVERAL = {"select": "vote"}  # the key of the mapping in which several names stand in place of one
YAML_1_1 = ("yes", "no", "on", "off", "y", "n")  # truth values there, and words in YAML 1.2

ONE_OF = ("values", "categories", "options", "grid_search", "categorical", "sweep", "enum", "list", "choices")
ENDS = (("min", "max"), ("low", "high"), ("lower", "upper"), ("from", "to"), ("start", "end"), ("start", "stop"))
CALL = re.compile(r"^(?:[\w.]*\.)?(?:suggest_)?([A-Za-z_]+)\((.*)\)$")


def elsewhere(path: Path_, document: Document) -> str:
    """Return the keys of this experiment that an unknown key may mean, as a hint; empty if there is none."""
    word = path[-1].lower().replace("_", "").replace("-", "")
    wanted = {path[-1], NAMES.get(word, path[-1])}
    known = dict.fromkeys(key for key in _known(document) if key[-1] in wanted and key != path)
    shared = ([key for key in known if key[:length] == path[:length]] for length in range(len(path) - 1, -1, -1))
    near = next((keys for keys in shared if keys), [])
    if not near:
        return ""
    more = f" and {len(near) - MOST_SHOWN} more" if len(near) > MOST_SHOWN else ""
    return f"in this experiment: {', '.join(map(dotted, near[:MOST_SHOWN]))}{more}"


def _known(document: Document) -> Iterator[Path_]:
    """Yield the keys that an experiment takes."""
    yield from ((key,) for key in ExperimentSettings.model_fields)
    for section, model in SECTIONS.items():
        yield from ((section, key) for key in model.model_fields)
    stages = document.values.get("stages")
    for name, values in stages.items() if isinstance(stages, Mapping) else ():
        path = ("stages", name)
        yield from ((*path, key) for key in StageSettings.model_fields)
        if isinstance(values, Mapping):
            yield from ((*path, *key.split(".")) for key in searchable_keys(values))
        yield from ((*path, "search", key) for key in SearchSettings.model_fields)
        yield from ((*path, "stop", key) for key in _fields(StopSettings))


def _fields(union: Any) -> Iterator[str]:
    for member in members(union):
        yield from (key for key in member.model_fields if key != "scheduler")


def written_out(value: Any, path: Path_) -> str:
    """Return the mapping that a single text stands for, as `write {name: adam}`; empty if it stands for none."""
    first = FIRST.get(path[-1]) if path else None
    return f"write {{{first}: {cut(value)}}}" if first is not None and isinstance(value, str) and value else ""


def of_several(value: Any, path: Path_) -> str:
    """Return the mapping that a list of names stands for, as `write {vote: [rankme, ami]}`; empty if for none."""
    key = OF_SEVERAL.get(path[-1]) if path else None
    if key is None or not isinstance(value, list) or len(value) < 2 or not all(isinstance(one, str) for one in value):
        return ""
    names = cut(", ".join(value))
    return f"write {{{key}: [{names}]}}"


def meant(value: Any, path: Path_, document: Document) -> str:
    """Return how raysl writes a search space that is written as in another tool; empty if the value is none.

    Only keys that can be searched have such values.
    """
    if isinstance(value, str) and value.lower() in YAML_1_1:
        return "a truth value is true or false"
    values = document.values
    for part in path[:2]:
        values = values.get(part, {}) if isinstance(values, Mapping) else {}
    if path[:1] != ("stages",) or not isinstance(values, Mapping) or dotted(path[2:]) not in searchable_keys(values):
        return ""
    spaces = _spaces(value)
    return f"as a search space that is {' or '.join(map(_written, spaces))}" if spaces else ""


def _written(space: Mapping[str, Any]) -> str:
    ((kind, values),) = space.items()
    return f"{{{kind}: {quoted(values)}}}"


def _spaces(value: Any) -> list[dict[str, Any]]:
    """Return the dimensions that a value may mean."""
    if isinstance(value, str):
        return _of_text(value)
    if _plain_list(value):
        return [{"grid": value}]
    if not isinstance(value, Mapping) or is_dimension(value):
        return []
    for low, high in ENDS:
        if low in value and high in value:
            return _range([value[low], value[high]], str(value))
    named = next((str(value[key]) for key in ("type", "_type", "distribution", "name") if key in value), "")
    for key, given in value.items():
        if _plain_list(given):
            return _of_kind(named or key, given)
    return []


def _of_text(text: str) -> list[dict[str, Any]]:
    if call := CALL.match(text):
        return _of_kind(call[1], list(map(_number, re.split(r"\s*,\s*", call[2].strip("[] ")))))
    parts = [_number(part) for part in re.split(r"\s*,\s*", text)]
    numbers = len(parts) > 1 and all(isinstance(part, float | int) for part in parts)
    return [{"grid": parts}] if numbers else []


def _of_kind(kind: str, values: list[Any]) -> list[dict[str, Any]]:
    if kind in ONE_OF or "choice" in kind or not any(word in kind for word in ("uniform", "int", "log", "normal")):
        return [{"grid": values}, {"choice": values}]
    return _range(values[:2], kind) if len(values) > 1 else []


def _range(ends: list[Any], words: str) -> list[dict[str, Any]]:
    if "log" in words and "'log': False" not in words:
        return [{"loguniform": ends}]
    whole = all(isinstance(end, int) for end in ends)
    return [{"int": ends}] if whole or "int" in words else [{"uniform": ends}]


def _plain_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not any(isinstance(one, list | dict) for one in value)


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
