"""The nursery: the process that loads what calls have in common once, and that every slot is a fork of.

It is not the worker itself: what the user's modules do when they are imported (threads, a crash) must not
reach the one process that lives to tell. It forks the slots, tells the worker of their starts and ends over a
socket, and forks another in the place of one that has ended when the worker asks for it.
"""

from __future__ import annotations

import array
import contextlib
import faulthandler
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, Container, Deque, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple, Union

from . import call, slot
from .batch import Batch
from .plan import Plan
from .signals import Signals, held, signal_group
from .slot import Board, Link

_LARGEST = 4096  # bytes of one message


class Loading(NamedTuple):
    """The nursery is about to load this object; None: it has loaded them all."""

    object: Optional[int]


class Refused(NamedTuple):
    """The system gave no process for a slot."""

    slot: int
    why: str


class Death(NamedTuple):
    """A slot's process has ended; ``status`` is as ``os.waitpid`` gives it."""

    slot: int
    pid: int
    status: int


News = Union[Loading, Link, Refused, Death]


class Work(NamedTuple):
    """What a nursery is for.

    :ivar calls: those of the batch that are to run here
    :ivar host: which of the job's hosts this is
    :ivar folder: where slots put what is large
    """

    batch: Batch
    calls: Sequence[int]
    host: int
    plan: Plan
    board: Board
    folder: Path


class Nursery:
    """The worker's view of it.

    :ivar pid: its process
    :ivar hung_up: it says no more
    """

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.hung_up = False
        self._connection = connection

    @classmethod
    def start(cls, work: Work, without: Container[int], signals: Signals) -> Nursery:
        """Fork it; it goes on to fork a process for every slot of the plan.

        :param without: objects that are not to be loaded
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with held(signal.SIGTERM):  # until the child has forgotten our handlers: it would be lost there
            pid = os.fork()
            if pid == 0:
                ours.close()
                signals.forget()
        if pid == 0:
            _live(work, without, theirs)
        theirs.close()
        _lead_group(pid)
        return cls(pid, ours)

    def fileno(self) -> int:
        """For ``poll``."""
        return self._connection.fileno()

    def ask_for(self, number: int) -> None:
        """Ask for a new process for a slot."""
        with contextlib.suppress(OSError):  # it is gone: the worker will find out
            self._connection.send(str(number).encode())

    def receive(self) -> Optional[News]:
        """What it tells; None if that is nothing (any more)."""
        try:
            text, control, _, _ = self._connection.recvmsg(
                _LARGEST, socket.CMSG_LEN(array.array("i").itemsize), socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return None
        except ConnectionError:
            text, control = b"", []
        if not text:
            self.hung_up = True
            return None
        return _news(json.loads(text), control)

    def end(self) -> None:
        """Kill it, and what the user's modules have started when they were imported."""
        self._connection.close()
        signal_group(self.pid, signal.SIGKILL)


def _news(told: Dict[str, Any], control: List[Tuple[int, int, bytes]]) -> News:
    if "loading" in told:
        return Loading(told["loading"])
    if "why" in told:
        return Refused(told["slot"], told["why"])
    if "status" in told:
        return Death(told["slot"], told["pid"], told["status"])
    if not control:
        return Refused(told["slot"], "the worker has too many open files")
    descriptors = array.array("i")
    descriptors.frombytes(control[0][2])
    return Link(told["slot"], told["pid"], socket.socket(fileno=descriptors[0]))


def _lead_group(pid: int) -> None:
    """Parent and child both do it: whoever comes first."""
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)


# -- in its own process -------------------------------------------------------------------------------------


