"""CodeBuild: projects, builds and their logs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import anyio

from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.errors import InvalidRequest, RoleError

_CLEANING = 60.0  # seconds that we try to leave nothing behind
_TRIES, _PAUSE = 20, 0.5  # to find a build


async def create_project(aws: Client, request: Mapping[str, Any]) -> None:
    """Create a project. The name is our own: one that is taken was created by a request without an answer.

    :raises RoleError: CodeBuild may not take the role
    """
    try:
        await aws.call("codebuild", "CreateProject", **request)
    except InvalidRequest as error:
        if "sts:AssumeRole" in str(error):
            raise RoleError(f"{error}: give a role that codebuild.amazonaws.com may assume") from error
        if error.code != "ResourceAlreadyExistsException":
            raise


async def delete_project(aws: Client, name: str) -> None:
    """Delete a project. One that is not there is no error."""
    await aws.call("codebuild", "DeleteProject", patience=_CLEANING, name=name)


async def start(aws: Client, project: str, token: str) -> str:
    """Start a build, once, whatever becomes of the answer: its id."""
    answer = await aws.call("codebuild", "StartBuild", projectName=project, idempotencyToken=token)
    return str(answer["build"]["id"])


async def describe(aws: Client, build: str) -> dict[str, Any]:
    """A build as it is. One that was just started may not be found for a moment.

    :raises smexec.aws.border.NotFound: nor is it later
    """
    for _ in range(_TRIES):
        answer = await aws.call("codebuild", "BatchGetBuilds", ids=[build])
        if answer["builds"]:
            found: dict[str, Any] = answer["builds"][0]
            return found
        await anyio.sleep(_PAUSE)
    raise NotFound(f"BatchGetBuilds: there is no build {build}")


async def stop(aws: Client, build: str) -> None:
    """Stop a build. One that has ended already is no error."""
    with contextlib.suppress(NotFound):
        await aws.call("codebuild", "StopBuild", patience=_CLEANING, id=build)


async def log(aws: Client, where: Mapping[str, Any], token: str | None) -> tuple[list[str], str | None]:
    """What a build has written behind ``token``, and what stands for the place where that ends."""
    if not where.get("groupName") or not where.get("streamName"):
        return [], token  # it has not begun to
    place = {"logGroupName": where["groupName"], "logStreamName": where["streamName"]}
    request: dict[str, Any] = {**place, "startFromHead": True, **({"nextToken": token} if token else {})}
    try:
        page = await aws.call("logs", "GetLogEvents", **request)
    except NotFound:
        return [], token
    return [event["message"].rstrip("\n") for event in page["events"]], page["nextForwardToken"]
