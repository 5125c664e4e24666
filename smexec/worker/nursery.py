"""The nursery: the process that loads the functions once, and that every slot is a fork of.

It is not the worker itself: what the user's modules do when they are imported (threads, a crash) must not
reach the one process that lives to tell. The worker asks for slots over a socket, and is told of their ends.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import traceback
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Tuple, Union

from . import call, slot
from .batch import Batch
from .plan import Plan
from .signals import Signals, held
from .slot import Link

_LARGEST = 4096  # bytes of one message


class Death(NamedTuple):
    """A slot's process has ended; ``status`` is as ``os.waitpid`` gives it."""

    slot: int
    pid: int
    status: int


class Nursery:
    """The worker's view of it.

    :ivar pid: its process
    """

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self._connection = connection

    @classmethod
    def start(cls, batch: Batch, plan: Plan, folder: Path, signals: Signals) -> Nursery:
        """Fork it. :param folder: where slots put what is large"""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with held(signal.SIGTERM):  # until the child has forgotten our handlers: it would be lost there
            pid = os.fork()
            if pid == 0:
                ours.close()
                signals.forget()
        if pid == 0:
            _live(batch, plan, folder, theirs)
        theirs.close()
        return cls(pid, ours)

    def fileno(self) -> int:
        """For ``select``."""
        return self._connection.fileno()

    def ask_for(self, number: int) -> None:
        """Ask for a new process for a slot."""
        with contextlib.suppress(OSError):  # it is gone: the worker will find out
            self._connection.send(str(number).encode())

    def receive(self) -> Union[Link, Death, None]:
        """A slot that was asked for, or one that has ended; None if the nursery itself has ended."""
        try:
            text, control, _, _ = self._connection.recvmsg(_LARGEST, socket.CMSG_LEN(array.array("i").itemsize))
        except ConnectionError:
            return None
        if not text:
            return None
        told: Dict[str, Any] = json.loads(text)
        if "status" in told:
            return Death(told["slot"], told["pid"], told["status"])
        descriptors = array.array("i")
        descriptors.frombytes(control[0][2])
        return Link(told["slot"], told["pid"], socket.socket(fileno=descriptors[0]))

    def close(self) -> None:
        """It ends once its slots have."""
        self._connection.close()


def _live(batch: Batch, plan: Plan, folder: Path, connection: socket.socket) -> NoReturn:
    try:
        for name, value in plan.common.items():
            os.environ.setdefault(name, value)
        call.prepare(batch.sources)
        _load_ahead(batch)
        with Signals() as signals:
            _tend(batch, plan, folder, connection, signals)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _load_ahead(batch: Batch) -> None:
    """Import what the functions need, here and once. One that cannot be loaded is its calls' outcome, later."""
    for number in range(len(batch.functions)):
        with contextlib.suppress(Exception):
            call.load_function(batch, number)


def _tend(
    batch: Batch, plan: Plan, folder: Path, connection: socket.socket, signals: Signals
) -> None:
    """Fork slots when asked and tell of their ends, until the worker has closed and none is left."""
    slots: Dict[int, int] = {}  # process → slot
    waiting: List[socket.socket] = [connection]
    while waiting or slots:
        readable = select.select([signals.reader, *waiting], [], [])[0]
        signals.drain()
        if connection in readable:
            order = connection.recv(_LARGEST)
            if order:
                number = int(order)
                pid, end = _fork(batch, plan.of(number), folder, connection, signals)
                slots[pid] = number
                _tell(connection, {"slot": number, "pid": pid}, end)
                end.close()
            else:
                waiting.clear()
        for pid, status in _reap():
            if pid in slots:
                _tell(connection, {"slot": slots.pop(pid), "pid": pid, "status": status}, None)


def _fork(
    batch: Batch, environment: Dict[str, str], folder: Path, connection: socket.socket, signals: Signals
) -> Tuple[int, socket.socket]:
    ours, theirs = socket.socketpair()
    with held(signal.SIGTERM):
        pid = os.fork()
        if pid == 0:
            signals.forget()
    if pid == 0:
        ours.close()
        connection.close()
        os.environ.update(environment)
        slot.serve(partial(call.run, batch), theirs, folder)
    theirs.close()
    with contextlib.suppress(OSError):  # the child does the same: whoever comes first
        os.setpgid(pid, pid)
    return pid, ours


def _reap() -> List[Tuple[int, int]]:
    """All that have ended: slots, and what calls have left behind."""
    ended: List[Tuple[int, int]] = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended.append((pid, status))
    return ended


def _tell(connection: socket.socket, what: Dict[str, Any], end: Optional[socket.socket]) -> None:
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [end.fileno()]))] if end else []
    with contextlib.suppress(OSError):  # the worker is gone, or wants to hear no more
        connection.sendmsg([json.dumps(what).encode()], passed)
