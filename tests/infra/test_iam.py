"""The policies in infra/iam/: what they allow, held against what Ray really asks for."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.session import Session
from moto import mock_aws
from ray.autoscaler._private.aws import utils as aws_utils
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

Statement = dict[str, Any]
Policy = dict[str, Any]
ANY_RESOURCE = {"ec2:DescribeInstances"}
"""Actions of EC2 that know no resources; a policy must write * for them."""


@pytest.fixture
def policy(root: Path) -> Callable[[str], Policy]:
    return lambda role: json.loads((root / f"infra/iam/{role}.json").read_text())


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allowed(policy: Policy, action: str, resource: str) -> bool:
    """Return whether some statement allows ``action`` on ``resource``, whatever its condition."""
    return any(
        any(fnmatch.fnmatchcase(action, pattern) for pattern in as_list(statement["Action"]))
        and any(
            fnmatch.fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"])
        )
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
    )


def too_wide(policy: Policy) -> list[str]:
    """Return what grants more than it names: wildcards in actions, everything as the resource."""
    faults: list[str] = []
    for statement in policy["Statement"]:
        actions, resources = as_list(statement["Action"]), as_list(statement["Resource"])
        faults += [action for action in actions if "*" in action]
        if "*" in resources and not set(actions) <= ANY_RESOURCE:
            faults.append(f"{actions} on *")
        if "iam:PassRole" in actions and "iam:PassedToService" not in str(
            statement.get("Condition")
        ):
            faults.append("iam:PassRole to any service")
        if "ec2:TerminateInstances" in actions and "Condition" not in statement:
            faults.append("ec2:TerminateInstances of anybody's machines")
    return faults


@pytest.mark.parametrize("role", ["head", "worker"])
def test_policies_are_valid_and_narrow(role: str, policy: Callable[[str], Policy]) -> None:
    document = policy(role)
    assert document["Version"] == "2012-10-17"
    names = [statement["Sid"] for statement in document["Statement"]]
    assert len(set(names)) == len(names)
    assert too_wide(document) == []
    assert len(json.dumps(document, separators=(",", ":"))) < 6144, "AWS takes no longer policy"


@pytest.mark.parametrize(
    "fault",
    [
        {"Action": "*", "Resource": "arn:aws:s3:::BUCKET"},
        {"Action": "s3:*", "Resource": "arn:aws:s3:::BUCKET"},
        {"Action": "s3:GetObject", "Resource": "*"},
        {"Action": "iam:PassRole", "Resource": "arn:aws:iam::ACCOUNT:role/strsweep-worker"},
        {"Action": ["ec2:TerminateInstances"], "Resource": "arn:aws:ec2:R:A:instance/*"},
    ],
)
def test_a_wide_statement_is_found(fault: Statement, policy: Callable[[str], Policy]) -> None:
    document = policy("head")
    document["Statement"].append({"Sid": "Fault", "Effect": "Allow", **fault})
    assert too_wide(document)


def test_workers_may_use_their_prefix_and_nothing_else(policy: Callable[[str], Policy]) -> None:
    worker = policy("worker")
    actions = {action for s in worker["Statement"] for action in as_list(s["Action"])}
    assert {action.split(":")[0] for action in actions} == {"s3"}
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"):
        assert allowed(worker, action, "arn:aws:s3:::BUCKET/strsweep/sweeps/a/journal/sweep.jsonl")
        assert not allowed(worker, action, "arn:aws:s3:::BUCKET/other/file")
        assert not allowed(worker, action, "arn:aws:s3:::BUCKET/strsweep-of-others/file")


def test_the_head_may_give_away_the_role_of_workers_only(policy: Callable[[str], Policy]) -> None:
    head = policy("head")
    assert allowed(head, "iam:PassRole", "arn:aws:iam::ACCOUNT:role/strsweep-worker")
    assert not allowed(head, "iam:PassRole", "arn:aws:iam::ACCOUNT:role/strsweep-head")


def test_the_head_may_start_what_the_file_starts(
    policy: Callable[[str], Policy], load: Callable[[str], Any]
) -> None:
    kinds = load("infra/aws.yaml")["available_node_types"]
    workers = [kinds[name]["node_config"] for name in ("gpu_spot", "gpu_ondemand")]
    [start] = [s for s in policy("head")["Statement"] if s["Sid"] == "StartMachinesOfThisCluster"]
    conditions = start["Condition"]["StringEquals"]
    assert conditions["ec2:InstanceType"] == sorted({w["InstanceType"] for w in workers})
    assert conditions["aws:RequestTag/ray-cluster-name"] == load("infra/aws.yaml")["cluster_name"]
    for worker in workers:
        assert conditions["ec2:MetadataHttpTokens"] == worker["MetadataOptions"]["HttpTokens"]
        arns = [
            *(f"arn:aws:ec2:REGION:ACCOUNT:subnet/{name}" for name in worker["SubnetIds"]),
            *(f"arn:aws:ec2:REGION:ACCOUNT:security-group/{g}" for g in worker["SecurityGroupIds"]),
            f"arn:aws:ec2:REGION:ACCOUNT:key-pair/{worker['KeyName']}",
            f"arn:aws:ec2:REGION::image/{worker['ImageId']}",
            "arn:aws:ec2:REGION:ACCOUNT:spot-instances-request/sir-1",
            "arn:aws:ec2:REGION:ACCOUNT:network-interface/eni-1",
        ]
        assert [arn for arn in arns if not allowed(policy("head"), "ec2:RunInstances", arn)] == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Collect the actions that clients ask AWS for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    actions: set[str] = set()
    original = Session.client

    def recording(session: Session, name: str, *arguments: Any, **options: Any) -> Any:
        client = original(session, name, *arguments, **options)
        client.meta.events.register(
            "before-call", lambda model, **_: actions.add(f"{name}:{model.name}")
        )
        return client

    monkeypatch.setattr(Session, "client", recording)
    for clients in (aws_utils.resource_cache, aws_utils.client_cache):
        clients.cache_clear()  # Ray keeps those of earlier tests, which nobody listens to
    with mock_aws():
        yield actions


def test_the_head_may_do_all_that_rays_autoscaler_does(
    asked: set[str], policy: Callable[[str], Policy], load: Callable[[str], Any]
) -> None:
    config = load("infra/aws.yaml")
    region = config["provider"]["region"]
    ec2 = boto3.client("ec2", region_name=region)
    subnet = ec2.describe_subnets()["Subnets"][0]
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["ubuntu*"]}])["Images"][0]
    node = {
        "InstanceType": "g6.2xlarge",
        "ImageId": image["ImageId"],
        "SubnetIds": [subnet["SubnetId"]],
    }
    asked.clear()
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    tags = {"ray-node-type": "worker", "ray-user-node-type": "gpu_spot", "ray-launch-config": "x"}
    [name] = provider.create_node(node, tags, 1)
    assert provider.non_terminated_nodes({"ray-node-type": "worker"}) == [name]
    provider.set_node_tags(name, {"ray-node-status": "up-to-date"})
    assert provider.internal_ip(name)
    provider.terminate_nodes([name])
    assert {"ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"} <= asked
    machine = "arn:aws:ec2:REGION:ACCOUNT:instance/i-1"
    assert {action for action in asked if not allowed(policy("head"), action, machine)} == set()
    assert {a for a in asked if allowed(policy("worker"), a, machine)} == set()


def test_machines_take_the_roles_and_nobody_else(policy: Callable[[str], Policy]) -> None:
    [statement] = policy("trust")["Statement"]
    assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert statement["Action"] == "sts:AssumeRole"
