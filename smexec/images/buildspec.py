"""What CodeBuild is told: the commands that build an image and push it, and the project that they are in."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smexec.images.context import ARCHIVE
from smexec.images.reference import Registry

IMAGE = "aws/codebuild/standard:7.0"  # it has docker with BuildKit, and AWS's command line, version 2
LOG_GROUP = "/aws/codebuild/smexec-images"
COMPUTE_TYPES = (
    "BUILD_GENERAL1_SMALL",
    "BUILD_GENERAL1_MEDIUM",
    "BUILD_GENERAL1_LARGE",
    "BUILD_GENERAL1_2XLARGE",
)
_FOLDER = "context"


@dataclass(frozen=True)
class Network:
    """Where the build's container is, in the user's own network.

    :ivar vpc_id: empty: in none
    """

    vpc_id: str = ""
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()


def buildspec(
    uri: str, dockerfile: str, flags: Sequence[str], logins: Sequence[Registry], cache: str | None
) -> str:
    """The text, in JSON, which is YAML. A phase that fails ends the build: nothing unfinished is pushed.

    :param uri: of the image, its tag included
    :param dockerfile: its name in the source
    :param flags: of ``docker build``
    :param logins: where to log in: what is built upon may be in other accounts
    :param cache: an image whose layers may be used again
    """
    unpack = [f"mkdir {_FOLDER}", f"tar -xzf {ARCHIVE} -C {_FOLDER}"]
    phases = {
        "pre_build": [*map(_login, logins), *unpack],
        "build": [shlex.join(_build(uri, dockerfile, flags, cache))],
        "post_build": [shlex.join(["docker", "push", uri])],
    }
    return json.dumps(
        {
            "version": 0.2,
            "env": {"shell": "bash", "variables": {"DOCKER_BUILDKIT": "1"}},
            "phases": {
                name: {"on-failure": "ABORT", "commands": commands} for name, commands in phases.items()
            },
        },
        indent=2,
    )


def _login(registry: Registry) -> str:
    password = shlex.join(["aws", "ecr", "get-login-password", "--region", registry.region])
    login = ["docker", "login", "--username", "AWS", "--password-stdin", registry.host]
    return f"{password} | {shlex.join(login)}"


def _build(uri: str, dockerfile: str, flags: Sequence[str], cache: str | None) -> list[str]:
    """What the image carries of its own cache is what the next build finds in ECR."""
    caching = ["--build-arg", "BUILDKIT_INLINE_CACHE=1", *(["--cache-from", cache] if cache else [])]
    return ["docker", "build", "--tag", uri, "--file", dockerfile, *caching, *flags, _FOLDER]


def project(
    name: str, source: str, buildspec: str, role: str, compute_type: str, network: Network
) -> dict[str, Any]:
    """The members of CreateProject.

    :param source: bucket and key of the archive
    """
    request: dict[str, Any] = {
        "name": name,
        "description": "Builds one image for smexec, and is deleted afterwards",
        "source": {"type": "S3", "location": source, "buildspec": buildspec},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {
            "type": "LINUX_CONTAINER",
            "image": IMAGE,
            "computeType": compute_type,
            "privilegedMode": True,  # docker within the build's container
        },
        "serviceRole": role,
        # One for all, else each project would leave a group of its own behind.
        "logsConfig": {"cloudWatchLogs": {"status": "ENABLED", "groupName": LOG_GROUP, "streamName": name}},
    }
    if network.vpc_id:
        request["vpcConfig"] = {
            "vpcId": network.vpc_id,
            "subnets": list(network.subnet_ids),
            "securityGroupIds": list(network.security_group_ids),
        }
    return request


def larger(compute_type: str) -> str | None:
    """The next compute type; None if there is none."""
    behind = COMPUTE_TYPES[COMPUTE_TYPES.index(compute_type) + 1 :] if compute_type in COMPUTE_TYPES else ()
    return behind[0] if behind else None


def failed_phase(build: dict[str, Any]) -> str | None:
    """Of a build as BatchGetBuilds shows it: the phase that failed, and what CodeBuild says of it."""
    for phase in build.get("phases", ()):
        if phase.get("phaseStatus") not in {None, "SUCCEEDED", "QUEUED", "IN_PROGRESS"}:
            said = [context.get("message", "") for context in phase.get("contexts", ())]
            return ": ".join([phase["phaseType"], *filter(None, said)])
    return None
