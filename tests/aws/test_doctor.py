from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from smexec.aws.client import Client
from smexec.aws.doctor import (
    CHECKS,
    Finding,
    Patient,
    examine,
    judge_quotas,
    quota_names,
    trusts_sagemaker,
)
from smexec.aws.session import Endpoint
from smexec.core.settings import make
from smexec.testing import LocalService

ELSEWHERE = "eu-west-1"


@pytest.fixture
def service(smexec_service: LocalService) -> LocalService:
    # moto has no quotas of SageMaker's, and takes its time to say so.
    smexec_service.fault("ListServiceQuotas", "denied", times=None)
    return smexec_service


def findings(service: LocalService, region: str = "", **given: Any) -> dict[str, Finding]:
    """By topic; the role is the service's unless given."""
    environment = service.environment
    endpoint = Endpoint(
        service.endpoint_url,
        region or service.region,
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
    )
    settings = make({"role": service.role, **given}, {})

    async def collect() -> dict[str, Finding]:
        async with Client(None, endpoint) as aws:
            patient = Patient(settings, aws, (3, 11))
            return {finding.topic: finding async for finding in examine(patient)}

    return anyio.run(collect)


def policy(**statement: Any) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", **statement}],
    }


def test_a_healthy_account(service: LocalService) -> None:
    found = findings(service)
    assert list(found) == list(CHECKS)
    states = {topic: finding.state for topic, finding in found.items()}
    assert states.pop("quota") == "unknown"
    assert "servicequotas:ListServiceQuotas" in found["quota"].remedy
    assert set(states.values()) == {"ok"}, found
    assert found["role"].text == service.role
    assert "pytorch-training" in found["image"].text


def test_the_bucket_is_left_as_it_was(service: LocalService) -> None:
    assert findings(service, s3_root_uri=f"s3://{service.bucket}/probe")["bucket"].state == "ok"
    listing = service.client("s3").list_objects_v2(Bucket=service.bucket, Prefix="probe")
    assert listing["KeyCount"] == 0


def test_a_role_that_does_not_exist(service: LocalService) -> None:
    found = findings(service, role="arn:aws:iam::123456789012:role/nobody")["role"]
    assert found.state == "missing"
    assert "nobody" in found.text
    assert "create it" in found.remedy


def test_no_role_and_a_caller_that_is_none(service: LocalService) -> None:
    found = findings(service, role=None)["role"]
    assert found.state == "missing"
    assert "SMEXEC_ROLE" in found.text


def test_a_role_that_does_not_trust_sagemaker(service: LocalService) -> None:
    document = json.dumps(policy(Principal={"Service": "ec2.amazonaws.com"}))
    service.client("iam").create_role(RoleName="for-ec2", AssumeRolePolicyDocument=document)
    found = findings(service, role="for-ec2")["role"]
    assert found.state == "missing"
    assert "does not trust SageMaker" in found.text
    assert "trust policy" in found.remedy


def test_a_role_that_we_may_not_look_at(service: LocalService) -> None:
    service.fault("GetRole", "error", code="AccessDenied", message="not for you", status=403)
    found = findings(service)["role"]
    assert found.state == "unknown"
    assert "not for you" in found.text
    assert "GetRole" in found.remedy


def test_a_bucket_that_does_not_exist(service: LocalService) -> None:
    found = findings(service, s3_root_uri="s3://no-such-bucket/x")["bucket"]
    assert found.state == "missing"
    assert found.remedy == "aws s3 mb s3://no-such-bucket"


def test_the_default_bucket_need_not_exist(service: LocalService) -> None:
    found = findings(service, region=ELSEWHERE)["bucket"]
    assert found.state == "ok"
    assert "the first run creates it" in found.text
    buckets = [bucket["Name"] for bucket in service.client("s3").list_buckets()["Buckets"]]
    assert f"sagemaker-{ELSEWHERE}-123456789012" not in buckets


def test_a_bucket_in_another_region(service: LocalService) -> None:
    where = {"LocationConstraint": ELSEWHERE}
    service.client("s3").create_bucket(Bucket="far-away", CreateBucketConfiguration=where)
    found = findings(service, s3_root_uri="s3://far-away")["bucket"]
    assert found.state == "missing"
    assert ELSEWHERE in found.text
    assert service.region in found.remedy


def test_a_bucket_that_cannot_be_written_to(service: LocalService) -> None:
    service.fault("PutObject", "error", code="AccessDenied", message="read only", status=403)
    found = findings(service)["bucket"]
    assert found.state != "ok"
    assert "PutObject" in found.remedy


