"""A JSON schema of an experiment's YAML, for editors: `python -m raysl.config.json_schema`.

It allows what each key allows by itself; what two keys allow together is checked by `raysl.load` alone.
"""

import json
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from raysl import methods
from raysl.config.meanings import Meaning, meanings, method_meanings
from raysl.config.space import GROUPS, MOST_VALUES
from raysl.config.stages import TRAINING
from raysl.data.settings import DataSettings
from raysl.search.experiment import ExperimentSettings
from raysl.search.stage_settings import TrainedStage
from raysl.settings import members

Schema = dict[str, Any]
REFERENCE = "#/definitions/"
IN_PROFILE = "InProfile"  # ends the names of definitions whose required keys may be missing
ANNOTATIONS = ("title", "description", "default")


def json_schema() -> Schema:
    """Return the schema, of draft 7."""
    definitions = _settings_definitions() | {_of(name): _method_definition(name) for name in methods.names()}
    trained = definitions["TrainedStage"]
    _complete_stage(trained)
    definitions["ModelSettings"]["properties"]["weights"]["anyOf"].append({"type": "string"})
    definitions["FrozenStage"] = _frozen(trained)
    top = definitions.pop("ExperimentSettings")
    stages = [_reference("TrainedStage"), _reference("FrozenStage")]
    names = top["properties"]["stages"]["patternProperties"]
    names |= {pattern: {"anyOf": stages} for pattern in names}
    top["properties"]["stages"]["additionalProperties"] = False
    profile = {"anyOf": [_in_profile(top), {"type": "null"}]}
    profiles = {
        "type": "object",
        "description": "named sets of overrides, for --profile.",
        "additionalProperties": profile,
    }
    partial = {f"{name}{IN_PROFILE}": _in_profile(one) for name, one in definitions.items()}
    top["properties"] = top["properties"] | {"profiles": profiles}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "raysl experiment"}
    return head | top | {"definitions": definitions | partial}


def _settings_definitions() -> dict[str, Schema]:
    """Return the schemas of all settings models of an experiment, by class name, with the meaning of each key."""
    models = {model.__name__: model for top in (ExperimentSettings, TrainedStage) for model in _models(top)}
    searched = {model.__name__ for group in GROUPS.values() for model in group}
    found = {}
    for name, model in models.items():
        made = model.model_json_schema(ref_template=f"{REFERENCE}{{model}}")
        made.pop("$defs", None)
        _describe(made, meanings(model))
        if name in searched:
            _let_search(made, [key for key in made["properties"] if key != "name"])
        found[name] = made
    return found


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and all that its values may be of."""
    yield model
    for hint in typing.get_type_hints(model, include_extras=True).values():
        for below in members(hint):
            yield from _models(below)


def _describe(schema: Schema, entries: Mapping[str, Meaning]) -> None:
    for key, one in schema["properties"].items():
        one.pop("title", None)
        if key in entries:
            one["description"] = entries[key].text


def _let_search(schema: Schema, keys: list[str]) -> None:
    """Let the values of some keys be searched."""
    for key in keys:
        one = schema["properties"][key]
        about = {name: one.pop(name) for name in ANNOTATIONS if name in one}
        schema["properties"][key] = about | {"anyOf": [one, _dimension(one)]}


def _dimension(value: Schema) -> Schema:
    """Return the schema of a grid, a choice or a range of values."""
    values = {"type": "array", "items": value, "minItems": 1, "maxItems": MOST_VALUES, "uniqueItems": True}
    kinds = {"grid": values, "choice": values}
    types = {one.get("type") for one in (value, *value.get("anyOf", ()))}
    if types & {"number", "integer"}:
        ends = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        whole = ends | {"items": {"type": "integer"}}
        kinds |= {"int": whole} | ({"uniform": ends, "loguniform": ends} if "number" in types else {})
    return {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _method_definition(name: str) -> Schema:
    facts = methods.describe(name)
    made = methods.settings_model(name).model_json_schema()
    _describe(made, method_meanings(name))
    _let_search(made, [key for key in facts.hyperparameters if key not in facts.nested])
    for key in facts.nested:
        made["properties"][key] |= {"anyOf": [_reference(_of(below)) for below in methods.pretexts()]}
    made["properties"]["name"] = {"const": name}
    return made | {"description": facts.summary}


def _complete_stage(trained: Schema) -> None:
    """Say what the values of a stage are that the settings model leaves open."""
    known = trained["properties"]
    learning = [_reference(_of(name)) for name in methods.names() if methods.describe(name).trains]
    known["method"] = {"description": known["method"]["description"], "anyOf": learning}
    known["data"] = {"description": known["data"]["description"], **_reference(DataSettings.__name__)}
    known["search"] = {
        "description": known["search"]["description"],
        "anyOf": [_reference("SearchSettings"), {"type": "null"}],
    }
    _let_search(trained, ["epochs", "batch_size", "start_epoch"])


def _frozen(trained: Schema) -> Schema:
    """Return the schema of a stage that trains nothing."""
    known = {key: value for key, value in trained["properties"].items() if key not in TRAINING}
    known["method"] = _reference(_of("frozen"))
    known["select"] = {"const": "probe_accuracy"}
    return {
        "type": "object",
        "properties": known,
        "required": ["method", "start_from"],
        "additionalProperties": False,
    }


def _in_profile(schema: Any) -> Any:
    """Return a schema in which nothing is required, also below."""
    if isinstance(schema, list):
        return [_in_profile(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "$ref":
            found[key] = f"{value}{IN_PROFILE}"
        elif not (key == "required" and isinstance(value, list)):
            found["anyOf" if key == "oneOf" else key] = _in_profile(value)
    return found


def _of(method: str) -> str:
    return f"method.{method}"


def _reference(name: str) -> Schema:
    return {"$ref": f"{REFERENCE}{name}"}


def text() -> str:
    """Return the schema as the text of a file, with one line for each definition."""
    made = json_schema()
    definitions = ",\n".join(f"{_json(name)}: {_json(one)}" for name, one in made.pop("definitions").items())
    head = ",\n".join(f"{_json(name)}: {_json(one)}" for name, one in made.items())
    return f'{{\n{head},\n"definitions": {{\n{definitions}\n}}\n}}\n'


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.write(text())