def _live(work: Work, without: Container[int], connection: socket.socket) -> NoReturn:
    try:
        _prepare(work)
        loaded = _load_ahead(work.batch, without, connection) if work.plan.preload else {}
        _tell(connection, loading=None)
        slot.flush()  # or each fork would have its copy of a line that was begun
        gc.freeze()  # a collection in a slot would write to, and so copy, all that they share
        with Signals() as signals:
            _Tending(work, loaded, connection, signals).go_on()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _prepare(work: Work) -> None:
    """Make this process the user's: the worker's signals, streams and so on are none of its."""
    _lead_group(0)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(line_buffering=True)  # os._exit loses what is buffered
    if "tempfile" in sys.modules:  # the worker has looked; the user may set TMPDIR and look again
        sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined]
    faulthandler.enable()
    for name, value in work.plan.common.items():
        os.environ.setdefault(name, value)
    call.prepare(work.batch.sources)


def _load_ahead(batch: Batch, without: Container[int], connection: socket.socket) -> Dict[int, Any]:
    """Import what the objects need, here and once; those that are heavy are kept, for slots to have them.

    If one cannot be loaded, that is its calls' outcome.
    """
    kept: Dict[int, Any] = {}
    for number in batch.common:
        if number not in without:
            _tell(connection, loading=number)
            with contextlib.suppress(BaseException):
                loaded = call.load_object(batch, number)
                if call.is_heavy(batch, number):
                    kept[number] = loaded
    return kept


class _Tending:
    """Forks slots and tells of their ends, until the worker has closed and none is left."""

    def __init__(
        self, work: Work, loaded: Dict[int, Any], connection: socket.socket, signals: Signals
    ) -> None:
        self._work = work
        self._loaded = loaded
        self._connection = connection
        self._signals = signals
        self._slots: Dict[int, int] = {}  # process → slot
        self._wanted: Deque[int] = deque(range(work.plan.slots))
        self._dead: Deque[Tuple[int, int]] = deque()  # process, status
        self._poll = select.poll()
        self._poll.register(signals.reader, select.POLLIN)
        self._poll.register(connection, select.POLLIN)
        self._asked = True

    def go_on(self) -> None:
        while self._asked or self._slots:
            busy = self._wanted or self._dead
            for descriptor, _ in self._poll.poll(0 if busy else None):
                if descriptor == self._connection.fileno():
                    self._take_order()
            self._signals.drain()
            self._dead += _reap()
            # One of each at a time, so that neither end's messages pile up until both wait for the other.
            if self._wanted:
                self._fork(self._wanted.popleft())
            if self._dead:
                self._bury(*self._dead.popleft())

    def _take_order(self) -> None:
        order = b""
        with contextlib.suppress(ConnectionError):
            order = self._connection.recv(_LARGEST)
        if order:
            self._wanted.append(int(order))
        else:
            self._asked = False
            self._wanted.clear()
            self._poll.unregister(self._connection)

    def _bury(self, pid: int, status: int) -> None:
        number = self._slots.pop(pid, None)
        if number is not None:  # else something that a call has left behind
            _tell(self._connection, slot=number, pid=pid, status=status)

    def _fork(self, number: int) -> None:
        try:
            pid, ours, theirs = _forked(self._signals)
        except OSError as error:
            _tell(self._connection, slot=number, why=str(error))
            return
        if pid == 0:
            ours.close()
            self._connection.close()
            os.environ.update(self._work.plan.of(number))
            run = partial(call.run, self._work.batch, self._loaded)
            slot.serve(run, theirs, number, self._work.board, self._work.folder)
        theirs.close()
        _lead_group(pid)
        self._slots[pid] = number
        _tell(self._connection, ours, slot=number, pid=pid)
        ours.close()


def _forked(signals: Signals) -> Tuple[int, socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    try:
        with held(signal.SIGTERM):
            pid = os.fork()
            if pid == 0:
                signals.forget()
    except OSError:
        ours.close()
        theirs.close()
        raise
    return pid, ours, theirs


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


def _tell(connection: socket.socket, end: Optional[socket.socket] = None, **what: Any) -> None:
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [end.fileno()]))] if end else []
    with contextlib.suppress(OSError):  # the worker is gone, or wants to hear no more
        connection.sendmsg([json.dumps(what).encode()], passed)
