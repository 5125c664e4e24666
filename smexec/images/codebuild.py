"""Images built in AWS, by CodeBuild: no engine is needed here."""

from __future__ import annotations

import contextlib
import mmap
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from smexec.aws import codebuild, ecr, s3
from smexec.aws.client import Client
from smexec.aws.identity import identity, role_arn
from smexec.core.cadence import events_delay
from smexec.engine.loop import in_thread
from smexec.errors import RoleError, ServiceError
from smexec.images.buildspec import Network, buildspec, failed_phase, larger, project
from smexec.images.context import archive
from smexec.images.order import BuildLog, Image, Order
from smexec.images.reference import Reference, registries

_SUCCEEDED = "SUCCEEDED"


@dataclass(frozen=True)
class Workshop:
    """Where images are built.

    :ivar role: that CodeBuild takes; None: the caller's own
    :ivar bucket: for the source; None: SageMaker's default bucket
    """

    compute_type: str = "BUILD_GENERAL1_SMALL"
    role: str | None = None
    bucket: str | None = None
    network: Network = field(default_factory=Network)


async def build(order: Order, uri: str, workshop: Workshop, aws: Client) -> Image:
    """Build an image and push it. Whatever happens, project and source are deleted at the end.

    :param uri: in ECR
    :raises smexec.errors.BuildFailed: it cannot be built
    """
    log, reference = BuildLog(order.tell), order.reference
    name = f"smexec-image-{secrets.token_hex(8)}"
    role, bucket = await _role(aws, workshop), await _bucket(aws, workshop)
    text = await _buildspec(order, uri, aws)
    key = f"smexec/images/{name}.zip"
    async with _source(aws, order, f"s3://{bucket}/{key}", log):
        request = project(name, f"{bucket}/{key}", text, role, workshop.compute_type, workshop.network)
        async with _project(aws, request, log):
            ended = await _run(aws, name, log)
    if ended["buildStatus"] != _SUCCEEDED:
        raise log.failure(uri, failed_phase(ended) or ended["buildStatus"], _more_memory(workshop))
    return Image(uri, await ecr.digest(aws, reference.name, reference.tag))


async def _role(aws: Client, workshop: Workshop) -> str:
    try:
        return await role_arn(aws, workshop.role, await identity(aws))
    except RoleError as error:
        raise RoleError(
            f"{error}. For CodeBuild it is one that codebuild.amazonaws.com may assume"
        ) from error


async def _bucket(aws: Client, workshop: Workshop) -> str:
    if workshop.bucket:
        return workshop.bucket
    bucket = f"sagemaker-{aws.region}-{(await identity(aws)).account}"
    await s3.ensure_bucket(aws, bucket)
    return bucket


async def _buildspec(order: Order, uri: str, aws: Client) -> str:
    context, name = order.context, order.reference.name
    newest = await ecr.newest_tag(aws, name)
    logins = registries(f"{uri}\n{context.text}")
    cache = f"{uri.partition(':')[0]}:{newest}" if newest else None
    return buildspec(uri, context.dockerfile.name, context.flags, logins, cache)


def _more_memory(workshop: Workshop) -> str:
    wanted = larger(workshop.compute_type)
    return f"Give --compute-type {wanted}." if wanted else "There is no larger --compute-type."


@contextlib.asynccontextmanager
async def _source(aws: Client, order: Order, uri: str, log: BuildLog) -> AsyncIterator[None]:
    """The archive in S3, for the block."""
    bucket, key = s3.split(uri)

    async def delete() -> None:
        await aws.call("s3", "DeleteObject", Bucket=bucket, Key=key)

    with tempfile.TemporaryFile(prefix="smexec-") as file:
        await in_thread(lambda: archive(order.context, file))
        file.flush()
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        async with _undone(delete, uri, log):
            await s3.put(aws, uri, [content])
            yield


@contextlib.asynccontextmanager
async def _project(aws: Client, request: dict[str, Any], log: BuildLog) -> AsyncIterator[None]:
    name = request["name"]
    async with _undone(lambda: codebuild.delete_project(aws, name), f"project {name}", log):
        await codebuild.create_project(aws, request)
        yield


async def _run(aws: Client, name: str, log: BuildLog) -> dict[str, Any]:
    """Start a build and follow it to its end: what CodeBuild says of it then."""
    build = await codebuild.start(aws, name, secrets.token_hex(16))
    ended: dict[str, Any] | None = None

    async def stop() -> None:
        if ended is None:
            await codebuild.stop(aws, build)

    async with _undone(stop, f"build {build}", log):
        ended = await _follow(aws, build, log)
    return ended


async def _follow(aws: Client, build: str, log: BuildLog) -> dict[str, Any]:
    """Its log goes on for a moment behind its end: what was asked for twice in vain does not come."""
    tail = Tail(aws, log)
    heard, vain = anyio.current_time(), 0
    while True:
        seen = await codebuild.describe(aws, build)
        if await tail.read(seen.get("logs", {})):
            heard, vain = anyio.current_time(), 0
        else:
            vain += 1
        if seen.get("buildComplete") and vain > 1:
            return seen
        await anyio.sleep(events_delay(anyio.current_time() - heard, 1))


class Tail:
    """A build's log in CloudWatch, read as it grows."""

    def __init__(self, aws: Client, log: BuildLog) -> None:
        self._aws = aws
        self._log = log
        self._token: str | None = None
        self._is_refused = False

    async def read(self, where: Mapping[str, Any]) -> bool:
        """Hand on what is new; whether there was something. The build is none the worse without."""
        if self._is_refused:
            return False
        try:
            lines, token = await codebuild.log(self._aws, where, self._token)
        except ServiceError as error:
            self._log.write(f"(no log: {error})")
            self._is_refused = True
            return False
        for line in lines:
            self._log.write(line)
        is_news, self._token = bool(lines) or token != self._token, token
        return is_news


@contextlib.asynccontextmanager
async def _undone(undo: Callable[[], Awaitable[None]], what: str, log: BuildLog) -> AsyncIterator[None]:
    """Undo at the end, whatever that is; what cannot be undone is told, and hides no error of the block."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            try:
                await undo()
            except ServiceError as error:
                log.write(f"(left behind: {what}: {error})")


def check_registry(reference: Reference, account: str, region: str) -> str | None:
    """Why an image of this name cannot be pushed to the caller's ECR; None if it can."""
    registry = reference.ecr
    if reference.registry and registry is None:
        return f"{reference.registry} is no registry in ECR: push there by docker push or podman push"
    if registry and (registry.account, registry.region) != (account, region):
        return (
            f"{reference.registry} is account {registry.account} in {registry.region}, and the caller is in "
            f"account {account}, {region}"
        )
    return None
