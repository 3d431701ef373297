"""What whoever holds a cluster's token may do in the cloud: what Ray does there, on the cluster's own machines."""

import copy
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import boto3
import botocore.session
import pytest
from cluster_files import CLUSTER, documents
from moto import mock_aws

REGION, ACCOUNT = "us-east-1", "123456789012"
S3 = {
    *("s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads", "s3:GetObject", "s3:PutObject"),
    *("s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
}


def statements(name: str) -> list[dict[str, Any]]:
    text = (CLUSTER / "aws" / name).read_text().replace("ACCOUNT", ACCOUNT)
    found: list[dict[str, Any]] = json.loads(text)["Statement"]
    return found


def several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def allows(action: str, resource: str, **context: str) -> bool:
    """Return whether the head's policy allows an action, by its resource and the keys of its request (`:` as `__`)."""
    keys = {name.replace("__", ":").replace("ray_cluster_name", "ray-cluster-name"): v for name, v in context.items()}
    keys.setdefault("aws:RequestedRegion", REGION)
    return any(
        action in several(statement["Action"])
        and any(fnmatchcase(resource, form) for form in several(statement["Resource"]))
        and all(keys.get(key) == value for key, value in statement.get("Condition", {}).get("StringEquals", {}).items())
        for statement in statements("head.json")
    )


def arn(kind: str, name: str = "x", account: str = ACCOUNT, region: str = REGION) -> str:
    return f"arn:aws:ec2:{region}:{account}:{kind}/{name}"


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`aws.yaml`, filled in for an account of moto's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        ec2 = boto3.client("ec2", REGION)
        (image, *_) = ec2.describe_images(Owners=["amazon"])["Images"]
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="raysl", Description="raysl", VpcId=vpc)["GroupId"]
        text = (CLUSTER / "aws.yaml").read_text().replace("SECURITY_GROUP", group)
        (found,) = documents(re.sub(r"ami-\w+", image["ImageId"], text))
        for node_type in found["available_node_types"].values():
            node_type["node_config"]["KeyName"] = "raysl"
            del node_type["node_config"]["IamInstanceProfile"]
        ec2.create_key_pair(KeyName="raysl")
        found["auth"]["ssh_private_key"] = "~/.ssh/raysl.pem"
        found["available_node_types"]["head"]["node_config"]["IamInstanceProfile"] = {"Name": "raysl-head"}
        found |= {"head_node": {}}
        yield found


def test_it_allows_what_ray_does(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own code starts, tags and ends workers; each of its calls is one that the head's role may make."""
    from ray.autoscaler._private.aws import config as aws
    from ray.autoscaler._private.aws import utils
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    calls: list[tuple[str, dict[str, Any]]] = []
    make = boto3.session.Session.client

    def recorded(self: Any, *arguments: Any, **options: Any) -> Any:
        made = make(self, *arguments, **options)
        made.meta.events.register(
            "provide-client-params.*.*",
            lambda params, model, **_: calls.append((f"{model.service_model.service_name}:{model.name}", params)),
        )
        return made

    monkeypatch.setattr(boto3.session.Session, "client", recorded)
    for cached in (utils.resource_cache, utils.client_cache):
        cached.cache_clear()
    ready = aws.bootstrap_aws(config)
    provider = AWSNodeProvider(ready["provider"], "raysl")
    worker = ready["available_node_types"]["gpu-on-demand"]["node_config"]
    for _ in range(2):
        provider.create_node(copy.deepcopy(worker), {"ray-node-type": "worker", "ray-cluster-name": "raysl"}, 1)
    nodes = provider.non_terminated_nodes({"ray-node-type": "worker"})
    assert len(nodes) == 2
    provider.set_node_tags(nodes[0], {"ray-node-status": "up-to-date"})
    provider.terminate_node(nodes[0])
    provider.terminate_nodes(nodes[1:])
    made = {name for name, _ in calls}
    assert {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:CreateTags"} <= made
    own = {"aws__ResourceTag/ray_cluster_name": "raysl"}
    started = {"aws__RequestTag/ray_cluster_name": "raysl", "ec2__InstanceType": "g6.xlarge"}
    for name, params in calls:
        assert allows(name, arn("instance"), **own, **started), (name, params)
        if name == "ec2:RunInstances":
            assert params["InstanceType"] == "g6.xlarge"
            [tags] = [spec["Tags"] for spec in params["TagSpecifications"] if spec["ResourceType"] == "instance"]
            assert {"Key": "ray-cluster-name", "Value": "raysl"} in tags
    for cached in (utils.resource_cache, utils.client_cache):
        cached.cache_clear()


def test_ray_opens_no_port_by_itself(config: Any) -> None:
    """Without a security group in the file, Ray makes one that lets SSH in from anywhere."""
    from ray.autoscaler._private.aws import config as aws

    aws.bootstrap_aws(config)
    groups = boto3.client("ec2", REGION).describe_security_groups()["SecurityGroups"]
    assert not any("ray-autoscaler" in group["GroupName"] for group in groups)
    assert [rule for group in groups for rule in group["IpPermissions"] if rule.get("FromPort") == 22] == []


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("ec2:TerminateInstances", arn("instance"), {}),
        ("ec2:TerminateInstances", arn("instance"), {"aws__ResourceTag/ray_cluster_name": "another"}),
        ("ec2:CreateTags", arn("instance"), {}),
        ("ec2:CreateTags", arn("instance"), {"ec2__CreateAction": "CreateVolume"}),
        ("ec2:RunInstances", arn("instance"), {"aws__RequestTag/ray_cluster_name": "raysl"}),
        (
            "ec2:RunInstances",
            arn("instance"),
            {"aws__RequestTag/ray_cluster_name": "raysl", "ec2__InstanceType": "p5.48xlarge"},
        ),
        ("ec2:RunInstances", arn("instance"), {"ec2__InstanceType": "g6.xlarge"}),
        ("ec2:RunInstances", arn("security-group"), {}),
        ("ec2:RunInstances", arn("subnet", region="eu-west-1"), {}),
        ("ec2:DescribeInstances", "*", {"aws__RequestedRegion": "eu-west-1"}),
        ("ec2:AuthorizeSecurityGroupIngress", arn("security-group"), {}),
        ("ec2:DeleteVolume", arn("volume"), {}),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {"iam__PassedToService": "ec2.amazonaws.com"}),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/raysl-worker", {"iam__PassedToService": "lambda.amazonaws.com"}),
        ("iam:CreateUser", "*", {}),
        ("s3:DeleteBucket", "arn:aws:s3:::BUCKET", {}),
    ],
)
def test_it_allows_nothing_else(action: str, resource: str, context: dict[str, str]) -> None:
    assert not allows(action, resource, **context)


