"""One host of a job: what is put there, the container that runs on it, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from smexec.local import layout as layouts
from smexec.local.containers import Container, Engine, Spec
from smexec.local.jobs import TrainingJob
from smexec.local.layout import Host, Layout
from smexec.local.logs import LogStream
from smexec.local.pipes import Pipe
from smexec.local.shim import BROKEN
from smexec.local.transfer import Checkpoints, Storage, fetch_channel, plan_channel


@dataclass(frozen=True)
class Surroundings:
    """What the hosts of a job share of the service.

    Attributes:
        engine: runs the container.
        storage: S3.
        logs: a client of CloudWatch Logs.
        region: that the service plays.
        endpoint_url: of the service, for the container's AWS clients.
    """

    engine: Engine
    storage: Storage
    logs: Any
    region: str
    endpoint_url: str


class HostRun:
    """One host during one attempt at a job. The directory is the host's own, and empty."""

    def __init__(self, job: TrainingJob, host: Host, directory: Path, around: Surroundings) -> None:
        self._job = job
        self._request = job.request
        self._host = host
        self._around = around
        self._container: Container | None = None
        self._orders: list[Callable[[Container], None]] = []
        self._pipes: list[Pipe] = []
        self._read_only: list[str] = []
        checkpoints = job.request.get("CheckpointConfig")
        self.layout = Layout(directory, checkpoints and PurePosixPath(checkpoints["LocalPath"]))
        self._checkpoints = checkpoints and Checkpoints(
            around.storage, checkpoints["S3Uri"], self.layout.checkpoints
        )
        milliseconds = int(job.clock() * 1000)
        self._log = LogStream(around.logs, f"{job.name}/{host.name}-{milliseconds}", job.clock)

    async def prepare(self) -> None:
        """Everything that has to be there before the command starts.

        Raises:
            JobFailure: some of the input cannot be had.
        """
        self.layout.make()
        self.layout.write_config(self._request, self._host)
        await asyncio.gather(*(self._fetch(channel) for channel in self._request.get("InputDataConfig", ())))
        if self._checkpoints:
            await self._checkpoints.restore()

    async def run(self) -> int:
        """The command, to its end: its exit code. All it wrote is in CloudWatch when this returns, none of
        it runs.

        Raises:
            JobFailure: it cannot be started, or its input or checkpoints broke on the way.
        """
        async with self._in_background():
            container = self._container = await self._around.engine.start(self._spec())
            try:
                for order in self._orders:  # that came before there was a container
                    order(container)
                await self._log.copy(container.output)
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

    async def save_checkpoints(self) -> None:
        """After the end: what has changed since the last look.

        Raises:
            JobFailure: S3 does not take it.
        """
        if self._checkpoints:
            await self._checkpoints.sync()

    def failure_reason(self, code: int) -> str:
        """FailureReason for an exit code other than 0."""
        told = self.layout.read_failure()
        if code == BROKEN and not told:
            image = self._request["AlgorithmSpecification"].get("TrainingImage", "")
            return f"ClientError: The container of {image} cannot be started: {self._log.last_line}"
        return f"AlgorithmError: {told}, exit code: {code}"

    async def _fetch(self, channel: Mapping[str, Any]) -> None:
        group_names = channel["DataSource"].get("S3DataSource", {}).get("InstanceGroupNames")
        hosts = layouts.hosts_of(self._request["ResourceConfig"])
        sharing = [host.name for host in hosts if not group_names or host.group in group_names]
        if self._host.name not in sharing:
            return
        storage, name = self._around.storage, channel["ChannelName"]
        shard = (sharing.index(self._host.name), len(sharing))
        transfers = await plan_channel(storage, channel, shard)
        mode, path = layouts.input_mode(self._request, channel), self.layout.channel(name)
        if mode == "Pipe":
            gzip, record_io = channel["CompressionType"] == "Gzip", channel["RecordWrapperType"] == "RecordIO"
            self._pipes.append(Pipe(storage, transfers, path, gzip=gzip, record_io=record_io))
            return
        await fetch_channel(storage, transfers, path)
        if mode == "FastFile":
            self._read_only.append(str(layouts.OPT_ML / "input" / "data" / name))

    def _spec(self) -> Spec:
        algorithm, network = (
            self._request["AlgorithmSpecification"],
            not self._request["EnableNetworkIsolation"],
        )
        hosts = layouts.hosts_of(self._request["ResourceConfig"])
        return Spec(
            # An engine may take a moment to forget the container of an earlier attempt: names differ.
            name=f"{self._job.name}-{self._host.name}-{self.layout.directory.parent.name}",
            image=algorithm.get("TrainingImage", ""),
            entrypoint=algorithm.get("ContainerEntrypoint", ()),
            arguments=algorithm.get("ContainerArguments", ()),
            environment=self._environment(network=network),
            opt_ml=self.layout.opt_ml,
            workdir=self.layout.workdir,
            read_only=self._read_only,
            mounts=self.layout.mounts(),
            hostname=self._host.name,
            hosts={host.name: host.address(self._job.arn) for host in hosts},
            network=network,
        )

    def _environment(self, *, network: bool) -> dict[str, str]:
        """Credentials and endpoint are there only with a network, as on the platform."""
        url = self._around.endpoint_url
        reach = {"AWS_ENDPOINT_URL": url, "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/_smexec/credentials"}
        platform = layouts.environment(self._request, self._job.arn, self._host, self._around.region)
        return {**(reach if network else {}), **platform}

    @contextlib.asynccontextmanager
    async def _in_background(self) -> AsyncIterator[None]:
        """Pipes and checkpoints, for as long as the command runs; an error of theirs is the job's."""
        tasks = [asyncio.create_task(pipe.serve()) for pipe in self._pipes]
        if self._checkpoints:
            tasks.append(asyncio.create_task(self._checkpoints.keep_in_sync()))
        for task in tasks:
            task.add_done_callback(lambda _: self.kill())
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()  # they end by errors only
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
