"""A slot: a process that runs one call at a time, so that whatever a call does to it costs nobody else.

Slots are forks of the nursery, which has loaded the functions, so that their modules and large arguments are in
memory once. A slot takes a call's number from its link and gives back a frame: the outcome.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import json
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Callable, List, NamedTuple, NoReturn, Optional

from .call import Outcome
from .container import offer_to_oom_killer
from .protocol import Buffer, Header

_NUMBER = struct.Struct(">I")
_FRAME = struct.Struct(">IIQ")  # call, length of the header, length of what follows it here
_SPILL = 1 << 20  # bytes of sections from which they go by a file, and not through the link

Run = Callable[[int], Outcome]


class Frame(NamedTuple):
    """An outcome as a slot gave it back.

    :ivar sections: their bytes, one after the other; or None where ``file`` has them
    """

    call: int
    header: Header
    sections: Optional[bytes]
    file: Optional[str]


class Link:
    """The worker's end of a slot: which call it has, and what has come back of it so far."""

    def __init__(self, number: int, pid: int, connection: socket.socket) -> None:
        self.number = number
        self.pid = pid
        self.connection = connection
        self.call: Optional[int] = None
        self.deadline: Optional[float] = None
        self._received = bytearray()

    def fileno(self) -> int:
        """For ``select``."""
        return self.connection.fileno()

    def give(self, call: int, deadline: Optional[float]) -> None:
        """Have the slot run a call."""
        self.call, self.deadline = call, deadline
        with contextlib.suppress(OSError):  # it died meanwhile: its status will say so
            self.connection.sendall(_NUMBER.pack(call))

    def receive(self) -> Optional[Frame]:
        """What has come, if that makes a whole frame."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                chunk = self.connection.recv(1 << 18, socket.MSG_DONTWAIT)
                if not chunk:
                    break
                self._received += chunk
        return self._frame()

    def _frame(self) -> Optional[Frame]:
        if len(self._received) < _FRAME.size:
            return None
        call, header_size, size = _FRAME.unpack_from(self._received)
        start = _FRAME.size + header_size
        if len(self._received) < start + size:
            return None
        header = json.loads(bytes(self._received[_FRAME.size : start]))
        sections = bytes(self._received[start : start + size])
        del self._received[: start + size]
        self.call = self.deadline = None
        file = header.pop("file", None)
        return Frame(call, header, None if file else sections, file)

    def dismiss(self) -> None:
        """No more calls: the slot ends as a Python program does."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def send(self, number: int) -> None:
        """Signal the slot's process and all that it has started in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def serve(run: Run, connection: socket.socket, folder: Path) -> NoReturn:
    """The whole life of a slot's process. It must not return: the frames above are the nursery's."""
    try:
        _prepare()
        while True:
            order = connection.recv(_NUMBER.size, socket.MSG_WAITALL)
            if len(order) < _NUMBER.size:
                break
            (call,) = _NUMBER.unpack(order)
            outcome = run(call)
            _flush()  # what the call printed is to be found by whoever is told of its end
            _give_back(connection, call, outcome, folder)
            del outcome
        _end_as_python_does()
    except BaseException:  # a full disk, an atexit handler: there is nobody left to raise it to
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _give_back(connection: socket.socket, call: int, outcome: Outcome, folder: Path) -> None:
    views = [memoryview(section).cast("B") for section in outcome.sections]
    header = dict(outcome.header, sizes=[view.nbytes for view in views])
    inline: List[Buffer] = list(views)
    if sum(header["sizes"]) >= _SPILL:
        path = folder / "outcome-{}".format(call)
        with path.open("wb") as file:
            file.writelines(views)
        header["file"], inline = str(path), []
    text = json.dumps(header).encode()
    size = sum(memoryview(part).nbytes for part in inline)
    connection.sendall(b"".join([_FRAME.pack(call, len(text), size), text, *inline]))


def _prepare() -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(line_buffering=True)  # os._exit loses what is buffered
    tempfile.tempdir = None  # the worker has looked; the call may set TMPDIR and look again
    offer_to_oom_killer()
    faulthandler.enable()


def _end_as_python_does() -> None:
    """Wait for the user's threads, run the atexit handlers, flush: what os._exit leaves out.

    Private names, but the ones that multiprocessing uses in its own forked children, 3.8 to 3.14.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    _flush()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the call may have closed them, or put anything in their place
            stream.flush()
