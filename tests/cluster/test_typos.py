"""A slip in a file of `cluster/` is found: any key misspelt, and values that their readers would refuse."""

from collections.abc import Iterator

import pytest
import yaml
from cluster_files import CHECKS, CLUSTER, faults

NAMES = {  # keys that are ours to choose; what refers to them is checked
    "aws.yaml": {"gpu-spot", "gpu-on-demand"},
    "gcp.yaml": {"gpu-spot", "gpu-on-demand"},
    "mlflow/compose.yaml": {"tls", "mlflow"},
}


@pytest.mark.parametrize("name", [name for name in CHECKS if name.endswith(".yaml")])
def test_any_misspelt_key_is_found(name: str) -> None:
    path = CLUSTER / name
    text = path.read_text()
    missed = [
        f"line {line}: {text[start:end]}"
        for start, end, line in _keys(text)
        if text[start:end] not in NAMES.get(name, ()) and not faults(path, f"{text[:end]}{text[end - 1]}{text[end:]}")
    ]
    assert missed == []


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("aws.yaml", "head_node_type: head", "head_node_type: haed"),
        ("aws.yaml", "type: aws", "type: awss"),
        ("aws.yaml", "MarketType: spot", "MarketType: spott"),
        ("aws.yaml", "InstanceType: g6.xlarge", "InstanceType: g6.xlrage"),
        ("aws.yaml", "VolumeSize: 150", "VolumeSize: 150 GB"),
        ("aws.yaml", "VolumeType: gp3", "VolumeType: gp33"),
        ("aws.yaml", "HttpTokens: required", "HttpTokens: requried"),
        ("aws.yaml", "max_workers: 6", "max_workers: six"),
        ("aws.yaml", "{CPU: 4, GPU: 1}", "{CPU: 4, GPU: -1}"),
        ("aws.yaml", '"0.8048"', '"0,8048"'),
        ("aws.yaml", "market: spot", "market: sopt"),
        ("aws.yaml", "--object-manager-port", "--object-manger-port"),
        ("aws.yaml", "search_spaces: search_spaces", "search_spaces: search_space"),
        ("aws.yaml", "IamInstanceProfile: {Name: raysl-worker}", "IamInstanceProfile: raysl-worker"),
        ("gcp.yaml", "provisioningModel: SPOT", "provisioningModel: SPOTT"),
        ("gcp.yaml", "onHostMaintenance: TERMINATE", "onHostMaintenance: TERMINTE"),
        ("gcp.yaml", "instanceTerminationAction: DELETE", "instanceTerminationAction: REMOVE"),
        ("gcp.yaml", "type: PERSISTENT", "type: PERSISTANT"),
        ("gcp.yaml", "autoDelete: true", "autoDelete: ture"),
        ("gcp.yaml", "scopes: &scopes [https", "scopes: &scopes [[https"),
        ("kuberay/raycluster.yaml", "kind: RayCluster", "kind: RayClutser"),
        ("kuberay/raycluster.yaml", "apiVersion: ray.io/v1", "apiVersion: ray.io/v1alpha1"),
        ("kuberay/raycluster.yaml", "mode: token", "mode: tokne"),
        ("kuberay/raycluster.yaml", "version: v2", "version: 2"),
        ("kuberay/raycluster.yaml", "memory: 12Gi", "memory: 12GiB"),
        ("kuberay/raycluster.yaml", 'num-cpus: "0"', "num-cpus: 0"),
        ("kuberay/raycluster.yaml", "gke-provisioning: spot", "gke-provisioning: spott"),
        ("kuberay/raycluster.yaml", "- {name: cache, mountPath", "- {name: cahce, mountPath"),
        ("kuberay/raycluster.yaml", "name: RAYSL_CACHE", "name: RAYSL_CAHCE"),
        ("kuberay/raycluster.yaml", "maxReplicas: 6", 'maxReplicas: "6"'),
        ("kuberay/rayjob.yaml", "backoffLimit: 5", "backoffLimit: five"),
        ("kuberay/rayjob.yaml", "--results", "--result"),
        ("kuberay/rayjob.yaml", "shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: finished"),
        ("mlflow/kubernetes.yaml", "kind: Deployment", "kind: Deploiment"),
        ("mlflow/kubernetes.yaml", "apiVersion: apps/v1", "apiVersion: app/v1"),
        ("mlflow/kubernetes.yaml", "claimName: mlflow-postgres", "claimName: mlflow-postgers"),
        ("mlflow/kubernetes.yaml", "selector: {app: mlflow}", "selector: {app: mlfow}"),
        ("mlflow/kubernetes.yaml", "targetPort: http", "targetPort: htpp"),
        ("mlflow/kubernetes.yaml", "--app-name", "--app-nmae"),
        ("mlflow/kubernetes.yaml", "name: MLFLOW_AUTH_CONFIG_PATH", "name: MLFLOW_AUTH_CONFIG_PAHT"),
        ("mlflow/kubernetes.yaml", "containerPort: 5000", "containerPort: http"),
        ("mlflow/compose.yaml", "condition: service_healthy", "condition: service_helthy"),
        ("mlflow/compose.yaml", "depends_on: [mlflow]", "depends_on: [mlfow]"),
        ("mlflow/compose.yaml", "${MLFLOW_DOMAIN:?}", "${MLFLOW_DOMIAN:?}"),
        ("mlflow/compose.yaml", "./auth.ini:", "./auth.int:"),
        ("mlflow/compose.yaml", "--backend-store-uri", "--backend-store"),
        ("mlflow/compose.yaml", "postgres:/var/lib", "postgers:/var/lib"),
        ("mlflow/auth.ini", "[mlflow]", "[mlfow]"),
        ("mlflow/auth.ini", "default_permission", "default_permision"),
        ("mlflow/auth.ini", "database_uri", "database_url"),
        ("mlflow/auth.ini", "admin_username", "admin_user"),
        ("mlflow/auth.ini", "authorization_function", "authorisation_function"),
        ("mlflow/.env.example", "POSTGRES_PASSWORD=", "POSTGRES_PASSWROD="),
        ("mlflow/.env.example", "MLFLOW_AUTH_ADMIN_PASSWORD=", "MLFLOW_AUTH_ADMIN_PASSWORD=hunter2"),
        ("kuberay/.env.example", "MLFLOW_TRACKING_URI=", "MLFLOW_TRACKING_URL="),
        ("kuberay/.env.example", "AWS_DEFAULT_REGION=", "AWS_DEFAULT_REGION"),
    ],
)
def test_wrong_value_is_found(name: str, right: str, wrong: str) -> None:
    text = (CLUSTER / name).read_text()
    assert right in text
    assert faults(CLUSTER / name, text.replace(right, wrong, 1)) != []


def _keys(text: str) -> Iterator[tuple[int, int, int]]:
    """Yield where each mapping's keys stand: their first and last position, and the line."""
    waiting: list[yaml.Node] = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                waiting.append(value)
                if key.start_mark.index not in seen:  # an alias has its anchor's
                    seen.add(key.start_mark.index)
                    yield key.start_mark.index, key.end_mark.index, key.start_mark.line + 1
