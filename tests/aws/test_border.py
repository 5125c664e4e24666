"""What AWS says, in our words: by real answers of the local service, whose faults are ordered."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

import aiohttp
import boto3
import pytest
from botocore.credentials import RefreshableCredentials

from smexec import errors
from smexec.aws import border as at_border
from smexec.aws.border import Busy, LimitReached, NameTaken, NotFound, Throttled, Unreachable, border
from smexec.aws.client import Client
from smexec.testing import LocalService

Ask = Callable[..., Any]
DESCRIBE = ("sagemaker", "DescribeTrainingJob", {"TrainingJobName": "job"})
LIST = ("s3", "ListObjectsV2", {"Bucket": "bucket"})
IDENTITY: tuple[str, str, dict[str, Any]] = ("sts", "GetCallerIdentity", {})
HEAD = ("s3", "HeadBucket", {"Bucket": "bucket"})
ALL = [DESCRIBE, LIST, IDENTITY]
ROLE_TEXT = (
    "Could not assume role arn:aws:iam::123456789012:role/x. Please ensure that the role exists and allows "
    "principal 'sagemaker.amazonaws.com' to assume the role."
)


async def once(aws: Client, service: str, operation: str, request: dict[str, Any]) -> Any:
    return await aws.call(service, operation, patience=0, **request)


@pytest.fixture
def refusal(ask: Ask) -> Callable[..., errors.ServiceError]:
    """What a request ends with."""

    def refused(what: tuple[str, str, dict[str, Any]], **how: Any) -> errors.ServiceError:
        with pytest.raises(errors.ServiceError) as caught:
            ask(once, *what, **how)
        assert caught.value.__cause__ is not None
        return caught.value

    return refused


# -- answers -------------------------------------------------------------------------------------------------

NAMED = [
    ("throttle", Throttled),
    ("expired", errors.CredentialsError),
    ("denied", errors.AccessDenied),
    ("internal", Unreachable),
]


@pytest.mark.parametrize("what", ALL, ids=lambda what: what[0])
@pytest.mark.parametrize(("kind", "ours"), NAMED)
def test_common_errors_of_every_protocol(
    smexec_service: LocalService, refusal: Any, what: Any, kind: str, ours: type[errors.ServiceError]
) -> None:
    smexec_service.fault(what[1], kind, times=None)
    error = refusal(what)
    assert type(error) is ours
    assert error.operation == what[1]
    assert str(error).startswith(f"{what[1]}: ")


SAID = [
    (DESCRIBE, "ValidationException", "Requested resource not found.", 400, NotFound),
    (DESCRIBE, "ValidationException", "Could not find requested job with name: job", 400, NotFound),
    (DESCRIBE, "ValidationException", 'Could not find model "arn:aws:sagemaker:x".', 400, NotFound),
    (DESCRIBE, "ValidationException", 'Could not find endpoint configuration "arn".', 400, NotFound),
    (DESCRIBE, "ValidationException", "Could not find model data at s3://b/k.", 400, errors.InvalidRequest),
    (DESCRIBE, "ValidationException", 'Cannot create already existing model "arn".', 400, NameTaken),
    (DESCRIBE, "ValidationException", "1 validation error detected", 400, errors.InvalidRequest),
    (DESCRIBE, "ValidationException", ROLE_TEXT, 400, errors.RoleError),
    (DESCRIBE, "UnrecognizedClientException", "The security token is invalid.", 400, errors.CredentialsError),
    (DESCRIBE, "InvalidSignatureException", "Signature expired", 400, errors.CredentialsError),
    (DESCRIBE, "MissingAuthenticationTokenException", "Missing", 400, errors.CredentialsError),
    (DESCRIBE, "ResourceInUse", "Training job names must be unique", 400, NameTaken),
    (DESCRIBE, "ValidationException", 'Could not find endpoint "arn:aws:x".', 400, NotFound),
    (DESCRIBE, "ValidationException", 'Could not find endpoint configuration "arn".', 400, NotFound),
    (DESCRIBE, "ValidationException", "Could not find model data at s3://b/k.", 400, errors.InvalidRequest),
    (DESCRIBE, "ValidationException", 'Cannot create already existing model "arn".', 400, NameTaken),
    (DESCRIBE, "ValidationException", 'Cannot update in-progress endpoint "arn".', 400, Busy),
    (DESCRIBE, "ServiceUnavailable", "later", 503, Unreachable),
    (DESCRIBE, "TooManyRequestsException", "", 429, Throttled),
    (DESCRIBE, "SomethingNew", "", 429, Throttled),
    (DESCRIBE, "NotImplemented", "never", 501, errors.InvalidRequest),
    (LIST, "NoSuchBucket", "The specified bucket does not exist", 404, errors.BucketNotFound),
    (LIST, "NoSuchKey", "The specified key does not exist.", 404, NotFound),
    (LIST, "InvalidAccessKeyId", "It does not exist in our records.", 403, errors.CredentialsError),
    (LIST, "SignatureDoesNotMatch", "Check your key.", 403, errors.CredentialsError),
    (LIST, "AccessDenied", "Access Denied", 403, errors.AccessDenied),
    (LIST, "ConditionalRequestConflict", "Try again", 409, Unreachable),
    (LIST, "PermanentRedirect", "Another endpoint", 400, errors.InvalidRequest),
    (HEAD, "404", "", 404, NotFound),
    (HEAD, "403", "", 403, errors.AccessDenied),
    (IDENTITY, "InvalidClientTokenId", "The token is invalid", 403, errors.CredentialsError),
    (IDENTITY, "RequestExpired", "Request has expired", 400, errors.CredentialsError),
    (IDENTITY, "UnauthorizedOperation", "no", 403, errors.AccessDenied),
]


@pytest.mark.parametrize(("what", "code", "message", "status", "ours"), SAID)
def test_answers(
    smexec_service: LocalService,
    refusal: Any,
    what: Any,
    code: str,
    message: str,
    status: int,
    ours: type[errors.ServiceError],
) -> None:
    smexec_service.fault(what[1], "error", times=None, code=code, message=message, status=status)
    error = refusal(what)
    assert type(error) is ours
    assert (error.operation, error.code) == (what[1], code)
    assert message in str(error)


ADVICE = [
    (
        "NoSuchBucket",
        "The specified bucket does not exist",
        "does not exist. Create the bucket, or give another",
    ),
    ("AccessDenied", "Access Denied", "Access Denied. `smexec doctor` lists what is missing."),
    ("AccessDenied", "It is so.", "It is so. `smexec doctor` lists"),
    ("ExpiredToken", "The provided token has expired.", "has expired. Log in again (aws sso login)"),
    ("AccessDenied", "", "ListObjectsV2: AccessDenied. `smexec doctor`"),
]


@pytest.mark.parametrize(("code", "message", "text"), ADVICE)
def test_advice_is_a_sentence_of_its_own(
    smexec_service: LocalService, refusal: Any, code: str, message: str, text: str
) -> None:
    smexec_service.fault("ListObjectsV2", "error", code=code, message=message, status=403)
    assert text in str(refusal(LIST))


def test_what_is_really_not_there(smexec_service: LocalService, refusal: Any) -> None:
    assert type(refusal(DESCRIBE)) is NotFound
    assert type(refusal(LIST)) is errors.BucketNotFound
    assert type(refusal(HEAD)) is NotFound
    key = {"Bucket": smexec_service.bucket, "Key": "no-such-key"}
    assert type(refusal(("s3", "GetObject", key))) is NotFound
    assert type(refusal(("iam", "GetRole", {"RoleName": "nobody"}))) is NotFound
    group = {"logGroupName": "/no/such/group"}
    assert type(refusal(("logs", "DescribeLogStreams", group))) is NotFound


def test_a_request_that_the_service_finds_fault_with(refusal: Any, job: Any) -> None:
    request = job(RoleArn="arn:aws:iam::123456789012:role/nobody")
    assert type(refusal(("sagemaker", "CreateTrainingJob", request))) is errors.RoleError
    request = job(TrainingJobName="x" * 64)
    error = refusal(("sagemaker", "CreateTrainingJob", request))
    assert type(error) is errors.InvalidRequest
    assert "less than or equal to 63" in str(error)


def test_a_request_that_botocore_finds_fault_with(refusal: Any) -> None:
    error = refusal(("sagemaker", "DescribeTrainingJob", {"TrainingJobName": 5}))
    assert type(error) is errors.InvalidRequest
    assert "Invalid type for parameter TrainingJobName" in str(error)


def test_enumerations_are_cut_down_to_what_is_near(refusal: Any, job: Any) -> None:
    resources = {"InstanceType": "ml.m5.lage", "InstanceCount": 1, "VolumeSizeInGB": 1}
    text = str(refusal(("sagemaker", "CreateTrainingJob", job(ResourceConfig=resources))))
    assert "'ml.m5.lage'" in text
    assert "near ones are ml.m5.large" in text
    assert len(text) < 400


def test_a_quota_that_is_too_small_for_one_job(smexec_service: LocalService, refusal: Any, job: Any) -> None:
    smexec_service.configure(quotas={"ml.m5.large": 0})
    error = refusal(("sagemaker", "CreateTrainingJob", job()))
    assert type(error) is LimitReached
    assert error.hopeless


def test_a_run_time_that_is_never_allowed(smexec_service: LocalService, refusal: Any, job: Any) -> None:
    smexec_service.configure(max_runtime_quota=60)
    error = refusal(("sagemaker", "CreateTrainingJob", job(StoppingCondition={"MaxRuntimeInSeconds": 61})))
    assert type(error) is LimitReached
    assert error.hopeless


def test_a_quota_that_is_used_up_for_now(
    smexec_service: LocalService, refusal: Any, ask: Ask, job: Any
) -> None:
    resources = {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}  # nobody else has
    smexec_service.configure(quotas={"ml.p3.2xlarge": 1})
    ask(once, "sagemaker", "CreateTrainingJob", job("sleep", "1000", ResourceConfig=resources))
    error = refusal(("sagemaker", "CreateTrainingJob", job(ResourceConfig=resources)))
    assert type(error) is LimitReached
    assert not error.hopeless


# -- no answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ALL, ids=lambda what: what[0])
@pytest.mark.parametrize("kind", ["drop", "drop-before"])
def test_a_lost_answer(smexec_service: LocalService, refusal: Any, what: Any, kind: str) -> None:
    smexec_service.fault(what[1], kind, times=None)
    assert type(refusal(what)) is Unreachable


def test_nobody_there(refusal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    error = refusal(DESCRIBE, session=None)
    assert type(error) is Unreachable
    assert "127.0.0.1:9" in str(error)


def test_a_server_that_does_not_speak_tls(
    refusal: Any, smexec_service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", smexec_service.endpoint_url.replace("http:", "https:"))
    assert type(refusal(DESCRIBE, session=None)) is errors.ServiceUnavailable


@pytest.mark.parametrize(
    "kind", [TimeoutError, asyncio.TimeoutError, ConnectionResetError, aiohttp.ClientError]
)
def test_errors_of_the_network_below_boto(kind: type[Exception]) -> None:
    error = kind("broken")
    with pytest.raises(Unreachable) as caught, border("ListJobs"):
        raise error
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith("ListJobs: ")


# -- no credentials, no region -------------------------------------------------------------------------------


def test_no_credentials(refusal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = refusal(IDENTITY, session=None)
    assert type(error) is errors.CredentialsError
    assert str(error) == (
        "GetCallerIdentity: Unable to locate credentials. "
        "Log in (aws configure, aws sso login), or give session=..."
    )


def test_half_of_the_credentials(refusal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = refusal(IDENTITY, session=None)
    assert type(error) is errors.CredentialsError
    assert "Partial credentials" in str(error)
    assert "Log in" in str(error)


def test_a_profile_that_does_not_exist(refusal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    error = refusal(IDENTITY, session=None)
    assert type(error) is errors.CredentialsError
    assert "(nobody) could not be found" in str(error)


def expired() -> dict[str, str]:
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc).isoformat()
    return {"access_key": "a", "secret_key": "s", "token": "t", "expiry_time": long_ago}


def test_credentials_that_cannot_be_renewed(refusal: Any) -> None:
    session: Any = boto3.Session(region_name="us-east-1")
    session._session._credentials = RefreshableCredentials.create_from_metadata(expired(), expired, "test")
    error = refusal(IDENTITY, session=session)
    assert type(error) is errors.CredentialsError
    assert "still expired. Log in" in str(error)


def test_other_runtime_errors_are_not_ours_to_explain() -> None:
    with pytest.raises(RuntimeError, match="another"), border("ListJobs"):
        raise RuntimeError("another matter")


@pytest.fixture
def _nowhere(monkeypatch: pytest.MonkeyPatch, smexec_service: LocalService) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")


@pytest.mark.usefixtures("_nowhere")
def test_no_region(ask: Ask) -> None:
    async def region(aws: Client) -> str:
        return aws.region

    with pytest.raises(errors.SettingsError, match="set AWS_REGION"):
        ask(region, session=None)
    with pytest.raises(errors.SettingsError, match="set AWS_REGION"):
        ask(once, *DESCRIBE, session=None)


def test_what_is_wrong_with_us_is_no_error_of_awss() -> None:
    with pytest.raises(ZeroDivisionError), border("ListJobs"):
        _ = 1 / 0


def test_lists_of_codes_do_not_overlap() -> None:
    lists = [
        at_border._THROTTLED,
        at_border._CREDENTIALS,
        at_border._DENIED,
        at_border._ABSENT,
        at_border._CONFLICTS,
    ]
    assert sum(map(len, lists)) == len(frozenset().union(*lists))


def test_a_page_of_html_is_not_shown_to_people(refusal: Callable[..., errors.ServiceError]) -> None:
    error = refusal(("service-quotas", "ListServiceQuotas", {"ServiceCode": "sagemaker"}))  # moto fails on it
    assert str(error) == "ListServiceQuotas: an answer of HTTP status 500"
