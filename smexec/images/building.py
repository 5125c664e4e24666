"""Images from directories: built here by docker or podman, or in AWS by CodeBuild."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import anyio

from smexec import awaiting
from smexec.aws import ecr
from smexec.aws.client import Client
from smexec.aws.identity import identity
from smexec.core.settings import make
from smexec.engine.loop import Loop, at_exit, forget
from smexec.errors import SettingsError
from smexec.images import codebuild, engines
from smexec.images.buildspec import COMPUTE_TYPES, Network
from smexec.images.codebuild import Workshop, check_registry
from smexec.images.context import context
from smexec.images.order import Image, Order
from smexec.images.reference import Reference

CODEBUILD = "codebuild"


class Build:
    """An image that is being built; what :func:`build` gives. Can be awaited."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        # The interpreter's end waits for it: nothing is to be left in AWS. Threads cannot be started then.
        at_exit(self, self._wait)
        self._loop = Loop()
        self._task: asyncio.Task[Any] | None = None
        self._is_unwanted = False
        threads = concurrent.futures.ThreadPoolExecutor(1, "smexec-build")
        self._future: concurrent.futures.Future[Image] = threads.submit(self._run)
        self._future.add_done_callback(lambda _: forget(self))
        threads.shutdown(wait=False)

    def done(self) -> bool:
        """Whether it has ended, and all that it needed meanwhile is deleted."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> Image:
        """The image, after at most ``timeout`` seconds. Ctrl-C while it is waited for ends the build.

        :raises smexec.errors.BuildFailed: it cannot be built; the text names the step
        :raises concurrent.futures.CancelledError: :meth:`cancel` was called
        """
        try:
            return self._future.result(timeout)
        except KeyboardInterrupt:
            self.cancel()
            self._wait()
            raise

    def cancel(self) -> None:
        """End it; what it has made in AWS for itself is deleted before it is :meth:`done`."""
        if self._is_unwanted:
            return  # a second time would end the cleaning up, too
        self._is_unwanted = True
        if self._task:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._task.cancel)

    def _wait(self) -> None:
        concurrent.futures.wait([self._future])

    def __await__(self) -> Generator[Any, None, Image]:
        """Wait in async code, under asyncio or trio. Cancelling the task that waits ends the build."""
        return self._awaited().__await__()

    async def _awaited(self) -> Image:
        try:
            await awaiting.ended(self._future)
        except BaseException:  # the task was cancelled
            self.cancel()
            raise
        return self._future.result()

    def _run(self) -> Image:
        try:
            image: Image = anyio.run(self._main, backend_options={"loop_factory": lambda: self._loop})
        except asyncio.CancelledError:
            raise concurrent.futures.CancelledError from None
        return image

    async def _main(self) -> Image:
        self._task = asyncio.current_task()
        if self._is_unwanted:
            raise concurrent.futures.CancelledError
        image: Image = await self._work()
        return image


def build(
    directory: str | os.PathLike[str],
    *,
    repository: str,
    using: str | None = None,
    flags: Sequence[str] = (),
    push: bool = False,
    tell: Callable[[str], None] | None = None,
    session: Any = None,
    compute_type: str = COMPUTE_TYPES[0],
    role: str | None = None,
    bucket: str | None = None,
    vpc_id: str | None = None,
    subnet_ids: Sequence[str] = (),
    security_group_ids: Sequence[str] = (),
) -> Build:
    """Begin to build an image of a directory with a Dockerfile.

    :param repository: ``NAME``, ``NAME:TAG``, or with the host of the account's registry in ECR before it
    :param using: docker or podman, which build here, or codebuild, which builds in AWS and pushes to ECR,
        where the repository is created if there is none; by default the first of them that works
    :param flags: of ``docker build``
    :param push: to ECR, what was built here
    :param tell: is called with each line of the build's log as it comes
    :param session: a boto3 session
    :param compute_type: CodeBuild's machine
    :param role: that CodeBuild takes; by default the setting ``role``, or the caller's own
    :param bucket: for the source on its way to CodeBuild; by default SageMaker's
    :param vpc_id, subnet_ids, security_group_ids: where CodeBuild builds, if not in a network of its own
    :raises smexec.errors.SettingsError: these cannot be; nothing was started
    """
    if using not in {None, CODEBUILD, *engines.ENGINES}:
        raise SettingsError(f"using={using!r}: give one of {CODEBUILD}, {', '.join(engines.ENGINES)}")
    network = Network(vpc_id or "", tuple(subnet_ids), tuple(security_group_ids))
    if len({bool(network.vpc_id), bool(network.subnet_ids), bool(network.security_group_ids)}) > 1:
        raise SettingsError("vpc_id, subnet_ids and security_group_ids go together: give all, or none")
    settings = make({"session": session, "role": role}, os.environ)
    order = Order(context(Path(directory), flags), Reference.of(repository), tell)
    workshop = Workshop(compute_type, settings.role, bucket, network)

    async def work() -> Image:
        engine = None if using == CODEBUILD else await engines.choose(using)
        if engine and not push:
            return await engines.build(engine, order, str(order.reference))
        async with Client(settings.session, None) as aws:
            uri = await _address(order.reference, aws)
            if engine is None:
                return await codebuild.build(order, uri, workshop, aws)
            await engines.build(engine, order, uri)
            return await engines.push(engine, order, uri, aws)

    return Build(work)


async def _address(reference: Reference, aws: Client) -> str:
    """The image's in the account's registry, as ECR says: what it ends with differs between partitions.

    :raises SettingsError: it names another registry
    """
    caller = await identity(aws)
    if problem := check_registry(reference, caller.account, aws.region):
        raise SettingsError(problem)
    return f"{await ecr.ensure_repository(aws, reference.name)}:{reference.tag}"
