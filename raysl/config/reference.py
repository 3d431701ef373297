"""Every key of the YAML files as Markdown: `python -m raysl.config.reference > docs/reference.md`."""

import json
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from raysl import methods
from raysl.config.document import read_document
from raysl.config.meanings import Meaning, description, meanings, method_meanings
from raysl.config.packaged import packaged_files
from raysl.config.reference_examples import EXAMPLES
from raysl.config.space import MOST_VALUES
from raysl.config.stages import TRAINING
from raysl.config.table_file import FileSettings
from raysl.config.type_text import type_text
from raysl.results.records.stages import Rule
from raysl.search.experiment import ExperimentSettings
from raysl.search.stage_settings import TrainedStage
from raysl.settings import members

HEAD = """\
# Reference: every key of the YAML files

This file is made from the settings models: `python -m raysl.config.reference > docs/reference.md`.
`docs/experiment.schema.json` has the same as a JSON schema, for editors.
The first line `# yaml-language-server: $schema=docs/experiment.schema.json` of a YAML file tells an editor where it is.

An unknown key, and a value of another type, is refused with its line and the choices.
*D_l* are the labelled training images, *D_u* the unlabelled ones.
A key whose default is *required* has to be given.
"""
SPACE = f"""\
## Searched values

A value of a stage can be searched: its configs are then the combinations of the values.

| written | values | algorithms |
|---|---|---|
| `{{grid: [0.1, 0.01]}}` | each of these; at most {MOST_VALUES} | `grid`, `random`, `optuna` |
| `{{choice: [bilinear, bicubic]}}` | the same, for values that have no order | `grid`, `random`, `optuna` |
| `{{uniform: [0, 1]}}` | a number between two ends | `random`, `optuna` |
| `{{loguniform: [0.001, 0.1]}}` | a number between two ends above 0, uniform in the logarithm | `random`, `optuna` |
| `{{int: [10, 50]}}` | a whole number between two ends, both included | `random`, `optuna` |

They may stand on `epochs`, `batch_size` and `start_epoch`, on the keys of `optimizer` and `schedule` except `name`,
and on the hyperparameters of `method`, those of a nested method included.
In a stage of method `frozen` only `start_epoch` is searched.

## Profiles of an experiment

`profiles` at the top level maps names to overrides of the file: `--profile NAME` merges them into the file key by key.
A grid or a range, and a mapping with another `name`, is replaced as a whole.
`--set stages.pretrain.epochs=5` overrides file and profile.
"""
TABLE_FILES = """\
## Table files

A file with the key `tables` gives a paper's tables: each cell is the selected config of one stage of an experiment.
"""
COLUMNS = ("key", "type", "default", "unit", "meaning", "example")
OF_STAGES = "stages.NAME"
STAGE = f"""\
A stage: a method, its settings, and how its configs are searched.
A stage of method `frozen` trains nothing, and has none of {", ".join(f"`{key}`" for key in TRAINING)}.
"""
# Of values that are converted, or parsed later; {} is the type in the model.
TYPES = {
    "stages": f"mapping of names to [stages](#{OF_STAGES.replace('.', '').lower()})",
    "model.weights": "text or {}",
    "stages.NAME.select": f"{type_text(Rule)} or {{}}",
    "stages.NAME.data": "mapping of keys of [`data`](#data)",
    "stages.NAME.method": "mapping with `name`: [methods](#methods)",
    "stages.NAME.search.sampler": "mapping with `name`, a class of `optuna.samplers`, and its options",
}


def reference() -> str:
    """Return the reference as Markdown."""
    parts = [HEAD, "## The top level of an experiment\n", *_Models().of(ExperimentSettings, "")]
    parts += [f"## `{OF_STAGES}`\n", STAGE, *_Models().of(TrainedStage, OF_STAGES, described=False), SPACE]
    parts += ["## Methods\n", *(_of_method(name) for name in methods.names())]
    parts += [TABLE_FILES, *_Models("###").of(FileSettings, "", described=False)]
    return "\n".join(parts)


