"""One container that serves a model: what it gets to see, its health checks and its answers."""

from __future__ import annotations

import asyncio
import shutil
import tarfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from smexec.local import layout as layouts
from smexec.local.containers import Spec
from smexec.local.doors import door
from smexec.local.host import ContainerRun, Surroundings
from smexec.local.layout import JobFailure, Layout
from smexec.local.logs import LogStream
from smexec.local.serving import Model, data_url
from smexec.local.transfer import Location, Storage, failing_as, fetch_channel, plan_channel

STOP_SECONDS = 30.0  # between SIGTERM and SIGKILL
PING_SECONDS = 2.0  # for one answer
PING_PAUSE = 0.05  # between two health checks of a container that starts
RESTART_PAUSE = 0.2  # before another container takes the place of one that has ended
NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Answer:
    """What a container has answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class ModelServer:
    """A container that serves, and those that take its place when it ends.

    Its log's stream begins as told; the directory is its own, and empty; the variables of ``environment`` win
    over the model's.
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
        self._isolated: bool = model.request.get("EnableNetworkIsolation", False)
        self._around = around
        self._layout = Layout(directory)
        self._log = (group, f"{stream}/{self.instance}")
        self._socket = around.gate.with_name(self.instance)
        self._container = self._new_container()
        self._running: asyncio.Task[None] | None = None
        self._in_service = False
        self._asked = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self, seconds: float) -> bool:
        """Whether it is healthy, which it has that much time to become. One that ends before is not.

        Raises:
            JobFailure: the model data cannot be had, or the container cannot be started.
        """
        self._layout.make()
        if url := data_url(self._definition):
            await fetch_model(self._around.storage, url, self._layout)
        self._door = await door(self._around, self._socket, isolated=self._isolated)
        self._session = self._door.session()
        self._running = asyncio.create_task(self._keep_running())
        healthy = asyncio.create_task(self._healthy())
        try:
            done, _ = await asyncio.wait(
                {self._running, healthy}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            healthy.cancel()
            await asyncio.gather(healthy, return_exceptions=True)
        if self._running in done:
            self._running.result()  # raises what kept it from being started
            self._in_service = False
        return self._in_service

    async def ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] = NO_HEADERS, *, seconds: float
    ) -> Answer:
        """GET, or POST a body.

        Raises:
            aiohttp.ClientError: nobody answers, or not to the end.
            asyncio.TimeoutError: it takes longer than that.
        """
        method, timeout = "GET" if body is None else "POST", aiohttp.ClientTimeout(total=seconds)
        self._asked += 1
        self._idle.clear()
        try:
            async with self._session.request(
                method, path, data=body, headers=headers, timeout=timeout
            ) as answer:
                return Answer(answer.status, answer.headers, await answer.read())
        finally:
            self._asked -= 1
            if not self._asked:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until it has answered all that it was asked."""
        await self._idle.wait()

    async def stop(self, grace: float) -> None:
        """SIGTERM, that much time to react, SIGKILL; at once if this is cancelled."""
        if self._running is None:
            return
        self._in_service = False
        self._container.terminate()
        try:
            await asyncio.wait({self._running}, timeout=grace)
        finally:
            self._container.kill()
            await asyncio.gather(self._running, return_exceptions=True)
            await self._session.close()
            self._socket.unlink(missing_ok=True)

    async def _keep_running(self) -> None:
        await self._container.run(self._spec())
        while await self._is_wanted_again():
            self._container = self._new_container()
            await self._container.run(self._spec())

    async def _is_wanted_again(self) -> bool:
        """Whether another container is to take the place of the one that has ended."""
        if self._in_service:
            await asyncio.sleep(RESTART_PAUSE)
        return self._in_service

    async def _healthy(self) -> None:
        """From its good answer on it is in service: one that ends a moment later has a successor."""
        while not await self._answers():  # noqa: ASYNC110  (it is a container's news)
            await asyncio.sleep(PING_PAUSE)
        self._in_service = True

    async def _answers(self) -> bool:
        try:
            return (await self.ask("/ping", seconds=PING_SECONDS)).status == HTTPStatus.OK
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    def _new_container(self) -> ContainerRun:
        return ContainerRun(self._around, LogStream(self._around.logs, *self._log))

    def _spec(self) -> Spec:
        own = {**self._door.environment, **self._definition.get("Environment", {}), **self._environment}
        platform = layouts.common_environment(own, self.instance, self._around.region)
        return Spec(
            # An engine may take a moment to forget the container before: names differ.
            name=f"{self._model.name}-{uuid.uuid4().hex[:17]}",
            image=self._definition["Image"],
            entrypoint=(),
            arguments=["serve"],
            environment={**({} if self._isolated else self._around.reach()), **platform},
            opt_ml=self._layout.opt_ml,
            workdir=self._layout.workdir,
            mounts=self._layout.mounts(),
            hostname=self.instance,
            relays=self._door.relays,
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
