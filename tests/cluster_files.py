"""What is wrong with a file of `cluster/`: by its schema, made strict, and by what no schema says."""

import configparser
import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from cluster_schemas import mlflow_auth_settings, mlflow_variables, option_faults, options, schema_faults

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "cluster"
AMOUNTS = {"cpu", "memory", "nvidia.com/gpu", "storage"}
NODES = {"cloud.google.com/gke-provisioning": {"spot", "standard"}, "cloud.google.com/gke-accelerator": {"nvidia-l4"}}
VARIABLES = {  # beside MLflow's own
    *("POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD", "PGDATA", "PGHOST", "PGUSER", "PGPASSWORD"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"),
    *("RAYSL_CACHE", "RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"),
    *("MLFLOW_DOMAIN", "ARTIFACTS_DESTINATION"),  # compose.yaml's
}

Faults = Iterator[str]
Document = Any


def faults(path: Path, text: str) -> list[str]:
    """Return what is wrong with a file of `cluster/`, were this its text."""
    try:
        return list(CHECKS[path.relative_to(CLUSTER).as_posix()](text))
    except yaml.YAMLError as error:
        return [str(error)]


def documents(text: str) -> list[Document]:
    """Return the documents of a YAML file."""
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


def _launcher(text: str) -> Faults:
    (config,) = documents(text)
    broken = list(schema_faults("ray", config)) or list(_node_faults(config)) or list(_ray_faults(config))
    if broken:
        yield from broken
        return
    for remote, local in config["file_mounts"].items():
        if not remote.endswith(local.removeprefix("~")):
            yield f"file_mounts: {local} becomes {remote}"
        if not local.startswith("~") and not (ROOT / local).exists():
            yield f"file_mounts: no {local}"
    yield from option_faults("ray start", options(" ".join(re.findall(r"ray start.*", text))))


def _node_faults(config: Document) -> Faults:
    cloud = {"aws": "ec2", "gcp": "gce"}.get(config["provider"].get("type"))
    if cloud is None:
        yield f"provider: {config['provider']}"
        return
    for name, node_type in config["available_node_types"].items():
        yield from (f"{name}: {fault}" for fault in schema_faults(cloud, node_type["node_config"]))
        yield from (f"{name}: {fault}" for fault in _label_faults(node_type.get("labels", {})))
        yield from (f"{name}: no resource {amount}" for amount in node_type["resources"].keys() - {"CPU", "GPU"})


def _ray_faults(config: Document) -> Faults:
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except Exception as error:  # of many kinds
        yield f"{type(error).__name__}: {error}"


def _kuberay(text: str) -> Faults:
    (manifest,) = documents(text)
    broken = list(schema_faults("kuberay", manifest))
    if broken:
        yield from broken
        return
    spec = manifest["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        yield from _label_faults(group.get("labels", {}))
        yield from option_faults("ray start", list(group.get("rayStartParams", {})))
        yield from _pod_faults(group["template"]["spec"])
    yield from _variable_faults(variable["name"] for variable in cluster["autoscalerOptions"]["env"])
    yield from option_faults("raysl tune", options(spec.get("entrypoint", "")))


def _kubernetes(text: str) -> Faults:
    manifests = documents(text)
    broken = [fault for manifest in manifests for fault in schema_faults("kubernetes", manifest)]
    if broken:
        yield from broken
        return
    kinds = {
        kind: [m for m in manifests if m["kind"] == kind] for kind in ("Deployment", "Service", "PersistentVolumeClaim")
    }
    claims = {claim["metadata"]["name"] for claim in kinds["PersistentVolumeClaim"]}
    templates = [deployment["spec"]["template"] for deployment in kinds["Deployment"]]
    ports = {port.get("name") for t in templates for c in t["spec"]["containers"] for port in c.get("ports", [])}
    for deployment, template in zip(kinds["Deployment"], templates, strict=True):
        if deployment["spec"]["selector"].get("matchLabels") != template.get("metadata", {}).get("labels"):
            yield f"{deployment['metadata']['name']}: its selector finds other pods"
        used = {
            v["persistentVolumeClaim"]["claimName"] for v in template["spec"]["volumes"] if "persistentVolumeClaim" in v
        }
        yield from (f"no claim {name}" for name in used - claims)
        yield from _pod_faults(template["spec"])
    for service in (service["spec"] for service in kinds["Service"]):
        if service.get("selector") not in [template["metadata"]["labels"] for template in templates]:
            yield f"the selector {service.get('selector')} finds no pods"
        yield from (f"no port {port['targetPort']}" for port in service["ports"] if port["targetPort"] not in ports)
    for claim in kinds["PersistentVolumeClaim"]:
        yield from _amount_faults(claim["spec"]["resources"])


def _compose(text: str) -> Faults:
    (config,) = documents(text)
    broken = list(schema_faults("compose", config))
    if broken:
        yield from broken
        return
    services = config["services"]
    for name, service in services.items():
        yield from (f"{name}: no service {other}" for other in service.get("depends_on", ()) if other not in services)
        yield from _variable_faults(service.get("environment", {}))
        yield from _command_faults(service.get("command", []))
        for place in (volume.partition(":")[0] for volume in service.get("volumes", ())):
            if place not in config.get("volumes", ()) and not (
                place.startswith("./") and (CLUSTER / "mlflow" / place).exists()
            ):
                yield f"{name}: no volume {place}"
    given = (CLUSTER / "mlflow" / ".env.example").read_text()
    yield from (
        f"{name} is not in .env.example" for name in re.findall(r"\$\{(\w+)", text) if f"\n{name}=" not in given
    )


def _auth(text: str) -> Faults:
    config = configparser.ConfigParser()
    config.read_string(text)
    names = [name for section in config.sections() for name in [section, *config[section]]]
    yield from (f"no setting {name}" for name in names if name not in mlflow_auth_settings())


def _policy(text: str) -> Faults:
    try:
        policy = json.loads(text)
    except ValueError as error:
        yield str(error)
        return
    keys = {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
    yield from (f"no key {key}" for key in policy.keys() - {"Version", "Statement"})
    yield from (f"no key {key}" for statement in policy["Statement"] for key in statement.keys() - keys)


def _s3_lifecycle(text: str) -> Faults:
    from botocore.session import get_session
    from botocore.validate import validate_parameters

    shape = get_session().get_service_model("s3").shape_for("BucketLifecycleConfiguration")
    try:
        validate_parameters(json.loads(text), shape)
    except Exception as error:  # of JSON's or of botocore's
        yield str(error)


def _gcs_lifecycle(text: str) -> Faults:
    if json.loads(text) != {"rule": [{"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 1}}]}:
        yield "not the one rule that cloud.google.com/storage/docs/lifecycle has for unfinished uploads"


def _role(text: str) -> Faults:
    (role,) = documents(text)
    yield from (f"no key {key}" for key in role.keys() - {"title", "stage", "includedPermissions"})
    if set(role) != {"title", "stage", "includedPermissions"} or role["stage"] != "GA":
        yield f"{sorted(role)}"


def _example(text: str) -> Faults:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    yield from (f"{line}: not a name without a value" for line in lines if not re.fullmatch(r"\w+=", line))
    yield from _variable_faults(line.partition("=")[0] for line in lines)


def _pod_faults(pod: Document) -> Faults:
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    yield from (f"no node has {k}: {v}" for k, v in pod.get("nodeSelector", {}).items() if v not in NODES.get(k, ()))
    for container in pod["containers"]:
        yield from _variable_faults(variable["name"] for variable in container.get("env", []))
        yield from _amount_faults(container.get("resources", {}))
        yield from _command_faults(container.get("command", []))
        yield from (f"no volume {m['name']}" for m in container.get("volumeMounts", []) if m["name"] not in volumes)


def _amount_faults(resources: Mapping[str, Mapping[str, Any]]) -> Faults:
    yield from (f"no resource {name}" for amounts in resources.values() for name in amounts if name not in AMOUNTS)


def _variable_faults(names: Iterator[str] | Mapping[str, Any]) -> Faults:
    yield from (f"no variable {name}" for name in names if name not in VARIABLES | mlflow_variables())


def _command_faults(command: list[str]) -> Faults:
    if command[:2] == ["mlflow", "server"]:
        yield from option_faults("mlflow server", options(" ".join(command)))


def _label_faults(labels: Mapping[str, str]) -> Faults:
    if set(labels) != {"market", "usd-per-hour"} or labels["market"] not in ("spot", "on-demand"):
        yield f"labels: {dict(labels)}"
    elif not re.fullmatch(r"\d+\.\d+", labels["usd-per-hour"]):
        yield f"labels: {labels['usd-per-hour']} is no price"


CHECKS: Mapping[str, Callable[[str], Faults]] = {
    "aws.yaml": _launcher,
    "aws/bucket.json": _policy,
    "aws/head.json": _policy,
    "aws/lifecycle.json": _s3_lifecycle,
    "aws/trust.json": _policy,
    "gcp.yaml": _launcher,
    "gcp/head-role.yaml": _role,
    "gcp/lifecycle.json": _gcs_lifecycle,
    "kuberay/raycluster.yaml": _kuberay,
    "kuberay/rayjob.yaml": _kuberay,
    "kuberay/.env.example": _example,
    "mlflow/compose.yaml": _compose,
    "mlflow/kubernetes.yaml": _kubernetes,
    "mlflow/auth.ini": _auth,
    "mlflow/.env.example": _example,
}