def test_expired_credentials_are_all_there_is_to_say(service: LocalService) -> None:
    service.fault("GetCallerIdentity", "error", code="ExpiredToken", message="it has expired", status=403)
    found = findings(service)
    assert found["credentials"].state == "missing"
    assert "it has expired" in found["credentials"].text
    later = [found[topic] for topic in ("role", "bucket", "image", "quota")]
    assert {finding.state for finding in later} == {"unknown"}


def test_an_aws_that_cannot_be_reached() -> None:
    async def collect() -> list[Finding]:
        async with Client(None, Endpoint("http://127.0.0.1:1", "eu-west-1", "a", "b")) as aws:
            patient = Patient(make({}, {}), aws, (3, 11), patience=0)
            return [finding async for finding in examine(patient)]

    region, credentials, *later = anyio.run(collect)
    assert region.state == "ok"
    assert credentials.state == "missing"
    assert "127.0.0.1:1" in credentials.text
    assert {finding.state for finding in later} == {"unknown"}


def test_an_image_in_another_region(service: LocalService) -> None:
    uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mine:1"
    found = findings(service, image_uri=uri)["image"]
    assert found.state == "missing"
    assert "eu-west-1" in found.text


def test_a_stock_image_that_does_not_exist(service: LocalService) -> None:
    found = findings(service, region="us-iso-east-1")["image"]
    assert found.state == "missing"
    assert "image_uri=" in found.text


@pytest.mark.parametrize(
    "document",
    [
        policy(Principal={"Service": "sagemaker.amazonaws.com"}),
        policy(Principal={"Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}),
        policy(
            Principal={"Service": "sagemaker.amazonaws.com"},
            Action=["sts:AssumeRole", "sts:SetSourceIdentity"],
        ),
        {"Statement": policy(Principal={"Service": "sagemaker.amazonaws.com"})["Statement"][0]},
    ],
)
def test_policies_that_trust_sagemaker(document: dict[str, Any]) -> None:
    assert trusts_sagemaker(document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        policy(Principal={"Service": "lambda.amazonaws.com"}),
        policy(Principal={"AWS": "arn:aws:iam::123456789012:root"}),
        policy(Principal="*"),
        policy(Principal={"Service": "sagemaker.amazonaws.com"}, Effect="Deny"),
        policy(Principal={"Service": "sagemaker.amazonaws.com"}, Action="sts:TagSession"),
    ],
)
def test_policies_that_do_not(document: dict[str, Any]) -> None:
    assert not trusts_sagemaker(document)


def quota(name: str, value: float) -> dict[str, Any]:
    return {"QuotaName": name, "Value": value, "QuotaCode": "L-1234"}


ASK = "https://eu-west-1.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas/L-1234"


@pytest.mark.parametrize(
    ("needs", "values", "found"),
    [
        ([["a", "b"]], {"a": 4.0, "b": 1.0}, ("ok", "a: 4; b: 1", "")),
        ([["a", "b"]], {"a": 4.0, "b": 0.0}, ("missing", "a: 4; b: 0", f"Ask for more: {ASK}")),
        ([["a"], ["b"]], {"a": 0.0, "b": 1.0}, ("ok", "a: 0; b: 1", f"Ask for more: {ASK}")),
        ([["a"], ["b"]], {"a": 0.0, "b": 0.0}, ("missing", "a: 0; b: 0", f"Ask for more: {ASK}, {ASK}")),
        ([["a"]], {}, ("unknown", "Service Quotas does not list: a", "")),
        ([["a"], ["b"]], {"a": 0.0}, ("unknown", "Service Quotas does not list: b", "")),
        ([["a"], ["b"]], {"b": 2.0}, ("ok", "b: 2", "")),
    ],
)
def test_one_type_whose_quotas_suffice_is_enough(
    needs: list[list[str]], values: dict[str, float], found: tuple[Any, str, str]
) -> None:
    quotas = [quota(*item) for item in values.items()]
    assert judge_quotas(needs, quotas, "eu-west-1") == Finding("quota", *found)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["ml.m5.large for training job usage"]),
        ({"use_spot_instances": True}, ["ml.m5.large for spot training job usage"]),
        (
            {"keep_alive_period_in_seconds": 60},
            ["ml.m5.large for training job usage", "ml.m5.large for training warm pool usage"],
        ),
    ],
)
def test_what_jobs_count_against(given: dict[str, Any], names: list[str]) -> None:
    assert quota_names(make(given, {})) == [names]


def test_each_type_has_limits_of_its_own() -> None:
    types = make({"instance_type": ["ml.m5.large", "ml.c5.large"]}, {})
    assert quota_names(types) == [
        ["ml.m5.large for training job usage"],
        ["ml.c5.large for training job usage"],
    ]
