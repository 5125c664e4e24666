"""The hosts of one job end together: the first speaks for all.

The platform ends every host as soon as one ends with a failure, and with it the calls that run there. So a
host that had one must not end before all others have. Each connects to the first when it starts, tells it
how it ended once its outcomes are out, and leaves with success. The first leaves last, with the worst of it.

What is told is signed: whoever else reaches the port is not heard. A host that cannot be reached keeps nobody
from ending: see :class:`Apart`.
"""

from __future__ import annotations

import abc
import os
import select
import socket
import struct
import sys
import time
from typing import Dict, List, Optional, Set

from . import protocol
from .container import End, Orders
from .protocol import Header
from .signals import Signals

PORT = 27389  # of the first host; below those that systems give out by themselves
PATIENCE = 120.0  # seconds that hosts of one job may start apart
_RETRY = 0.2  # seconds between two tries to reach the first host
_CONNECT = 2.0  # seconds for one try
_ALIVE = 60  # seconds of silence before the system asks the other end: firewalls forget quiet connections
_LARGEST = 1 << 14  # bytes of what a host tells
_LENGTH = struct.Struct(">I")


class Peer(abc.ABC):
    """A host among others."""

    @abc.abstractmethod
    def end(self, own: End, signals: Signals) -> End:
        """What the platform is to be told of this host, whose outcomes are out."""


def join(orders: Orders, signals: Signals) -> Peer:
    """Find the others.

    Waits for the first host to be there. That delays no job's end: the first has calls of its own to run.
    """
    try:
        if orders.hosts.position == 0:
            return Leader(orders)
        return Follower(orders, _connected(orders.hosts.first, signals))
    except OSError as error:
        where = "port {} of {}".format(PORT, orders.hosts.names[0])
        sys.stderr.write("smexec: the hosts of this job do not meet at {}: {}\n".format(where, error))
        return Apart()


class Apart(Peer):
    """A host that cannot meet the others. It ends with success, or its failure would cost their calls."""

    def end(self, own: End, signals: Signals) -> End:  # noqa: ARG002
        """See :class:`Peer`."""
        return End(protocol.EXIT_OK, own.failure)


class Follower(Peer):
    """Any host but the first."""

    def __init__(self, orders: Orders, connection: socket.socket) -> None:
        self._orders = orders
        self._connection = connection
        os.register_at_fork(after_in_child=connection.close)  # or a call would hold it open
        self._tell({})

    def end(self, own: End, signals: Signals) -> End:  # noqa: ARG002
        """See :class:`Peer`."""
        try:
            self._tell({"code": own.code, "failure": own.failure})
            self._connection.close()  # which waits until it has arrived
        except OSError as error:  # the first host is gone, and so are we in a moment
            sys.stderr.write("smexec: the first host hears no more: {}\n".format(error))
        return End(protocol.EXIT_OK, own.failure)

    def _tell(self, what: Header) -> None:
        header = dict(what, host=self._orders.hosts.position)
        purpose = protocol.peer_purpose(self._orders.job)
        envelope = b"".join(protocol.seal(self._orders.key, purpose, protocol.encode_body(header, [])))
        self._connection.sendall(_LENGTH.pack(len(envelope)) + envelope)


class Leader(Peer):
    """The first host. What others tell it waits in its socket until it has ended its own calls."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._patient_until = time.monotonic() + PATIENCE
        self._unseen: Set[int] = set(range(1, orders.hosts.size))
        self._ends: Dict[int, End] = {}
        self._callers: Dict[int, _Caller] = {}  # by descriptor
        self._listener = socket.create_server((orders.hosts.first, PORT), backlog=orders.hosts.size)
        self._listener.setblocking(False)
        os.register_at_fork(after_in_child=self._listener.close)
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)

    def end(self, own: End, signals: Signals) -> End:
        """See :class:`Peer`."""
        self._poll.register(signals.reader, select.POLLIN)
        while len(self._ends) < self._orders.hosts.size - 1 and not signals.terminated:
            ready = self._poll.poll(self._patience())
            if not ready and not self._patience():
                break
            for descriptor, _ in ready:
                self._attend(descriptor)
            signals.drain()
        self._close()
        return worst([own, *(self._of(host) for host in sorted(self._ends))])

    def _of(self, host: int) -> End:
        code, failure = self._ends[host]
        return End(code, failure and "{}: {}".format(self._orders.hosts.names[host], failure))

    def _patience(self) -> Optional[float]:
        """In milliseconds; None: as long as it takes, for there is a host that will tell."""
        if any(caller.host is not None for caller in self._callers.values()):
            return None
        return max(0.0, self._patient_until - time.monotonic()) * 1000 if self._unseen else 0.0

    def _attend(self, descriptor: int) -> None:
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._callers:
            self._hear(self._callers[descriptor])

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has gone again
            return
        connection.setblocking(False)
        self._callers[connection.fileno()] = _Caller(connection)
        self._poll.register(connection, select.POLLIN)

    def _hear(self, caller: _Caller) -> None:
        try:
            for envelope in caller.receive():
                header, _ = protocol.unseal(
                    self._orders.key, protocol.peer_purpose(self._orders.job), envelope
                )
                self._heed(caller, header)
        except (OSError, ValueError, protocol.BadSignature):
            caller.hung_up = True
        if caller.hung_up:
            self._poll.unregister(caller.connection)
            del self._callers[caller.connection.fileno()]
            caller.connection.close()

    def _heed(self, caller: _Caller, header: Header) -> None:
        caller.host = header["host"]
        self._unseen.discard(caller.host)
        if "code" in header:
            self._ends[caller.host] = End(header["code"], header["failure"])
            caller.hung_up = True

    def _close(self) -> None:
        self._listener.close()
        for caller in self._callers.values():
            caller.connection.close()


class _Caller:
    """A connection to the first host. :ivar host: who it is, once it has proved it"""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.host: Optional[int] = None
        self.hung_up = False
        self._received = bytearray()

    def receive(self) -> List[bytes]:
        """The envelopes that have come.

        :raises ValueError: one is larger than any of ours
        """
        chunk = self.connection.recv(_LARGEST)
        self.hung_up = not chunk
        self._received += chunk
        envelopes: List[bytes] = []
        while len(self._received) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._received)
            if size > _LARGEST:
                raise ValueError("not one of ours")
            if len(self._received) < _LENGTH.size + size:
                break
            envelopes.append(bytes(self._received[_LENGTH.size : _LENGTH.size + size]))
            del self._received[: _LENGTH.size + size]
        return envelopes


def worst(ends: List[End]) -> End:
    """Of several hosts: the highest code, and the failure that is named first."""
    failures = [end.failure for end in ends if end.failure]
    return End(max(end.code for end in ends), failures[0] if failures else None)


def _connected(address: str, signals: Signals) -> socket.socket:
    deadline = time.monotonic() + PATIENCE
    waiting = select.poll()
    waiting.register(signals.reader, select.POLLIN)
    while True:
        try:
            connection = socket.create_connection((address, PORT), _CONNECT)
        except OSError:
            if signals.terminated or time.monotonic() >= deadline:
                raise
            waiting.poll(_RETRY * 1000)
            signals.drain()
        else:
            return _lasting(connection)


def _lasting(connection: socket.socket) -> socket.socket:
    """For days of silence, and for a last word right before the end."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ALIVE)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, int(_CONNECT)))
    return connection
