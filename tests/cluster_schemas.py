"""The strict schemas that the files in `cluster/` must fit, and the options that the programs named in them take."""

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
import yaml
from jsonschema import Draft7Validator
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from raysl.cli import app

SCHEMAS = Path(__file__).parent / "cluster" / "schemas"


def schema_faults(name: str, document: Any) -> Iterator[str]:
    """Yield where a document departs from a schema: `ray`, or one of `tests/cluster/schemas`."""
    for error in _validator(name).iter_errors(document):
        yield f"{error.json_path}: {error.message}"


def option_faults(program: str, options: Iterator[str] | list[str]) -> Iterator[str]:
    """Yield the options (without dashes) that a program does not take."""
    yield from (f"{program}: no option --{option}" for option in options if option not in _options(program))


def options(command: str) -> list[str]:
    """Return the long options in a command, without dashes."""
    return re.findall(r"(?<!\S)--([a-z][a-z-]*)", command)


@cache
def mlflow_variables() -> set[str]:
    """Return the environment variables that MLflow knows."""
    return set(
        re.findall(
            r"\bEnvironmentVariable\(\s*\"(\w+)\"", _text("mlflow/environment_variables.py").replace("_Env", "Env")
        )
    )


@cache
def mlflow_auth_settings() -> set[str]:
    """Return the settings that MLflow's basic-auth app reads from its file."""
    return set(re.findall(r"\"([a-z_]+)\"", _text("mlflow/server/auth/config.py")))


@cache
def _options(program: str) -> set[str]:
    if program == "raysl tune":
        commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        return {option.removeprefix("--") for param in commands["tune"].params for option in param.opts}
    files = {
        "ray start": ["ray/scripts/scripts.py"],
        "ray drain-node": ["ray/scripts/scripts.py"],
        "ray symmetric-run": ["ray/scripts/symmetric_run.py", "ray/scripts/scripts.py"],
        "mlflow server": ["mlflow/cli/__init__.py", "mlflow/utils/cli_args.py"],
    }
    # Out of their texts: to import them takes seconds.
    return {option for file in files[program] for option in re.findall(r"\"--([a-z-]+)\"", _text(file))}


@cache
def _validator(name: str) -> Validator:
    if name == "ray":
        return Draft7Validator(_ray())
    schemas = {path.name: yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in SCHEMAS.iterdir()}
    resources = ((file, Resource.from_contents(schema, DRAFT7)) for file, schema in schemas.items())
    schema = next(schema for file, schema in schemas.items() if file.partition(".")[0] == name)
    return validator_for(schema, default=Draft7Validator)(schema, registry=Registry().with_resources(resources))


def _ray() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(_text("ray/autoscaler/ray-schema.json"))
    schema["properties"]["provider"]["additionalProperties"] = False
    return schema


@cache
def _text(file: str) -> str:
    package, _, rest = file.partition("/")
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.joinpath(rest).read_text()
