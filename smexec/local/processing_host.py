"""One host of a processing job: its inputs and outputs, and what its container gets to see."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from smexec.local import layout as layouts
from smexec.local.containers import Spec
from smexec.local.host import CommandHost, ContainerRun, Surroundings, log_name, unstartable
from smexec.local.layout import Host, JobFailure, ProcessingLayout
from smexec.local.logs import PROCESSING, LogStream
from smexec.local.processing import ProcessingJob
from smexec.local.shim import BROKEN
from smexec.local.transfer import Mirror, fetch_channel, plan_channel

NOTHING_TOLD = "See job logs for more information"


class ProcessingHost(CommandHost):
    """One host during one attempt at a processing job."""

    layout: ProcessingLayout

    def __init__(self, job: ProcessingJob, host: Host, directory: Path, around: Surroundings) -> None:
        log = LogStream(around.logs, PROCESSING, log_name(job.name, host.name, job.clock()), job.clock)
        layout = ProcessingLayout(directory)
        super().__init__(layout, ContainerRun(around, log))
        self._job = job
        self._host = host
        self._around = around
        outputs = [one["S3Output"] for one in job.outputs]
        self._continuous = [
            Mirror(around.storage, output["S3Uri"], layout.place(output["LocalPath"]))
            for output in outputs
            if output["S3UploadMode"] == "Continuous"
        ]

    async def prepare(self) -> None:
        """See :class:`CommandHost`."""
        self.layout.make()
        self.layout.write_config(self._job.request, self._job.arn, self._host)
        for output in self._job.outputs:
            self.layout.place(output["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
        await asyncio.gather(*(self._fetch(one) for one in self._job.inputs))

    def background(self) -> Iterator[Coroutine[Any, Any, Any]]:
        """Outputs that are uploaded as they come."""
        return (mirror.keep_in_sync() for mirror in self._continuous)

    async def save(self) -> None:
        """See :class:`CommandHost`."""
        await asyncio.gather(*(mirror.sync() for mirror in self._continuous))

    def failure_reason(self, code: int) -> str:
        """See :class:`CommandHost`."""
        if code == BROKEN:
            return unstartable(self._image, self.container.log)
        return f"AlgorithmError: {self.message() or NOTHING_TOLD}, exit code: {code}"

    def message(self) -> str:
        """What the command told the platform."""
        return layouts.read_told(self.layout.message)

    def spec(self) -> Spec:
        """See :class:`CommandHost`."""
        request, region = self._job.request, self._around.region
        application = request["AppSpecification"]
        network = not request.get("NetworkConfig", {}).get("EnableNetworkIsolation", False)
        platform = layouts.common_environment(request.get("Environment", {}), self._host.name, region)
        return Spec(
            name=f"{self._job.name}-{self._host.name}-{self.layout.directory.parent.name}",
            image=self._image,
            entrypoint=application.get("ContainerEntrypoint", ()),
            arguments=application.get("ContainerArguments", ()),
            environment={**(self._around.reach() if network else {}), **platform},
            opt_ml=self.layout.opt_ml,
            workdir=self.layout.workdir,
            mounts=self.layout.mounts(),
            hostname=self._host.name,
            hosts=layouts.addresses(self._job.resources, self._job.arn),
            network=network,
        )

    @property
    def _image(self) -> str:
        image: str = self._job.request["AppSpecification"]["ImageUri"]
        return image

    async def _fetch(self, one: Mapping[str, Any]) -> None:
        source = one["S3Input"]
        if source["S3InputMode"] == "Pipe":
            raise JobFailure("ClientError: the local service has no Pipe mode for processing jobs")
        shard = (self._host.index, len(layouts.hosts_of(self._job.resources)))
        channel = {"ChannelName": one["InputName"], "DataSource": {"S3DataSource": source}}
        transfers = await plan_channel(self._around.storage, channel, shard)
        await fetch_channel(self._around.storage, transfers, self.layout.place(source["LocalPath"]))
