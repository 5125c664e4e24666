"""One container that serves a model: what it gets to see, its health checks and its answers."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tarfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from smexec.local import layout as layouts
from smexec.local.containers import Spec
from smexec.local.host import ContainerRun, Surroundings
from smexec.local.layout import JobFailure, Layout
from smexec.local.logs import LogStream
from smexec.local.serving import Model, data_url
from smexec.local.transfer import Location, Storage, failing_as, fetch_channel, plan_channel

STOP_SECONDS = 30.0  # between SIGTERM and SIGKILL
PING_SECONDS = 2.0  # for one answer
PING_PAUSE = 0.05  # between two health checks of a container that starts
PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
"""The platform's way to say that a container must listen elsewhere than on 8080: here containers share the
machine's ports.
"""


class ModelServer:
    """One container. Its log's stream begins as told; the directory is its own, and empty; the variables of
    ``environment`` win over the model's.
    """

    def __init__(
        self,
        model: Model,
        group: str,
        stream: str,
        directory: Path,
        around: Surroundings,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.instance = f"i-{uuid.uuid4().hex[:17]}"
        self._environment = environment or {}
        self._model = model
        self._definition: Mapping[str, Any] = model.containers[0]
        self._around = around
        self._layout = Layout(directory)
        self._port = free_port()
        self._container = ContainerRun(around, LogStream(around.logs, group, f"{stream}/{self.instance}"))
        self._running: asyncio.Task[int] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self, session: aiohttp.ClientSession, seconds: float) -> bool:
        """Whether it is healthy, which it has that much time to become.

        Raises:
            JobFailure: the model data cannot be had.
        """
        self._layout.make()
        if url := data_url(self._definition):
            await fetch_model(self._around.storage, url, self._layout)
        self._running = asyncio.create_task(self._container.run(self._spec()))
        healthy = asyncio.create_task(self._healthy(session))
        try:
            done, _ = await asyncio.wait(
                {self._running, healthy}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            healthy.cancel()
            await asyncio.gather(healthy, return_exceptions=True)
        if self._running in done:
            self._running.result()  # raises what kept it from being started
        return healthy in done

    async def stop(self, grace: float) -> None:
        """SIGTERM, that much time to react, SIGKILL."""
        if self._running is None:
            return
        self._container.terminate()
        await asyncio.wait({self._running}, timeout=grace)
        self._container.kill()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _healthy(self, session: aiohttp.ClientSession) -> None:
        while not await self._answers(session):  # noqa: ASYNC110  (it is a container's news)
            await asyncio.sleep(PING_PAUSE)

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        timeout = aiohttp.ClientTimeout(total=PING_SECONDS)
        try:
            async with session.get(f"{self.url}/ping", timeout=timeout) as answer:
                return answer.ok
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    def _spec(self) -> Spec:
        network = not self._model.request.get("EnableNetworkIsolation", False)
        own = {
            PORT_VARIABLE: str(self._port),
            **self._definition.get("Environment", {}),
            **self._environment,
        }
        platform = layouts.common_environment(own, self.instance, self._around.region)
        return Spec(
            name=f"{self._model.name}-{self.instance}",
            image=self._definition["Image"],
            entrypoint=(),
            arguments=["serve"],
            environment={**(self._around.reach() if network else {}), **platform},
            opt_ml=self._layout.opt_ml,
            workdir=self._layout.workdir,
            mounts=self._layout.mounts(),
            hostname=self.instance,
        )


async def fetch_model(storage: Storage, url: str, layout: Layout) -> None:
    """Unpack a model.tar.gz into /opt/ml/model, or copy what is in a folder.

    Raises:
        JobFailure: it is not there, or is no archive of files and directories.
    """
    if url.endswith("/"):
        source = {"S3DataType": "S3Prefix", "S3Uri": url}
        channel = {"ChannelName": "model", "DataSource": {"S3DataSource": source}}
        await fetch_channel(storage, await plan_channel(storage, channel, (0, 1)), layout.model)
        return
    archive = layout.directory / "model.tar.gz"
    with failing_as("Failed to download model data"):
        await storage.download(Location.of(url), archive)
    await asyncio.to_thread(unpack, archive, layout.model)


def unpack(archive: Path, directory: Path) -> None:
    """All files and directories of an archive; a link breaks it, as it does on the platform.

    Raises:
        JobFailure: it cannot be unpacked, or something would leave the directory.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                _unpack_member(tar, member, directory)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise JobFailure(f"Failed to extract model data archive: {error}") from error


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, directory: Path) -> None:
    target = directory / member.name
    if not target.resolve().is_relative_to(directory.resolve()) or not (member.isfile() or member.isdir()):
        raise JobFailure(f"Failed to extract model data archive: {member.name} is no file or directory in it")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
    target.chmod(member.mode & 0o777)


def free_port() -> int:
    """One on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
