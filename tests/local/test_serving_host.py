"""A container that serves, and those that take its place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from smexec.local.containers import Container, Spec
from smexec.local.host import ContainerRun, Surroundings
from smexec.local.serving import Model
from smexec.local.serving_host import ModelServer
from smexec.local.transfer import Storage

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class NoEngine:
    """It starts nothing, on a system that gives containers no networks."""

    def prepare(self) -> None:
        """Nothing."""

    async def gives_networks(self) -> bool:
        return False

    async def start(self, spec: Spec) -> Container:
        raise AssertionError(spec.name)


class Held(ContainerRun):
    """A container that runs until it is told to end."""

    def __init__(self) -> None:
        self.runs, self.ends = asyncio.Event(), asyncio.Event()

    async def run(self, spec: Spec) -> int:
        self.runs.set()
        await self.ends.wait()
        return 0

    def terminate(self) -> None:
        self.ends.set()

    def kill(self) -> None:
        self.ends.set()


class ShortServer(ModelServer):
    """Its first container ends in the moment in which it has answered."""

    def __init__(self, directory: Path) -> None:
        self.first, self.second = Held(), Held()
        self._left = [self.second, self.first]
        place = Storage(None), None, "us-east-1", "http://127.0.0.1:1", directory / "gate"
        model = Model({"ModelName": "m", "PrimaryContainer": {"Image": "image"}}, "arn")
        super().__init__(model, "group", "stream", directory / "server", Surroundings(NoEngine(), *place))

    def _new_container(self) -> Held:
        return self._left.pop()

    async def _answers(self) -> bool:
        self.first.ends.set()
        return True


async def test_one_that_ends_as_soon_as_it_is_healthy_has_a_successor(tmp_path: Path) -> None:
    server = ShortServer(tmp_path)
    try:
        assert await server.start(60)
        await asyncio.wait_for(server.second.runs.wait(), 60)
    finally:
        await server.stop(0.0)
