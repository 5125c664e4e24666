"""What a relay hands on: all of it, both ways, and each side's end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smexec.local import relay

MUCH = os.urandom(3_000_000)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        yield listening


@contextlib.contextmanager
def relayed(server: socket.socket, directory: Path) -> Iterator[Path]:
    """Where a relay listens; something is left there of others, of one before it listened."""
    here = directory / "here"
    for path in (here, directory / "here.new"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    readable, writable = os.pipe()
    command = [sys.executable, "-I", "-S", relay.__file__, str(writable), str(here)]
    there = "{}:{}".format(*server.getsockname())
    with subprocess.Popen([*command, there], pass_fds=[writable]) as process:
        os.close(writable)
        assert os.read(readable, 1) == b"."
        os.close(readable)
        try:
            yield here
        finally:
            process.kill()


@pytest.fixture
def path(server: socket.socket, tmp_path: Path) -> Iterator[Path]:
    with relayed(server, tmp_path) as path:
        yield path


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(path))
    return client


def everything(source: socket.socket) -> bytes:
    return b"".join(iter(lambda: source.recv(1 << 16), b""))


def test_both_ways_and_the_end_of_one_is_not_that_of_the_other(server: socket.socket, path: Path) -> None:
    with connected(path) as client, server.accept()[0] as served:
        sending = threading.Thread(target=client.sendall, args=(MUCH,))
        sending.start()
        received = bytearray()
        while len(received) < len(MUCH):
            received += served.recv(1 << 16)
        sending.join()
        assert received == MUCH
        client.shutdown(socket.SHUT_WR)
        assert served.recv(1) == b""
        served.sendall(b"answer")
        served.shutdown(socket.SHUT_WR)
        assert everything(client) == b"answer"


def test_what_leads_nowhere_is_closed(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        with relayed(deaf, tmp_path) as path, connected(path) as client:
            assert client.recv(1) == b""


def test_a_path_appears_once_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    seen: list[bool] = []

    class Watched(socket.socket):
        def listen(self, *backlog: int) -> None:
            seen.append(place.exists())
            super().listen(*backlog)

    monkeypatch.setattr(socket, "socket", Watched)
    with relay.listener(str(place)), connected(place):
        assert seen == [False]
        assert list(tmp_path.iterdir()) == [place]
