"""One host of a job: what is put there, the container that runs on it, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smexec.local.containers import Container, Engine, Spec
from smexec.local.layout import Layout
from smexec.local.logs import LogStream
from smexec.local.transfer import Storage

GATE = "gate"  # in the scratch directory


@dataclass(frozen=True)
class Surroundings:
    """What the containers share of the service.

    Attributes:
        engine: runs them.
        storage: S3.
        logs: a client of CloudWatch Logs.
        region: that the service plays.
        endpoint_url: of the service, for the containers' AWS clients.
        gate: a socket by which containers with a network of their own reach the service.
    """

    engine: Engine
    storage: Storage
    logs: Any
    region: str
    endpoint_url: str
    gate: Path

    def reach(self) -> dict[str, str]:
        """The variables that lead a container's AWS clients to the service. Not for network isolation."""
        credentials = f"{self.endpoint_url}/_smexec/credentials"
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": credentials,
        }


class ContainerRun:
    """One container from its start to its end; orders may come before there is one."""

    def __init__(self, around: Surroundings, log: LogStream) -> None:
        self.log = log
        self._around = around
        self._container: Container | None = None
        self._orders: list[Callable[[Container], None]] = []

    async def run(self, spec: Spec) -> int:
        """The command, to its end: its exit code. All it wrote is in CloudWatch when this returns, none of
        it runs.

        Raises:
            JobFailure: it cannot be started.
        """
        container = self._container = await self._around.engine.start(spec)
        try:
            for order in self._orders:  # that came before there was a container
                order(container)
            await self.log.copy(container.output)
            return await container.wait()
        finally:
            container.kill()
            await container.wait()

    def terminate(self) -> None:
        """SIGTERM to the command, now or as soon as it runs."""
        self._order(Container.terminate)

    def kill(self) -> None:
        """SIGKILL to all that runs, now or as soon as it does."""
        self._order(Container.kill)

    def _order(self, order: Callable[[Container], None]) -> None:
        if self._container:
            order(self._container)
        else:
            self._orders.append(order)


class HostRun(ABC):
    """One host during one attempt at a job."""

    @abstractmethod
    async def prepare(self) -> None:
        """Everything that has to be there before the command starts.

        Raises:
            JobFailure: some of the input cannot be had.
        """

    @abstractmethod
    async def run(self) -> int:
        """What the host is for, to its end: an exit code.

        Raises:
            JobFailure: it cannot be done, for another reason than a command's own.
        """

    @abstractmethod
    def terminate(self) -> None:
        """SIGTERM, now or as soon as something runs."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL, now or as soon as something runs."""

    @abstractmethod
    def failure_reason(self, code: int) -> str:
        """FailureReason for an exit code other than 0."""

    async def save(self) -> None:  # noqa: B027  (most hosts have nothing of the kind)
        """After the end: what has changed since the last look, of what is kept in S3 all the time.

        Raises:
            JobFailure: S3 does not take it.
        """


class CommandHost(HostRun):
    """One that runs a command to its end. The layout's directory is the host's own, and empty."""

    def __init__(self, layout: Layout, container: ContainerRun) -> None:
        self.layout = layout
        self.container = container

    @abstractmethod
    def spec(self) -> Spec:
        """Its container, once all is prepared."""

    @abstractmethod
    def background(self) -> Iterable[Coroutine[Any, Any, Any]]:
        """What goes on for as long as the command runs; an error there is the job's."""

    def terminate(self) -> None:
        """See :class:`HostRun`."""
        self.container.terminate()

    def kill(self) -> None:
        """See :class:`HostRun`."""
        self.container.kill()

    async def run(self) -> int:
        """See :class:`HostRun`."""
        async with self._in_background():
            return await self.container.run(self.spec())

    @contextlib.asynccontextmanager
    async def _in_background(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work) for work in self.background()]
        for task in tasks:
            task.add_done_callback(lambda _: self.container.kill())
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()  # they end by errors only
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def unstartable(image: str, log: LogStream) -> str:
    """FailureReason when the container's world could not be made."""
    return f"ClientError: The container of {image} cannot be started: {log.last_line}"


def log_name(job: str, host: str, now: float) -> str:
    """Of a job's stream: the time tells the attempts apart."""
    return f"{job}/{host}-{int(now * 1000)}"
