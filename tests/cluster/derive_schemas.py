"""Derives the schemas beside this file from the packages that carry them; not run by the tests.

    uv run --no-project --with botocore==1.44.5 --with google-api-python-client==2.202.0 \
        --with kubernetes-validate==1.37.0 --with check-jsonschema==0.39.0 tests/cluster/derive_schemas.py

Each is made strict (no key that is not in it) and stripped of its texts; only what the cluster files can reach is kept.
`kuberay.json` is written by hand.  All four sources are under the Apache-2.0 licence.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "schemas"
KUBERNETES = "v1.34.0"
KINDS = {  # by the definition that each has in Kubernetes
    "io.k8s.api.apps.v1.Deployment": "apps/v1",
    "io.k8s.api.core.v1.ConfigMap": "v1",
    "io.k8s.api.core.v1.PersistentVolumeClaim": "v1",
    "io.k8s.api.core.v1.Service": "v1",
}
QUANTITY = {"type": ["integer", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|[MGTPE]|[KMGTPE]i)?$"}
TEXTS = ("description", "title", "format", "readOnly", "x-kubernetes-group-version-kind")

Schema = dict[str, Any]


def main() -> None:
    """Write the schemas."""
    _write("ec2", "RunInstances of EC2", "botocore", _ec2())
    _write("gce", "instances.insert of Compute Engine v1", "google-api-python-client", _gce())
    _write("kubernetes", f"Kubernetes {KUBERNETES}", "kubernetes-validate", _kubernetes())
    _write("compose", "the Compose specification", "check-jsonschema", _compose())


def _ec2() -> Schema:
    path = resources.files("botocore") / "data/ec2/2016-11-15/service-2.json.gz"
    shapes = json.loads(gzip.decompress(path.read_bytes()))["shapes"]
    schema = _closed("RunInstancesRequest", lambda name: _ec2_shape(shapes[name]))
    schema["definitions"]["RunInstancesRequest"]["required"] = []  # Ray adds how many
    return schema


def _ec2_shape(shape: Schema) -> Schema:
    def ref(member: Schema) -> Schema:
        return {"$ref": f"#/definitions/{member['shape']}"}

    match shape["type"]:
        case "structure":
            members = {name: ref(member) for name, member in shape["members"].items()}
            return {"type": "object", "properties": members, "required": shape.get("required", [])}
        case "list":
            return {"type": "array", "items": ref(shape["member"])}
        case "map":
            return {"type": "object", "additionalProperties": ref(shape["value"])}
        case "integer" | "long":
            return {"type": "integer"}
        case "float" | "double":
            return {"type": "number"}
        case "boolean":
            return {"type": "boolean"}
        case _:
            return {"type": "string"} | ({"enum": shape["enum"]} if "enum" in shape else {})


def _gce() -> Schema:
    path = resources.files("googleapiclient") / "discovery_cache/documents/compute.v1.json"
    schemas = json.loads(path.read_text())["schemas"]
    return _closed("Instance", lambda name: _gce_shape(schemas[name]))


def _gce_shape(shape: Schema) -> Schema:
    if "$ref" in shape:
        return {"$ref": f"#/definitions/{shape['$ref']}"}
    kept = {key: value for key, value in shape.items() if key in ("type", "enum")}
    if "properties" in shape:
        kept["properties"] = {name: _gce_shape(value) for name, value in shape["properties"].items()}
    if "items" in shape:
        kept["items"] = _gce_shape(shape["items"])
    if "additionalProperties" in shape:
        kept["additionalProperties"] = _gce_shape(shape["additionalProperties"])
    if shape.get("type") == "string" and shape.get("format") in ("int64", "uint64"):
        kept["type"] = ["string", "integer"]  # the API takes either
    return kept


def _kubernetes() -> Schema:
    folder = resources.files("kubernetes_validate") / f"kubernetes-json-schema/{KUBERNETES}-local-strict"
    text = (folder / "_definitions.json").read_text().replace("#/$defs/", "#/definitions/")
    definitions = _without_texts(json.loads(text)["$defs"])
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = QUANTITY
    for name, api_version in KINDS.items():
        definitions[name]["properties"]["apiVersion"] = {"const": api_version}
        definitions[name]["properties"]["kind"] = {"const": name.rpartition(".")[2]}
        definitions[name]["required"] = ["apiVersion", "kind", "metadata"]
    schema = _closed("io.k8s.api.core.v1.PodTemplateSpec", definitions.__getitem__, *KINDS)
    return _manifest() | {"definitions": schema["definitions"]}


def _manifest() -> Schema:
    """Return the schema of any of the kinds; the branch is taken by the kind, so that messages are about that one."""
    branches = [
        {
            "if": {"properties": {"kind": {"const": name.rpartition(".")[2]}}},
            "then": {"$ref": f"#/definitions/{name}"},
        }
        for name in KINDS
    ]
    kinds = [name.rpartition(".")[2] for name in KINDS]
    return {"type": "object", "properties": {"kind": {"enum": kinds}}, "required": ["kind"], "allOf": branches}


def _compose() -> Schema:
    path = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    return _without_texts(json.loads(path.read_text()))


def _closed(root: str, shape: Callable[[str], Schema], *more: str) -> Schema:
    """Return a schema of a root with all that it refers to, each strict."""
    found: dict[str, Schema] = {}
    waiting = [root, *more]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _strict(shape(name))
            waiting += _references(found[name])
    return {"$ref": f"#/definitions/{root}", "definitions": dict(sorted(found.items()))}


def _strict(schema: Schema) -> Schema:
    strict = {key: _strict(value) if isinstance(value, dict) else value for key, value in schema.items()}
    if isinstance(strict.get("type"), list):
        kept = [name for name in strict["type"] if name != "null"]
        strict["type"] = kept[0] if len(kept) == 1 else kept
    return strict | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else strict


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _without_texts(schema: Any, names: bool = False) -> Any:
    """Return a schema without its texts; names: whether its keys are names of properties."""
    if isinstance(schema, list):
        return [_without_texts(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if names or key not in TEXTS}
    return {key: _without_texts(value, names=key == "properties" and not names) for key, value in kept.items()}


def _write(name: str, what: str, package: str, schema: Schema) -> None:
    comment = f"{what}, derived by derive_schemas.py from {package} {version(package)}; Apache-2.0"
    text = json.dumps({"$comment": comment} | schema, separators=(",", ":"))
    (FOLDER / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