class _Models:
    """The sections of models, each model in one of them; level: the mark of their headings."""

    def __init__(self, level: str = "##") -> None:
        self._level = level
        self._sections: dict[type[BaseModel], str] = {}

    def of(self, model: type[BaseModel], path: str, described: bool = True) -> Iterator[str]:
        """Yield a model's description and table, and the sections of the models below it."""
        yield from [f"{one}\n" for one in description(model)] if described else []
        hints, entries, examples = typing.get_type_hints(model, include_extras=True), meanings(model), EXAMPLES[model]
        rows, new = [], {}
        for key, field in model.model_fields.items():
            where, found = f"{path}.{key}".lstrip("."), _settings(hints[key])
            if found and found[0] not in self._sections:
                self._sections |= dict.fromkeys(found, where)
                new[where] = found
            linked = _linked(self._sections[found[0]], hints[key]) if found else _type(hints[key])
            kind = TYPES.get(where, "").format(linked) or linked
            example = f"`{key}: {flow(examples[key])}`"
            rows.append([f"`{key}`", kind, _default(field), *_meaning(entries[key]), example])
        yield _table(rows)
        for where, found in new.items():
            yield f"{self._level} `{where}`\n"
            for one in found:
                yield from [f"**`{_kind(one)}`**\n"] if len(found) > 1 else []
                yield from self.of(one, where)


def _settings(hint: Any) -> list[type[BaseModel]]:
    """Return the models that a value may be of, also of those in a list or a mapping."""
    arguments = [one for part in typing.get_args(hint) for one in _settings(part)] if not members(hint) else []
    return members(hint) or list(dict.fromkeys(arguments))


def _type(hint: Any) -> str:
    return _escaped(type_text(hint).replace("(a method)", "values"))


def _linked(where: str, hint: Any) -> str:
    link = f"[`{where}`](#{re.sub(r'[^a-z0-9_]', '', where.lower())})"
    if typing.get_origin(hint) is typing.Annotated:
        return _linked(where, typing.get_args(hint)[0])
    origins = {typing.get_origin(one) for one in (hint, *typing.get_args(hint))}
    form = "list of " if list in origins else "mapping of names to " if dict in origins else ""
    return f"{form}{link}{' or null' if type(None) in typing.get_args(hint) else ''}"


def _kind(model: type[BaseModel]) -> str:
    """Return the key that tells a model of a union from the others, with its value if it has one alone."""
    key = next((key for key in ("scheduler", "name") if key in model.model_fields), None)
    if key is None:
        return f"{next(iter(model.model_fields))}: ..."
    return f"{key}: {typing.get_args(model.model_fields[key].annotation)[0]}"


def _of_method(name: str) -> str:
    facts, entries, example = methods.describe(name), method_meanings(name), _example_of(name)
    rows = [
        [
            f"`{key}`",
            _type(kind),
            "required" if default is ... else f"`{flow(default)}`",
            *_meaning(entries[key]),
            f"`{key}: {flow(example.get(key, default))}`",
        ]
        for key, (kind, default) in facts.hyperparameters.items()
    ]
    images = ", ".join(facts.streams) or "none, it trains nothing"
    lines = [f"### `{name}`\n", f"{facts.summary}\n", f"Images: {images}."]
    if facts.shapes_loss:
        keys = ", ".join(f"`{key}`" for key in facts.shapes_loss)
        lines.append(f"`select: train_loss` cannot choose over these, which change what the loss means: {keys}.")
    lines.append(f"Example: `method: {flow(example)}`\n")
    return "\n".join([*lines, *([_table(rows)] if rows else [])])


def _example_of(name: str) -> Mapping[str, Any]:
    """Return the settings of a method in the packaged experiment of its name, or else in the first that uses it."""
    files = packaged_files()
    own = [files[name]] if name in files else []
    for file in [*own, *files.values()]:
        for stage in read_document(file).values.get("stages", {}).values():
            if stage["method"]["name"] == name:
                return typing.cast("Mapping[str, Any]", stage["method"])
    return {"name": name}


def _meaning(entry: Meaning) -> list[str]:
    return [entry.unit, _escaped(re.sub(r"\bNone\b", "`null`", entry.text))]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        given = value.model_dump(exclude_unset=True)
        return f"`{flow(given)}`" if given else "the defaults there"
    return f"`{flow(value)}`"


def flow(value: Any) -> str:
    """Return a value as YAML writes it in one line."""
    match value:
        case dict():
            return f"{{{', '.join(f'{key}: {flow(below)}' for key, below in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(flow, value))}]"
        case str() if re.fullmatch(r"[A-Za-z_./][\w./ :-]*(?<!:)", value) and ": " not in value:
            return value
        case float() if value == int(value) and abs(value) < 1e6:
            return f"{value:.1f}"
    return json.dumps(value)


def _table(rows: list[list[str]]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
