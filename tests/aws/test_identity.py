from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from smexec.aws.identity import Identity, identity, role_arn
from smexec.errors import RoleError
from smexec.testing import LocalService

Ask = Callable[..., Any]
ACCOUNT = "123456789012"
USER = Identity(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/someone")


def assumed(role: str, partition: str = "aws") -> Identity:
    return Identity(ACCOUNT, f"arn:{partition}:sts::{ACCOUNT}:assumed-role/{role}/session")


def looked_up(service: LocalService) -> list[str]:
    """What was asked about roles and callers."""
    return [name for name in service.requests() if name.startswith(("iam.", "sts."))]


@pytest.fixture
def role(smexec_service: LocalService) -> str:
    """ARN of a role with a path, as SageMaker's wizard makes them."""
    iam: Any = smexec_service.client("iam")
    name = "AmazonSageMaker-ExecutionRole-20240101T000000"
    try:
        made = iam.get_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        policy = json.dumps({"Version": "2012-10-17", "Statement": []})
        made = iam.create_role(RoleName=name, Path="/service-role/", AssumeRolePolicyDocument=policy)
    arn: str = made["Role"]["Arn"]
    return arn


def test_who_we_are(ask: Ask) -> None:
    who = ask(identity)
    assert who.account == ACCOUNT
    assert who.arn.startswith(f"arn:aws:sts::{ACCOUNT}:")


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_partitions(partition: str) -> None:
    assert assumed("r", partition).partition == partition


def test_an_arn_is_taken_as_it_is(ask: Ask, smexec_service: LocalService) -> None:
    smexec_service.reset_requests()
    arn = "arn:aws:iam::999999999999:role/elsewhere"
    assert ask(role_arn, arn, USER) == arn
    assert looked_up(smexec_service) == []


def test_a_name_is_looked_up_for_its_path(ask: Ask, role: str) -> None:
    assert "/service-role/" in role
    assert ask(role_arn, role.rpartition("/")[2], USER) == role


def test_a_name_that_does_not_exist(ask: Ask) -> None:
    with pytest.raises(RoleError, match=f"account {ACCOUNT} has no role 'nobody'") as caught:
        ask(role_arn, "nobody", USER)
    assert (caught.value.operation, caught.value.code) == ("GetRole", "NoSuchEntity")


def test_a_name_that_we_may_not_look_up(ask: Ask, smexec_service: LocalService) -> None:
    smexec_service.fault("GetRole", "denied")
    assert ask(role_arn, "mine", assumed("r", "aws-cn")) == f"arn:aws-cn:iam::{ACCOUNT}:role/mine"


def test_inside_sagemaker_it_is_the_execution_role(ask: Ask, role: str, smexec_service: LocalService) -> None:
    sts = smexec_service.client("sts")
    given = sts.assume_role(RoleArn=role, RoleSessionName="SageMaker")["Credentials"]
    session = boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name="us-east-1"
    )
    who = ask(identity, session=session)
    assert ":assumed-role/" in who.arn
    assert ask(role_arn, None, who, session=session) == role


@pytest.mark.parametrize(
    ("name", "path"), [("AmazonSageMaker-ExecutionRole-1", "service-role/"), ("own-role", "")]
)
def test_an_execution_role_that_may_not_look_at_itself(
    ask: Ask, smexec_service: LocalService, name: str, path: str
) -> None:
    smexec_service.fault("GetRole", "denied")
    assert ask(role_arn, None, assumed(name, "aws-us-gov")) == (
        f"arn:aws-us-gov:iam::{ACCOUNT}:role/{path}{name}"
    )


@pytest.mark.parametrize(
    "arn", [USER.arn, f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:sts::{ACCOUNT}:federated-user/x"]
)
def test_who_is_no_role_has_to_give_one(ask: Ask, smexec_service: LocalService, arn: str) -> None:
    smexec_service.reset_requests()
    with pytest.raises(RoleError, match=r"role=.*SMEXEC_ROLE") as caught:
        ask(role_arn, None, Identity(ACCOUNT, arn))
    assert arn in str(caught.value)
    assert looked_up(smexec_service) == []
