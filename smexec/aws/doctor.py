"""What has to be there before the first job, looked at one thing after the other.

Nothing is created but one empty object, which shows that the bucket can be written to and is deleted again.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from smexec.aws import s3
from smexec.aws.border import NotFound, border
from smexec.aws.client import Client
from smexec.aws.identity import Identity, role_arn
from smexec.core.images import PythonVersion, is_gpu, stock_image
from smexec.core.settings import Settings
from smexec.errors import AccessDenied, ImageNotFound, RoleError, ServiceError, SettingsError, SmexecError

SAGEMAKER = "sagemaker.amazonaws.com"
_GUIDE = "docs/real-aws.md has the policies"

State = Literal["ok", "missing", "unknown"]


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    :ivar state: "unknown" where we may not look, or where something else has to be mended first
    :ivar remedy: what to do; empty if nothing
    """

    topic: str
    state: State
    text: str
    remedy: str = ""


@dataclass
class Patient:
    """Whom we examine, and what is known so far.

    :ivar patience: seconds for which a question is asked again that AWS does not answer
    """

    settings: Settings
    aws: Client
    python: PythonVersion
    patience: float = 5.0
    caller: Identity | None = None


Check = Callable[[Patient], Awaitable[Finding]]


async def examine(patient: Patient) -> AsyncIterator[Finding]:
    """One finding for each topic, as they are made. Nothing of AWS is raised: it becomes a finding."""
    blocked = ""
    for topic, check in CHECKS.items():
        if blocked:
            yield Finding(topic, "unknown", f"not looked at without {blocked}")
            continue
        finding = await _guarded(topic, check, patient)
        yield finding
        if finding.state == "missing" and topic in PREREQUISITES:
            blocked = topic


async def _guarded(topic: str, check: Check, patient: Patient) -> Finding:
    try:
        return await check(patient)
    except AccessDenied as error:
        return Finding(topic, "unknown", f"we may not look: {error}", f"Allow {error.operation}; {_GUIDE}.")
    except SmexecError as error:
        return Finding(topic, "missing", str(error))


# -- region and credentials --------------------------------------------------------------------------------


async def _region(patient: Patient) -> Finding:
    try:
        with border("reading the configuration"):
            region = patient.aws.region
    except SettingsError:
        remedy = "export AWS_REGION=eu-west-1, or aws configure set region eu-west-1"
        return Finding("region", "missing", "nothing says in which region jobs are to run", remedy)
    return Finding("region", "ok", region)


async def _credentials(patient: Patient) -> Finding:
    answer = await _ask(patient, "sts", "GetCallerIdentity")
    patient.caller = Identity(answer["Account"], answer["Arn"])
    return Finding("credentials", "ok", patient.caller.arn)


# -- role --------------------------------------------------------------------------------------------------


async def _role(patient: Patient) -> Finding:
    assert patient.caller is not None
    try:
        arn = await role_arn(patient.aws, patient.settings.role, patient.caller)
        answer = await _ask(patient, "iam", "GetRole", RoleName=arn.rpartition("/")[2])
    except RoleError as error:
        return Finding("role", "missing", str(error), f"Create one; {_GUIDE}.")
    except ServiceError as error:
        if error.code != "NoSuchEntity":
            raise
        return Finding("role", "missing", str(error), f"Give another role=, or create it; {_GUIDE}.")
    if not trusts_sagemaker(answer["Role"]["AssumeRolePolicyDocument"]):
        remedy = f"Let {SAGEMAKER} assume it in its trust policy; {_GUIDE}."
        return Finding("role", "missing", f"{arn} does not trust SageMaker", remedy)
    return Finding("role", "ok", arn)


def trusts_sagemaker(policy: dict[str, Any]) -> bool:
    """Whether a role's trust policy lets SageMaker assume it."""
    return any(
        statement.get("Effect") == "Allow"
        and SAGEMAKER in _listed((statement.get("Principal") or {}).get("Service"))
        and {"sts:AssumeRole", "sts:*", "*"} & set(_listed(statement.get("Action")))
        for statement in _listed(policy.get("Statement"))
        if isinstance(statement.get("Principal"), dict)
    )


