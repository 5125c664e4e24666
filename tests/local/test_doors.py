"""The ways to a container."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from smexec.local.doors import PORT_VARIABLE, Door, OwnNetwork, SharedNetwork, free_port


@pytest.mark.anyio
class TestConnections:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_each_request_has_one_of_its_own(self, tmp_path: Path) -> None:
        """A container may close one that is idle just as it is used again."""
        connections = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            while await reader.readline():
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        shared, own = SharedNetwork(), OwnNetwork(tmp_path / "socket", None)
        port = int(shared.environment[PORT_VARIABLE])
        tcp = await asyncio.start_server(answer, "127.0.0.1", port)
        unix = await asyncio.start_unix_server(answer, tmp_path / "socket")
        ways: list[Door] = [shared, own]
        async with tcp, unix:
            for way in ways:
                async with way.session() as session:
                    for _ in range(3):
                        async with session.get("/ping") as answered:
                            assert answered.status == 200
        assert connections == 6


def test_a_free_port_is_none_that_somebody_else_may_get() -> None:
    """Linux gives those from 32768 on to whoever asks for any, unless it is told otherwise."""
    assert all(1024 <= free_port() < 32_768 for _ in range(20))
