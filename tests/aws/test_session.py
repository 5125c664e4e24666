from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import aioboto3
import boto3
import pytest
from botocore.credentials import Credentials

from smexec.aws.client import Client
from smexec.aws.identity import identity
from smexec.aws.session import Endpoint, open_session, region_of
from smexec.core.settings import make
from smexec.errors import CredentialsError
from smexec.testing import LocalService

Ask = Callable[..., Any]


async def region_and_arn(aws: Client) -> tuple[str, str]:
    return aws.region, (await identity(aws)).arn


@pytest.fixture
def keys(smexec_service: LocalService) -> Callable[[str], Credentials]:
    """Credentials that the service knows by name: those of a role's session."""
    sts: Any = smexec_service.client("sts")

    def named(name: str) -> Credentials:
        given = sts.assume_role(RoleArn=smexec_service.role, RoleSessionName=name)["Credentials"]
        return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    return named


def of(keys: Credentials) -> dict[str, Any]:
    return {
        "aws_access_key_id": keys.access_key,
        "aws_secret_access_key": keys.secret_key,
        "aws_session_token": keys.token,
    }


def test_without_one_it_is_the_environments(smexec_service: LocalService, ask: Ask) -> None:
    region, _ = ask(region_and_arn, session=None)
    assert region == smexec_service.region


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),  # as boto3 has it
        ({}, None),
    ],
)
def test_where_the_region_comes_from(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], region: str | None
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert region_of(open_session(None, None)) == region
    assert region_of(open_session(boto3.Session(), None)) == region
    assert region_of(open_session(aioboto3.Session(), None)) == region


def test_a_session_of_aioboto3s_is_used_as_it_is() -> None:
    session = aioboto3.Session()
    assert open_session(session, None) is session


def test_a_session_of_aioboto3s(ask: Ask, keys: Any) -> None:
    session = aioboto3.Session(region_name="eu-west-1", **of(keys("anna")))
    region, arn = ask(region_and_arn, session=session)
    assert (region, arn.rpartition("/")[2]) == ("eu-west-1", "anna")


def test_a_session_of_boto3s(ask: Ask, keys: Any) -> None:
    session = boto3.Session(region_name="eu-west-1", **of(keys("bert")))
    region, arn = ask(region_and_arn, session=session)
    assert (region, arn.rpartition("/")[2]) == ("eu-west-1", "bert")


def test_a_session_of_boto3s_without_anything_is_the_environments(
    ask: Ask, smexec_service: LocalService
) -> None:
    """It calls its profile "default", but there is no file that has one."""
    region, _ = ask(region_and_arn, session=boto3.Session())
    assert region == smexec_service.region


def test_a_session_as_the_sagemaker_sdk_has_it(ask: Ask, keys: Any) -> None:
    class Session:
        boto_session = boto3.Session(region_name="eu-west-1", **of(keys("cleo")))

    settings = make({"sagemaker_session": Session()}, {})
    region, arn = ask(region_and_arn, session=settings.session)
    assert (region, arn.rpartition("/")[2]) == ("eu-west-1", "cleo")


def test_credentials_are_asked_for_at_each_request(ask: Ask, keys: Any) -> None:
    """As those of a role have to be, which expire while jobs are running."""
    session: Any = boto3.Session(region_name="us-east-1")

    async def twice(aws: Client) -> list[str]:
        names = []
        for name in ("dora", "emil"):
            session._session._credentials = keys(name)
            names.append((await identity(aws)).arn.rpartition("/")[2])
        return names

    assert ask(twice, session=session) == ["dora", "emil"]


def test_a_profile(ask: Ask, keys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = of(keys("fred"))
    lines = ["[profile work]", "region = ap-south-1", *(f"{name} = {value}" for name, value in given.items())]
    (tmp_path / "config").write_text("\n".join(lines))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    region, arn = ask(region_and_arn, session=boto3.Session(profile_name="work"))
    assert (region, arn.rpartition("/")[2]) == ("ap-south-1", "fred")


def test_a_session_without_credentials(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialsError, match="Unable to locate credentials"):
        ask(region_and_arn, session=boto3.Session())


def test_an_endpoint_comes_before_everything(smexec_service: LocalService) -> None:
    endpoint = Endpoint(smexec_service.endpoint_url, "eu-north-1", "key", "secret")
    assert open_session(boto3.Session(region_name="us-west-2"), endpoint).region_name == "eu-north-1"