def test_it_names_actions_that_are_there_and_no_wildcards() -> None:
    model = botocore.session.get_session().get_service_model("ec2")
    known = set(model.operation_names)
    for statement in statements("head.json"):
        assert statement["Effect"] == "Allow"
        for action in several(statement["Action"]):
            assert action == "iam:PassRole" or action.removeprefix("ec2:") in known, action
        assert several(statement["Resource"]) != ["*"] or statement["Condition"]
    bucket = statements("bucket.json")
    assert {action for statement in bucket for action in several(statement["Action"])} == S3
    assert {r for statement in bucket for r in several(statement["Resource"])} == {
        "arn:aws:s3:::BUCKET",
        "arn:aws:s3:::BUCKET/*",
    }


def test_they_are_for_the_region_the_types_and_the_roles_of_the_file() -> None:
    (config,) = documents((CLUSTER / "aws.yaml").read_text())
    text = (CLUSTER / "aws/head.json").read_text()
    assert set(re.findall(r"arn:aws:ec2:([\w-]+):", text)) == {config["provider"]["region"]} == {REGION}
    types = {name: t["node_config"] for name, t in config["available_node_types"].items() if name != "head"}
    assert {t["InstanceType"] for t in types.values()} == set(re.findall(r'ec2:InstanceType": "([\w.]+)"', text))
    assert {t["IamInstanceProfile"]["Name"] for t in types.values()} == set(re.findall(r":role/([\w-]+)", text))
    assert set(re.findall(r'ray-cluster-name": "(\w+)"', text)) == {config["cluster_name"]}


def test_google_clouds_head_has_a_role_of_its_own() -> None:
    (config,) = documents((CLUSTER / "gcp.yaml").read_text())
    types = config["available_node_types"]
    accounts = {name: t["node_config"]["serviceAccounts"][0]["email"].partition("@")[0] for name, t in types.items()}
    assert accounts == {"head": "raysl-head", "gpu-spot": "raysl-worker", "gpu-on-demand": "raysl-worker"}
    (role,) = documents((CLUSTER / "gcp/head-role.yaml").read_text())
    kinds = {"disks", "images", "instances", "subnetworks", "zoneOperations"}
    assert {permission.split(".")[1] for permission in role["includedPermissions"]} == kinds
    assert all(re.fullmatch(r"compute\.\w+\.\w+", permission) for permission in role["includedPermissions"])


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_pods_have_a_role_and_no_key_in_their_environment(name: str) -> None:
    (manifest,) = documents((CLUSTER / "kuberay" / name).read_text())
    cluster = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] == "raysl"
        [keys] = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "keys"]
        assert keys == {"secretName": "raysl-aws", "optional": True}
        mounts = pod["containers"][0]["volumeMounts"]
        assert {"name": "keys", "mountPath": "/home/ray/.aws", "readOnly": True} in mounts
    assert "KEY" not in (CLUSTER / "kuberay/.env.example").read_text()