def _listed(value: Any) -> list[Any]:
    """IAM writes a list of one as the one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


# -- bucket ------------------------------------------------------------------------------------------------


async def _bucket(patient: Patient) -> Finding:
    assert patient.caller is not None
    region = patient.aws.region
    default = f"s3://sagemaker-{region}-{patient.caller.account}/smexec"
    root = patient.settings.s3_root_uri or default
    bucket, _ = s3.split(root)
    try:
        await _ask(patient, "s3", "HeadBucket", Bucket=bucket)
    except NotFound:
        if root == default:
            return Finding("bucket", "ok", f"{bucket} is not there yet: the first run creates it")
        return Finding("bucket", "missing", f"{bucket} does not exist", f"aws s3 mb s3://{bucket}")
    home = await _bucket_region(patient, bucket)
    if home != region:
        text = f"{bucket} is in {home}, and the jobs run in {region}"
        return Finding("bucket", "missing", text, f"Give s3_root_uri= with a bucket in {region}.")
    await _write_and_delete(patient, f"{root}/doctor/{uuid.uuid4().hex}")
    return Finding("bucket", "ok", f"{root} is in {home} and can be written to")


async def _bucket_region(patient: Patient, bucket: str) -> str:
    answer = await _ask(patient, "s3", "GetBucketLocation", Bucket=bucket)
    constraint = str(answer.get("LocationConstraint") or "us-east-1")  # which has none
    return "eu-west-1" if constraint == "EU" else constraint


async def _write_and_delete(patient: Patient, uri: str) -> None:
    bucket, key = s3.split(uri)
    request: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": b""}
    if patient.settings.s3_kms_key:
        request |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": patient.settings.s3_kms_key}
    await _ask(patient, "s3", "PutObject", **request)
    await _ask(patient, "s3", "DeleteObject", Bucket=bucket, Key=key)


# -- image -------------------------------------------------------------------------------------------------


async def _image(patient: Patient) -> Finding:
    region, given = patient.aws.region, patient.settings.image_uri
    if not given:
        try:
            images = [stock_image(region, patient.python, gpu) for gpu in _gpus(patient)]
            return Finding("image", "ok", ", ".join(images))
        except ImageNotFound as error:
            return Finding("image", "missing", str(error))
    registry = re.match(r"\d{12}\.dkr\.ecr\.([a-z0-9\-]+)\.", given)
    if registry and registry[1] != region:
        text = f"{given} is in {registry[1]}, and the jobs run in {region}"
        return Finding("image", "missing", text, f"Push it to a repository in {region} too.")
    return Finding(
        "image", "ok", f"{given}: given by you; it needs Python {'.'.join(map(str, patient.python))}"
    )


def _gpus(patient: Patient) -> list[bool]:
    """Whether the types have a GPU: both, if some have and some have not."""
    return sorted(set(map(is_gpu, patient.settings.instance_type)))


# -- quota -------------------------------------------------------------------------------------------------


async def _quota(patient: Patient) -> Finding:
    needs = quota_names(patient.settings)
    names = {name for each in needs for name in each}
    try:
        quotas = [quota async for quota in _quotas(patient) if quota["QuotaName"] in names]
    except ServiceError as error:
        reason = error.code or type(error).__name__
        remedy = (
            f"Allow servicequotas:ListServiceQuotas; {_GUIDE}." if isinstance(error, AccessDenied) else ""
        )
        return Finding("quota", "unknown", f"Service Quotas does not say ({reason})", remedy)
    return judge_quotas(needs, quotas, patient.aws.region)


def judge_quotas(needs: Sequence[Sequence[str]], quotas: Sequence[Mapping[str, Any]], region: str) -> Finding:
    """Whether each quota of one of the types allows an instance: the other types are passed over then.

    :param needs: for each type, its quotas' names
    :param quotas: members of ListServiceQuotas' answer, those of the names
    """
    values = {quota["QuotaName"]: quota["Value"] for quota in quotas}
    text = "; ".join(f"{name}: {value:g}" for name, value in values.items())
    links = ", ".join(_console(region, quota["QuotaCode"]) for quota in quotas if quota["Value"] < 1)
    remedy = f"Ask for more: {links}" if links else ""
    if any(all(values.get(name, 0) >= 1 for name in names) for names in needs):
        return Finding("quota", "ok", text, remedy)
    if unlisted := sorted({name for names in needs for name in names} - values.keys()):
        return Finding("quota", "unknown", f"Service Quotas does not list: {', '.join(unlisted)}")
    return Finding("quota", "missing", text, remedy)


def quota_names(settings: Settings) -> list[list[str]]:
    """What Service Quotas calls the limits that jobs with these settings count against, for each type."""
    kinds = ["spot training job" if settings.use_spot_instances else "training job"]
    if settings.keep_alive_period_in_seconds:
        kinds.append("training warm pool")
    return [[f"{name} for {kind} usage" for kind in kinds] for name in settings.instance_type]


async def _quotas(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    request: dict[str, Any] = {"ServiceCode": "sagemaker", "MaxResults": 100}
    while True:
        page = await _ask(patient, "service-quotas", "ListServiceQuotas", **request)
        for quota in page["Quotas"]:
            yield quota
        if not page.get("NextToken"):
            return
        request["NextToken"] = page["NextToken"]


def _console(region: str, code: str) -> str:
    return f"https://{region}.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas/{code}"


async def _ask(patient: Patient, service: str, operation: str, **request: Any) -> Any:
    return await patient.aws.call(service, operation, patience=patient.patience, **request)


CHECKS: dict[str, Check] = {
    "region": _region,
    "credentials": _credentials,
    "role": _role,
    "bucket": _bucket,
    "image": _image,
    "quota": _quota,
}
PREREQUISITES = {"region", "credentials"}
