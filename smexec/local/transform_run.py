"""A transform job on its way: each host starts the model's container, and sends it its share of objects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from smexec.local.host import HostRun, Surroundings
from smexec.local.layout import Host, JobFailure, hosts_of
from smexec.local.logs import TRANSFORM
from smexec.local.run import Run, cancelled
from smexec.local.serving import PING_SECONDS
from smexec.local.serving_host import ModelServer
from smexec.local.transfer import Location, Transfer, failing_as, plan_channel
from smexec.local.transform import TransformJob, assembled, payloads

TIMEOUT = "InvocationsTimeoutInSeconds"
INVOKE_SECONDS = 600.0  # unless the job says otherwise


class TransformRun(Run[TransformJob]):
    """One transform job on its way."""

    def hosts(self, directory: Path) -> list[TransformHost]:
        """See :class:`Run`."""
        return [
            TransformHost(self.job, host, directory / host.name, self._platform.around)
            for host in hosts_of(self.job.resources)
        ]

    async def keep(self, hosts: Sequence[Any], directory: Path) -> None:
        """See :class:`Run`: each object's answers were uploaded when they were there."""


class TransformHost(HostRun):
    """One host during one attempt at a transform job."""

    def __init__(self, job: TransformJob, host: Host, directory: Path, around: Surroundings) -> None:
        assert job.model is not None
        self._request = job.request
        self._host = host
        self._hosts = len(hosts_of(job.resources))
        self._around = around
        self._directory = directory
        environment = {"SAGEMAKER_BATCH": "true", **job.request.get("Environment", {})}
        self._server = ModelServer(job.model, TRANSFORM, job.name, directory / "server", around, environment)
        self._transfers: list[Transfer] = []
        self._end = asyncio.Event()

    async def prepare(self) -> None:
        """See :class:`HostRun`."""
        source = self._request["TransformInput"]["DataSource"]["S3DataSource"]
        divided = {**source, "S3DataDistributionType": "ShardedByS3Key"}
        channel = {"ChannelName": "input", "DataSource": {"S3DataSource": divided}}
        shard = (self._host.index, self._hosts)
        self._transfers = await plan_channel(self._around.storage, channel, shard)

    async def run(self) -> int:
        """See :class:`HostRun`: until all objects are answered, or the host is told to end."""
        working, ending = asyncio.create_task(self._work()), asyncio.create_task(self._end.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            await cancelled(working, ending)
            await self._server.stop(0.0)
        return 0

    def terminate(self) -> None:
        """See :class:`HostRun`."""
        self._end.set()

    def kill(self) -> None:
        """See :class:`HostRun`."""
        self._end.set()

    def failure_reason(self, code: int) -> str:
        """See :class:`HostRun`; what goes wrong is raised as it is found."""
        return f"InternalServerError: exit code {code}"

    async def _work(self) -> None:
        if not await self._server.start(PING_SECONDS):
            raise JobFailure("AlgorithmError: the container did not pass the ping health check")
        for transfer in self._transfers:
            if not transfer.location.key.endswith("/"):
                await self._transform(transfer)

    async def _transform(self, transfer: Transfer) -> None:
        """One object; its answers stay in the order of its records."""
        with failing_as("ClientError: Bad input data"):
            content = b"".join([chunk async for chunk in self._around.storage.chunks(transfer.location)])
            bodies = payloads(content, self._request)
        places = asyncio.Semaphore(self._request["MaxConcurrentTransforms"] or 1)

        async def ask(body: bytes) -> bytes:
            async with places:
                return await self._answer(body)

        asking = [asyncio.create_task(ask(body)) for body in bodies]
        try:
            answers = await asyncio.gather(*asking)
        finally:
            await cancelled(*asking)
        await self._store(transfer, assembled(answers, self._request))

    async def _answer(self, body: bytes) -> bytes:
        given, output = self._request["TransformInput"], self._request["TransformOutput"]
        headers = {"Content-Type": given.get("ContentType"), "Accept": output.get("Accept")}
        headers = {name: value for name, value in headers.items() if value}
        seconds = self._request.get("ModelClientConfig", {}).get(TIMEOUT, INVOKE_SECONDS)
        try:
            answer = await self._server.ask("/invocations", body, headers, seconds=seconds)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise JobFailure(f"AlgorithmError: the container did not answer: {error!r}") from error
        if answer.status >= 400:  # noqa: PLR2004  (of HTTP)
            kind = "ClientError" if answer.status < 500 else "AlgorithmError"  # noqa: PLR2004
            said = answer.content.decode("utf-8", "replace")
            raise JobFailure(f"{kind}: the container answered {answer.status}: {said}")
        return answer.content

    async def _store(self, transfer: Transfer, content: bytes) -> None:
        file = self._directory / "answer"
        file.write_bytes(content)
        output = Location.of(self._request["TransformOutput"]["S3OutputPath"])
        with failing_as("ClientError: Output upload failed"):
            await self._around.storage.upload(file, output / f"{transfer.path}.out")
