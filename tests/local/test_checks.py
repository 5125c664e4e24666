from __future__ import annotations

from typing import Any

import pytest

from smexec.local.checks import PRINCIPAL, _trusts, check_consistency, split_s3_uri
from smexec.local.model import ServiceError

INSTANCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
GROUP = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "InstanceGroupName": "g"}


def request(**changes: Any) -> dict[str, Any]:
    members = {
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "ResourceConfig": INSTANCES,
        "StoppingCondition": {},
    }
    return {**members, **changes}


def channel(name: str) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k"}},
    }


def spot(runtime: int | None, wait: int | None) -> dict[str, Any]:
    times = {"MaxRuntimeInSeconds": runtime, "MaxWaitTimeInSeconds": wait}
    condition = {name: seconds for name, seconds in times.items() if seconds is not None}
    return {"EnableManagedSpotTraining": True, "StoppingCondition": condition}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"AlgorithmSpecification": {"AlgorithmName": "mine", "TrainingInputMode": "File"}},
        {"ResourceConfig": {"InstanceGroups": [GROUP, {**GROUP, "InstanceGroupName": "h"}]}},
        {"ResourceConfig": {**INSTANCES, "KeepAlivePeriodInSeconds": 60}},
        {"ResourceConfig": {**INSTANCES, "KeepAlivePeriodInSeconds": 0}, **spot(60, 60)},
        spot(60, 60),
        spot(None, 86_400),
        {"InputDataConfig": [channel("a"), channel("b")]},
    ],
)
def test_members_that_fit_together_are_accepted(changes: dict[str, Any]) -> None:
    check_consistency(request(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "either TrainingImage or AlgorithmName"),
        (
            {
                "AlgorithmSpecification": {
                    "TrainingImage": "i",
                    "AlgorithmName": "a",
                    "TrainingInputMode": "File",
                }
            },
            "either TrainingImage or AlgorithmName",
        ),
        (
            {"ResourceConfig": {**INSTANCES, "InstanceGroups": [GROUP]}},
            "InstanceGroups in ResourceConfig excludes",
        ),
        (
            {"ResourceConfig": {"VolumeSizeInGB": 1}},
            "must have InstanceType and InstanceCount, or InstanceGroups",
        ),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large"}}, "must have InstanceType and InstanceCount"),
        (
            {"ResourceConfig": {**INSTANCES, "InstanceCount": 0}},
            "InstanceCount in ResourceConfig must be at least 1",
        ),
        ({"ResourceConfig": {"InstanceGroups": [GROUP, GROUP]}}, "Duplicate instance group name 'g'"),
        (
            {"ResourceConfig": {**INSTANCES, "KeepAlivePeriodInSeconds": 60}, **spot(60, 60)},
            "KeepAlivePeriodInSeconds is not supported",
        ),
        (
            {"ResourceConfig": {"InstanceGroups": [GROUP], "KeepAlivePeriodInSeconds": 60}},
            "KeepAlivePeriodInSeconds is not supported",
        ),
        (spot(60, None), "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to"),
        (spot(60, 59), "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to"),
        (
            spot(None, 86_399),
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to",
        ),
        (
            {"StoppingCondition": {"MaxWaitTimeInSeconds": 1}},
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set",
        ),
        ({"InputDataConfig": [channel("a"), channel("a")]}, "Duplicate channel name 'a'"),
        (
            {"InputDataConfig": [{"ChannelName": "a", "DataSource": {}}]},
            "Channel a must have an S3DataSource",
        ),
        ({"Tags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]}, "Duplicate tag key 'k'"),
    ],
)
def test_members_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        check_consistency(request(**changes))
    assert caught.value.code == "ValidationException"
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a/b", ("bucket", "a/b")),
        ("s3://bucket/a#b?c", ("bucket", "a#b?c")),
        ("https://s3.us-east-1.amazonaws.com/bucket/a", ("bucket", "a")),
    ],
)
def test_uris_are_taken_apart(uri: str, expected: tuple[str, str]) -> None:
    assert split_s3_uri(uri) == expected


ALLOW = {"Effect": "Allow", "Action": "sts:AssumeRole"}


@pytest.mark.parametrize(
    ("statements", "trusted"),
    [
        ({**ALLOW, "Principal": {"Service": "sagemaker.amazonaws.com"}}, True),
        ([{**ALLOW, "Principal": {"Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}}], True),
        ([{**ALLOW, "Principal": "*"}], True),
        ([{**ALLOW, "Principal": {"AWS": "arn:aws:iam::123456789012:root"}}], False),
        ([{**ALLOW, "Principal": {"Service": "ec2.amazonaws.com"}}], False),
        ([{"Effect": "Deny", "Principal": {"Service": "sagemaker.amazonaws.com"}}], False),
        ([], False),
    ],
)
def test_a_trust_policy_must_name_sagemaker(statements: Any, trusted: bool) -> None:
    assert _trusts({"Statement": statements}, PRINCIPAL) is trusted
