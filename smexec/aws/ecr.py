"""ECR: repositories, what is in them, and what a docker client shows to be let in."""

from __future__ import annotations

from typing import Any

from smexec.aws.client import Client
from smexec.errors import InvalidRequest


async def ensure_repository(aws: Client, name: str) -> str:
    """Create a repository in the caller's account unless it is there; its address, without a tag."""
    try:
        answer = await aws.call("ecr", "CreateRepository", repositoryName=name)
    except InvalidRequest as error:
        if error.code != "RepositoryAlreadyExistsException":
            raise
        found = await aws.call("ecr", "DescribeRepositories", repositoryNames=[name])
        return str(found["repositories"][0]["repositoryUri"])
    return str(answer["repository"]["repositoryUri"])


async def newest_tag(aws: Client, name: str) -> str | None:
    """A tag of the image that was pushed last; None if there is none."""
    newest: dict[str, Any] | None = None
    request: dict[str, Any] = {"repositoryName": name, "filter": {"tagStatus": "TAGGED"}}
    while True:
        page = await aws.call("ecr", "DescribeImages", **request)
        for image in page["imageDetails"]:
            if newest is None or image["imagePushedAt"] >= newest["imagePushedAt"]:
                newest = image
        if not page.get("nextToken"):
            return str(newest["imageTags"][0]) if newest else None
        request["nextToken"] = page["nextToken"]


async def digest(aws: Client, name: str, tag: str) -> str:
    """Of the image with this tag."""
    answer = await aws.call("ecr", "DescribeImages", repositoryName=name, imageIds=[{"imageTag": tag}])
    return str(answer["imageDetails"][0]["imageDigest"])


async def login(aws: Client) -> str:
    """User and password for all registries that the caller may use, as docker's configuration keeps them."""
    answer = await aws.call("ecr", "GetAuthorizationToken")
    return str(answer["authorizationData"][0]["authorizationToken"])
