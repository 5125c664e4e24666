"""What a Create…Job operation checks beyond the shape of the request: members that depend on each other, the
role, the inputs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from smexec.local.metrics import metric_problems
from smexec.local.model import invalid

PRINCIPAL = "sagemaker.amazonaws.com"


def refuse_first(problems: Iterator[str]) -> None:
    """Refuse members that exclude or need each other.

    Raises:
        ServiceError: ValidationException for the first rule broken.
    """
    problem = next(problems, None)
    if problem is not None:
        raise invalid(problem)


def check_consistency(request: Mapping[str, Any]) -> None:
    """Refuse a CreateTrainingJob request that contradicts itself.

    Raises:
        ServiceError: ValidationException.
    """
    refuse_first(_inconsistencies(request))


def _inconsistencies(request: Mapping[str, Any]) -> Iterator[str]:
    yield from _algorithm_problems(request["AlgorithmSpecification"])
    yield from _resource_problems(request)
    yield from _time_problems(request)
    yield from duplicates(
        "channel name", [channel["ChannelName"] for channel in request.get("InputDataConfig", ())]
    )
    yield from duplicates("tag key", [tag["Key"] for tag in request.get("Tags", ())])
    for channel in request.get("InputDataConfig", ()):
        if not channel["DataSource"]:
            yield f"Channel {channel['ChannelName']} must have an S3DataSource or a FileSystemDataSource."


def _algorithm_problems(algorithm: Mapping[str, Any]) -> Iterator[str]:
    image, name = algorithm.get("TrainingImage"), algorithm.get("AlgorithmName")
    if bool(image) == bool(name):
        yield "AlgorithmSpecification must have either TrainingImage or AlgorithmName, and not both."
    metrics = algorithm.get("MetricDefinitions", ())
    yield from duplicates("metric name", [metric["Name"] for metric in metrics])
    yield from metric_problems(metrics)


def _resource_problems(request: Mapping[str, Any]) -> Iterator[str]:
    resources = request["ResourceConfig"]
    groups = resources.get("InstanceGroups")
    if groups and ("InstanceType" in resources or "InstanceCount" in resources):
        yield "InstanceGroups in ResourceConfig excludes InstanceType and InstanceCount."
    if not groups and ("InstanceType" not in resources or "InstanceCount" not in resources):
        yield "ResourceConfig must have InstanceType and InstanceCount, or InstanceGroups."
    if any(group.get("InstanceCount", 1) < 1 for group in groups or [resources]):
        yield "InstanceCount in ResourceConfig must be at least 1."
    if groups:
        yield from duplicates("instance group name", [group["InstanceGroupName"] for group in groups])
    if resources.get("KeepAlivePeriodInSeconds") and (groups or request.get("EnableManagedSpotTraining")):
        yield "KeepAlivePeriodInSeconds is not supported with managed spot training or with instance groups."


def _time_problems(request: Mapping[str, Any]) -> Iterator[str]:
    stopping = request["StoppingCondition"]
    wait = stopping.get("MaxWaitTimeInSeconds")
    if request.get("EnableManagedSpotTraining"):
        if wait is None or wait < stopping.get("MaxRuntimeInSeconds", 86_400):
            yield (
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
                "MaxRuntimeInSeconds when EnableManagedSpotTraining is set to true"
            )
    elif wait is not None:
        yield (
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
        )


def duplicates(what: str, names: list[str]) -> Iterator[str]:
    """A problem for each name that is there more than once."""
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"Duplicate {what} '{name}'. Each {what} must be unique."


class Preconditions:
    """The checks that look at the account: does the role exist and trust SageMaker, is there anything to
    train on.

    Args:
        s3, iam: aiobotocore clients.
    """

    def __init__(self, s3: Any, iam: Any, region: str, account: str) -> None:
        self._s3 = s3
        self._iam = iam
        self._region = region
        self._account = account

    async def check(self, role: str, inputs: Iterable[str]) -> None:
        """Refuse a request whose role or inputs (S3 URIs) are not there.

        Raises:
            ServiceError: ValidationException.
        """
        await self.check_role(role)
        await asyncio.gather(*(self._check_input(uri, role) for uri in inputs))

    async def check_role(self, arn: str) -> None:
        """Refuse a role that is not there or does not trust SageMaker.

        Raises:
            ServiceError: ValidationException.
        """
        if arn.split(":")[4] != self._account:
            raise invalid("RoleArn: Cross-account pass role is not allowed.")
        if not await self.may_assume(arn, PRINCIPAL):
            raise invalid(
                f"Could not assume role {arn}. Please ensure that the role exists and allows principal "
                f"'{PRINCIPAL}' to assume the role."
            )

    async def may_assume(self, arn: str, principal: str) -> bool:
        """Whether there is such a role, and it trusts that service."""
        try:
            role = (await self._iam.get_role(RoleName=arn.rpartition("/")[2]))["Role"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
            return False
        return bool(role["Arn"] == arn and _trusts(role["AssumeRolePolicyDocument"], principal))

    async def _check_input(self, uri: str, role: str) -> None:
        if not await self.has(uri):
            bucket = split_s3_uri(uri)[0]
            raise invalid(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. '
                f"Please ensure that the bucket exists in the selected region ({self._region}), "
                "that objects exist under that S3 prefix, "
                f'and that the role "{role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
            )

    async def has_object(self, uri: str) -> bool:
        """Whether an S3 URI is an object's."""
        bucket, key = split_s3_uri(uri)
        return bool(key) and await self._exists(bucket, key)

    async def has(self, uri: str) -> bool:
        """Whether there is anything at an S3 URI."""
        bucket, prefix = split_s3_uri(uri)
        # A prefix that names one object is the common case, and cheaper to look up than to list.
        return bool(prefix and await self._exists(bucket, prefix)) or await self._any(bucket, prefix)

    async def _any(self, bucket: str, prefix: str) -> bool:
        try:
            page = await self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise
            return False
        return bool(page["KeyCount"])

    async def _exists(self, bucket: str, key: str) -> bool:
        try:
            await self._s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True


def split_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix`` or ``https://s3.region.amazonaws.com/bucket/prefix``."""
    # No URL: "?" and "#" are letters of a key like any other.
    scheme, _, rest = uri.partition("://")
    if scheme == "https":
        rest = rest.partition("/")[2]
    bucket, _, prefix = rest.partition("/")
    return bucket, prefix


def _trusts(policy: Mapping[str, Any], service: str) -> bool:
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal", {})
        services = "*" if principal == "*" else principal.get("Service", [])
        named = [services] if isinstance(services, str) else services
        if statement.get("Effect") == "Allow" and ("*" in named or service in named):
            return True
    return False
