"""The process that joins a container's own network with this machine: it hands connections on, both ways.

It runs in the container's network namespace. Sockets that have a path are the one kind that can be reached
across namespaces, so each way leads from such a socket to a port or from a port to such a socket.

Started as ``python -I -S relay.py READY HERE THERE [HERE THERE …]``, with the standard library alone: READY
is the descriptor of a pipe, into which it writes once all HEREs can be connected to. An address is a path or
``host:port``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading

_BACKLOG = 128
_CHUNK = 1 << 16


def main(ready: int, addresses: list[str]) -> None:
    """Listen everywhere, say so, and hand on until killed."""
    ways = [(listener(here), there) for here, there in zip(addresses[::2], addresses[1::2], strict=True)]
    os.write(ready, b".")
    os.close(ready)
    threads = [threading.Thread(target=serve, args=way) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def listener(address: str) -> socket.socket:
    """A socket that listens there; a path may be left from a process that is gone.

    Whoever waits for a path to appear connects to it at once: it must not be there before it listens.
    """
    family, place = parsed(address)
    made = socket.socket(family)
    if isinstance(place, str):
        unheard = f"{place}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unheard)  # noqa: PTH108  (pathlib takes longer to import than all else here)
        made.bind(unheard)
        made.listen(_BACKLOG)
        os.replace(unheard, place)  # noqa: PTH105
    else:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(_BACKLOG)
    return made


def parsed(address: str) -> tuple[int, str | tuple[str, int]]:
    """The family and the address as the socket module has them."""
    if address.startswith("/"):
        return socket.AF_UNIX, address
    host, _, port = address.rpartition(":")
    return socket.AF_INET, (host, int(port))


def serve(listening: socket.socket, there: str) -> None:
    """Hand on what connects, each connection in threads of its own."""
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=hand_on, args=(connection, there), daemon=True).start()


def hand_on(connection: socket.socket, there: str) -> None:
    """One connection, until both sides have said all; one that leads nowhere is closed."""
    family, place = parsed(there)
    with connection, socket.socket(family) as other:
        try:
            other.connect(place)
        except OSError:
            return
        back = threading.Thread(target=copy, args=(other, connection), daemon=True)
        back.start()
        copy(connection, other)
        back.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    """All that one side says, and that it has said all; one that breaks off has nothing more to say."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
