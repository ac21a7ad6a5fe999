"""infra/aws.yaml: the words of EC2, then Ray's real bootstrap and provider on a mocked EC2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import botocore.session
import pytest
from botocore.model import ListShape, Shape, StructureShape
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.sdk import bootstrap_config

NODE_TYPES = ["head", "gpu_spot", "gpu_ondemand"]
Load = Callable[[str], Any]
Config = dict[str, Any]


@pytest.fixture
def config(load: Load) -> Config:
    return load("infra/aws.yaml")


def foreign_words(value: Any, shape: Shape) -> list[str]:
    """Return the words of a request that EC2 does not know; its client finds all other faults."""
    if isinstance(shape, StructureShape):
        members = cast("dict[str, Shape]", shape.members)
        return [w for key in value for w in foreign_words(value[key], members[key])]
    if isinstance(shape, ListShape):
        member = cast("Shape", shape.member)
        return [word for item in value for word in foreign_words(item, member)]
    words = getattr(shape, "enum", [])
    return [value] if words and value not in words else []


@pytest.mark.parametrize("node_type", NODE_TYPES)
def test_the_words_of_a_request_are_those_of_ec2(node_type: str, config: Config) -> None:
    service = botocore.session.get_session().get_service_model("ec2")
    shape = cast("Shape", service.operation_model("RunInstances").input_shape)
    request = config["available_node_types"][node_type]["node_config"]
    del request["SubnetIds"]  # Ray's own
    assert foreign_words(request, shape) == []
    request["InstanceType"], request["BlockDeviceMappings"][0]["Ebs"]["VolumeType"] = "g66", "gp4"
    assert sorted(foreign_words(request, shape)) == ["g66", "gp4"]


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield


@pytest.fixture
def account(mocked: None, config: Config, tmp_path: Path, root: Path) -> Config:
    """A mocked account as docs/clusters.md asks for it; returns the file with its identifiers."""
    config = prepare_config(config)
    region = config["provider"]["region"]
    ec2 = boto3.client("ec2", region_name=region)
    iam = boto3.client("iam", region_name=region)
    for name in ("strsweep-head", "strsweep-worker"):
        trust = (root / "infra/iam/trust.json").read_text()
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    zones = config["provider"]["availability_zone"].split(",")
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=zone)["Subnet"]
        for i, zone in enumerate(zones)
    ]
    group = ec2.create_security_group(GroupName="strsweep", Description="-", VpcId=vpc)["GroupId"]
    own = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    office = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    rules = [own, office | {"IpRanges": [{"CidrIp": "10.9.0.0/16"}]}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)
    key = ec2.create_key_pair(KeyName="strsweep")["KeyMaterial"]
    (tmp_path / "key.pem").write_text(key)
    (tmp_path / "key.pem").chmod(0o600)
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["ubuntu*"]}])["Images"][0]
    for kind in config["available_node_types"].values():
        kind["node_config"] |= {
            "SubnetIds": [subnet["SubnetId"] for subnet in subnets],
            "SecurityGroupIds": [group],
            "ImageId": image["ImageId"],
        }
    config["auth"]["ssh_private_key"] = str(tmp_path / "key.pem")
    return config


def machines(region: str) -> list[dict[str, Any]]:
    answer = boto3.client("ec2", region_name=region).describe_instances()
    return [machine for group in answer["Reservations"] for machine in group["Instances"]]


def started(config: Config, node_type: str) -> tuple[AWSNodeProvider, dict[str, Any]]:
    """Start one machine of a type with Ray's provider; returns what EC2 then says of it."""
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    kind = "head" if node_type == config["head_node_type"] else "worker"
    tags = {
        "ray-node-type": kind,
        "ray-node-status": "uninitialized",
        "ray-user-node-type": node_type,
        "ray-launch-config": "hash",
        "ray-node-name": f"ray-strsweep-{kind}",
    }
    provider.create_node(config["available_node_types"][node_type]["node_config"], tags, 1)
    [machine] = machines(config["provider"]["region"])
    return provider, machine


def test_all_that_ray_up_does_before_it_starts_a_machine(account: Config) -> None:
    config = bootstrap_config(account, no_config_cache=True)
    kinds = config["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0, "ours, not what the machine has"
    for name in ("gpu_spot", "gpu_ondemand"):
        # The last is found by Ray in EC2's description of the machine type.
        wanted = {"CPU": 8, "GPU": 1, "accelerator_type:L4": 1}
        assert wanted.items() <= kinds[name]["resources"].items()


@pytest.mark.parametrize(
    ("node_type", "profile", "lifecycle"),
    [
        ("head", "strsweep-head", None),
        ("gpu_spot", "strsweep-worker", "spot"),
        ("gpu_ondemand", "strsweep-worker", None),
    ],
)
def test_ray_starts_the_machine_we_mean_and_ends_it(
    node_type: str, profile: str, lifecycle: str | None, account: Config
) -> None:
    config = bootstrap_aws(account)
    provider, machine = started(config, node_type)
    assert machine["IamInstanceProfile"]["Arn"].endswith(f":instance-profile/{profile}")
    assert machine.get("InstanceLifecycle") == lifecycle
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert "PublicIpAddress" not in machine
    assert {"Key": "ray-cluster-name", "Value": "strsweep"} in machine["Tags"]
    assert provider.non_terminated_nodes({}) == [machine["InstanceId"]]
    provider.terminate_node(machine["InstanceId"])
    assert provider.non_terminated_nodes({}) == []
    [ended] = machines(config["provider"]["region"])
    assert ended["State"]["Name"] == "terminated", "and not stopped: that costs a disk"


def open_to_the_world(config: Config) -> list[str]:
    """Return the security groups of the machines of a cluster that have a rule for everybody."""
    ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
    groups = {
        group
        for kind in config["available_node_types"].values()
        for group in kind["node_config"]["SecurityGroupIds"]
    }
    rules = ec2.describe_security_groups(GroupIds=sorted(groups))["SecurityGroups"]
    return [
        rule["GroupId"]
        for rule in rules
        for permission in rule["IpPermissions"]
        for source in [*permission["IpRanges"], *permission["Ipv6Ranges"]]
        if source.get("CidrIp", source.get("CidrIpv6")) in {"0.0.0.0/0", "::/0"}
    ]


def test_no_port_is_open_to_the_world_as_it_is_in_a_group_that_ray_makes(account: Config) -> None:
    assert open_to_the_world(bootstrap_aws(account)) == []
    for kind in account["available_node_types"].values():
        del kind["node_config"]["SecurityGroupIds"]
    assert open_to_the_world(bootstrap_aws(account)) != []


def test_a_missing_instance_profile_is_found(account: Config) -> None:
    head = account["available_node_types"]["head"]["node_config"]
    head["IamInstanceProfile"] = {"Name": "strsweep-heat"}
    with pytest.raises(NodeLaunchException, match="strsweep-heat not found"):
        started(bootstrap_aws(account), "head")


@pytest.mark.parametrize("node_type", NODE_TYPES)
def test_disks_are_encrypted_and_go_with_the_machine(node_type: str, config: Config) -> None:
    mappings = config["available_node_types"][node_type]["node_config"]["BlockDeviceMappings"]
    wanted = {"VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    assert all(wanted.items() <= mapping["Ebs"].items() for mapping in mappings)
