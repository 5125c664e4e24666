"""One host of a training job: its channels and checkpoints, and what its container gets to see."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from smexec.local import layout as layouts
from smexec.local.containers import Spec
from smexec.local.host import CommandHost, ContainerRun, Surroundings, log_name, unstartable
from smexec.local.layout import Host, TrainingLayout
from smexec.local.logs import TRAINING, LogStream
from smexec.local.pipes import Pipe
from smexec.local.shim import BROKEN
from smexec.local.training import TrainingJob
from smexec.local.transfer import Checkpoints, fetch_channel, plan_channel


class TrainingHost(CommandHost):
    """One host during one attempt at a training job."""

    layout: TrainingLayout

    def __init__(self, job: TrainingJob, host: Host, directory: Path, around: Surroundings) -> None:
        checkpoints = job.request.get("CheckpointConfig")
        layout = TrainingLayout(directory, checkpoints and PurePosixPath(checkpoints["LocalPath"]))
        name = log_name(job.name, host.name, job.clock())
        log = LogStream(around.logs, TRAINING, name, job.clock, job.metrics.observe)
        super().__init__(layout, ContainerRun(around, log))
        self._job = job
        self._request = job.request
        self._host = host
        self._around = around
        self._pipes: list[Pipe] = []
        self._read_only: list[str] = []
        self._checkpoints = checkpoints and Checkpoints(
            around.storage, checkpoints["S3Uri"], layout.checkpoints
        )

    async def prepare(self) -> None:
        """See :class:`CommandHost`."""
        self.layout.make()
        self.layout.write_config(self._request, self._host)
        await asyncio.gather(*(self._fetch(channel) for channel in self._request.get("InputDataConfig", ())))
        if self._checkpoints:
            await self._checkpoints.restore()

    def background(self) -> Iterator[Coroutine[Any, Any, Any]]:
        """Pipes and checkpoints."""
        for pipe in self._pipes:
            yield pipe.serve()
        if self._checkpoints:
            yield self._checkpoints.keep_in_sync()

    async def save(self) -> None:
        """See :class:`CommandHost`: checkpoints."""
        if self._checkpoints:
            await self._checkpoints.sync()

    def failure_reason(self, code: int) -> str:
        """See :class:`CommandHost`."""
        told = layouts.read_told(self.layout.failure)
        if code == BROKEN and not told:
            return unstartable(self._image, self.container.log)
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

    @property
    def _image(self) -> str:
        image: str = self._request["AlgorithmSpecification"].get("TrainingImage", "")
        return image

    def _command(self) -> tuple[Sequence[str], Sequence[str]]:
        """Entry point and arguments: ``train`` unless the request has one of them."""
        algorithm = self._request["AlgorithmSpecification"]
        entrypoint = algorithm.get("ContainerEntrypoint", ())
        return entrypoint, algorithm.get("ContainerArguments", () if entrypoint else ["train"])

    def spec(self) -> Spec:
        """See :class:`CommandHost`."""
        network = not self._request["EnableNetworkIsolation"]
        entrypoint, arguments = self._command()
        platform = layouts.environment(self._request, self._job.arn, self._host, self._around.region)
        return Spec(
            # An engine may take a moment to forget the container of an earlier attempt: names differ.
            name=f"{self._job.name}-{self._host.name}-{self.layout.directory.parent.name}",
            image=self._image,
            entrypoint=entrypoint,
            arguments=arguments,
            environment={**(self._around.reach() if network else {}), **platform},
            opt_ml=self.layout.opt_ml,
            workdir=self.layout.workdir,
            read_only=self._read_only,
            mounts=self.layout.mounts(),
            hostname=self._host.name,
            hosts=layouts.addresses(self._job.resources, self._job.arn),
            network=network,
        )
