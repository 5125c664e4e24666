"""How a serving container is reached: on 8080 of a network of its own, or on some port of this machine's.

The contract says 8080, and a container may know nothing else. Several of them have that port each where the
system gives them networks of their own; elsewhere they share this machine's, and are told another port by
``SAGEMAKER_BIND_TO_PORT``, the platform's own word for it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import random
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from smexec.local.host import Surroundings

PORT = 8080
PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
MAX_SOCKET_PATH = 100  # bytes; Linux takes 107, macOS 103
# Ports that no system gives to whoever asks for any: Linux begins at 32768, macOS at 49152.
_NOT_GIVEN = range(20_000, 32_000)

_log = logging.getLogger("smexec.local")


class Door(ABC):
    """The way to one container.

    Attributes:
        environment: what the container must be told.
        relays: what joins its network with this machine, as :class:`~smexec.local.containers.Spec` has it.
    """

    environment: Mapping[str, str] = {}
    relays: Sequence[str] = ()

    @abstractmethod
    def session(self) -> aiohttp.ClientSession:
        """For requests by path to the container.

        Each has a connection of its own: a container may close one that is idle just as it is used again.
        """


class OwnNetwork(Door):
    """The container has a network of its own. ``path`` is for the socket that leads there.

    ``gate`` is how it reaches the service, under its usual address; None if it may not.
    """

    def __init__(self, path: Path, gate: tuple[str, Path] | None) -> None:
        self._path = str(path)
        outward = [gate[0], str(gate[1])] if gate else []
        self.relays = [self._path, f"127.0.0.1:{PORT}", *outward]

    def session(self) -> aiohttp.ClientSession:
        """See :class:`Door`."""
        return _session(
            f"http://127.0.0.1:{PORT}", aiohttp.UnixConnector(self._path, limit=0, force_close=True)
        )


class SharedNetwork(Door):
    """The container shares this machine's network, and gets a port on which nobody listens."""

    def __init__(self) -> None:
        self._port = free_port()
        self.environment = {PORT_VARIABLE: str(self._port)}

    def session(self) -> aiohttp.ClientSession:
        """See :class:`Door`."""
        return _session(f"http://127.0.0.1:{self._port}", aiohttp.TCPConnector(limit=0, force_close=True))


async def door(around: Surroundings, path: Path, *, isolated: bool) -> Door:
    """The best that the system allows."""
    address = urlsplit(around.endpoint_url).netloc
    if _is_everywhere(address) and fits(path) and await around.engine.gives_networks():
        return OwnNetwork(path, None if isolated else (address, around.gate))
    if isolated:
        _log.warning("containers share the machine's network here: a model runs without its isolation")
    return SharedNetwork()


def gate(path: Path) -> socket.socket | None:
    """What a service listens on at the gate; None if no socket can have that path."""
    if not fits(path):
        return None
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    return made


def fits(path: Path) -> bool:
    """Whether a socket can have it."""
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH


def _is_everywhere(address: str) -> bool:
    """Whether a network that has nothing but a loopback interface has that address."""
    host = ipaddress.ip_address(address.rpartition(":")[0])
    return host.is_loopback or host.is_unspecified


def _session(url: str, connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        url,
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        # A container that is offered gzip may answer in it, which nobody has asked for.
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )


def free_port() -> int:
    """One on which nobody listens, and which the system gives to nobody until the container has it."""
    while True:
        port = random.choice(_NOT_GIVEN)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
