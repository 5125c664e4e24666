"""Who we are, and what follows from it: the account, the role that jobs run as."""

from __future__ import annotations

import re
from typing import NamedTuple

from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.errors import AccessDenied, RoleError

_ASSUMED = re.compile(r"arn:(?P<partition>[^:]+):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/.*")


class Identity(NamedTuple):
    """Answer of sts:GetCallerIdentity."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """``aws``, ``aws-cn``, ``aws-us-gov``, …"""
        return self.arn.split(":")[1]


async def identity(aws: Client) -> Identity:
    """The caller's."""
    answer = await aws.call("sts", "GetCallerIdentity")
    return Identity(answer["Account"], answer["Arn"])


async def role_arn(aws: Client, given: str | None, caller: Identity) -> str:
    """The ARN of the role that jobs run as.

    :param given: an ARN, a role's name, or None for the caller's own role, which inside SageMaker
        (Studio, notebooks, jobs) is the execution role
    :raises RoleError: there is no role of this name; none was given, and the caller is none
    """
    if given and given.startswith("arn:"):
        return given
    if given:
        return await _named(aws, given, caller)
    assumed = _ASSUMED.fullmatch(caller.arn)
    if not assumed:
        raise RoleError(
            f"no role was given, and the caller ({caller.arn}) is none: give role=... (an execution role "
            "that sagemaker.amazonaws.com may assume), or set SMEXEC_ROLE"
        )
    return await _look_up(
        aws, assumed["role"], _guess(assumed["partition"], assumed["account"], assumed["role"])
    )


async def _named(aws: Client, name: str, caller: Identity) -> str:
    try:
        return await _look_up(aws, name, f"arn:{caller.partition}:iam::{caller.account}:role/{name}")
    except NotFound as error:
        missing = RoleError(f"account {caller.account} has no role {name!r}: give another role=... {error}")
        missing.operation, missing.code = error.operation, error.code
        raise missing from error


async def _look_up(aws: Client, name: str, otherwise: str) -> str:
    """IAM knows a role's path, which a session's ARN leaves out; we may not be allowed to ask it."""
    try:
        answer = await aws.call("iam", "GetRole", patience=10, RoleName=name)
    except AccessDenied:
        return otherwise
    return str(answer["Role"]["Arn"])


def _guess(partition: str, account: str, name: str) -> str:
    path = "service-role/" if name.startswith("AmazonSageMaker-ExecutionRole") else ""
    return f"arn:{partition}:iam::{account}:role/{path}{name}"
