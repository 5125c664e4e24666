"""A slot: a process that runs one call at a time, so that whatever a call does to it costs nobody else.

Slots are forks of the nursery, which has loaded what calls have in common, so that it is in memory once. A
slot takes a call's number from its link and gives back a frame: the outcome.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, NoReturn, Optional, Union

from . import aside, parts
from .call import Outcome
from .container import offer_to_oom_killer
from .protocol import Buffer, Header
from .signals import signal_group

_NUMBER = struct.Struct(">I")
_FRAME = struct.Struct(">IIQ")  # call, length of the header, length of what follows it here
_CHUNK = 1 << 18
_DESCRIPTOR = struct.Struct("i")
_DESCRIPTORS = socket.CMSG_SPACE(_DESCRIPTOR.size)  # of what tells of one

Run = Callable[[int], Outcome]


class Board:
    """Which call each slot has begun last: memory that worker and slots share.

    A call that was handed to a slot which died before it began is not that death's victim.

    :ivar slots: how many there are
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._memory = mmap.mmap(-1, slots * _NUMBER.size)

    def begin(self, slot: int, call: int) -> None:
        """The slot says so."""
        _NUMBER.pack_into(self._memory, slot * _NUMBER.size, call + 1)

    def has_begun(self, slot: int, call: int) -> bool:
        """The worker asks."""
        return bool(_NUMBER.unpack_from(self._memory, slot * _NUMBER.size)[0] == call + 1)


class Frame(NamedTuple):
    """An outcome as a slot gave it back.

    :ivar sections: their bytes, one after the other; or the path of a file that has them
    """

    call: int
    header: Header
    sections: Union[Buffer, str]


class Link:
    """The worker's end of a slot: which call it has, and what has come back of it so far.

    :ivar hung_up: nothing can come back any more, though the process may live
    :ivar doomed: it was sent SIGKILL, and is to have no further call
    :ivar retired: it has said that it takes no further call
    :ivar replaced: another process was asked for in its place
    :ivar has_served: it has run a call to its end
    """

    def __init__(self, number: int, pid: int, connection: socket.socket) -> None:
        self.number = number
        self.pid = pid
        self.connection = connection
        self.call: Optional[int] = None
        self.hung_up = False
        self.doomed = False
        self.retired = False
        self.replaced = False
        self.has_served = False
        self._received = bytearray()
        self._descriptors: List[int] = []

    def fileno(self) -> int:
        """For ``poll``."""
        return self.connection.fileno()

    def give(self, call: int) -> None:
        """Have the slot run a call."""
        self.call = call
        with contextlib.suppress(OSError):  # it died meanwhile: its status will say so
            self.connection.sendall(_NUMBER.pack(call))

    def receive(self) -> Optional[Frame]:
        """What has come, if that makes a whole frame."""
        try:
            while True:
                chunk = self._receive()
                if not chunk:
                    self.hung_up = True
                    break
                self._received += chunk
        except BlockingIOError:
            pass
        except ConnectionError:
            self.hung_up = True
        return self._frame()

    def _receive(self) -> bytes:
        # Not by socket.recv_fds: up to Python 3.13 at least it forgets its flags, and would wait.
        chunk, sent, _, _ = self.connection.recvmsg(_CHUNK, _DESCRIPTORS, socket.MSG_DONTWAIT)
        for level, kind, data in sent:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._descriptors += [descriptor for (descriptor,) in _DESCRIPTOR.iter_unpack(data)]
        return chunk

    def _frame(self) -> Optional[Frame]:
        if len(self._received) < _FRAME.size or self.doomed:
            return None
        call, header_size, size = _FRAME.unpack_from(self._received)
        start = _FRAME.size + header_size
        if call == self.call and len(self._received) < start + size:
            return None
        try:
            header = json.loads(bytes(self._received[_FRAME.size : start])) if call == self.call else None
        except ValueError:
            header = None
        if header is None:  # the call has written to our descriptor
            self.kill()
            return None
        sections = self._sections(header, bytes(self._received[start : start + size]))
        if sections is None:
            self.kill()
            return None
        del self._received[: start + size]
        self.call = None
        self.has_served = True
        self.retired = header.pop("last", False)
        return Frame(call, header, sections)

    def _sections(self, header: Header, inline: bytes) -> Union[Buffer, str, None]:
        """Whatever way they came; None if they have not."""
        if header.pop("memory", False):
            if not self._descriptors:
                return None
            descriptor = self._descriptors.pop()
            try:
                return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
            except OSError as error:  # it maps a descriptor of its own, and there may be none left
                sys.stderr.write("smexec: an outcome cannot be mapped: {}\n".format(error))
                return None
            finally:
                os.close(descriptor)
        return header.pop("file", inline)  # type: ignore[no-any-return]

    def dismiss(self) -> None:
        """No more calls: the slot ends as a Python program does."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it and all that it has started in its group."""
        self.doomed = True
        self.send(signal.SIGKILL)

    def close(self) -> None:
        """Nothing more is to come."""
        self.connection.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def send(self, number: int) -> None:
        """Signal the slot's process and all that it has started in its group."""
        signal_group(self.pid, number)


def serve(run: Run, connection: socket.socket, number: int, board: Board, folder: Path) -> NoReturn:
    """The whole life of a slot's process. It must not return: the frames above are the nursery's."""
    me = os.getpid()
    try:
        _prepare()
        while True:
            order = connection.recv(_NUMBER.size, socket.MSG_WAITALL)
            if len(order) < _NUMBER.size:
                break
            (call,) = _NUMBER.unpack(order)
            board.begin(number, call)
            outcome = run(call)
            flush()  # what the call printed is to be found by whoever is told of its end
            if os.getpid() != me:  # a fork that the call made, and left to run on
                os._exit(1)
            _give_back(connection, call, outcome, folder / "outcome-{}".format(call), board.slots)
            if outcome.is_last:
                break
            del outcome
        _end_as_python_does()
    except BaseException:  # an atexit handler, a call that closed every file: there is nobody to raise it to
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def flush() -> None:
    """What is printed is out."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the user may have closed them, or put anything in their place
            stream.flush()


def _give_back(connection: socket.socket, call: int, outcome: Outcome, file: Path, slots: int) -> None:
    views = [memoryview(section).cast("B") for section in outcome.sections]
    header = dict(outcome.header, sizes=[view.nbytes for view in views])
    put = aside.put(views, file, slots)
    if put is not None:
        header.update({"memory": True} if put.file is None else {"file": put.file})
    if outcome.is_last:
        header["last"] = True
    text = json.dumps(header).encode()
    inline = views if put is None else []
    head = b"".join([_FRAME.pack(call, len(text), parts.length(inline)), text])
    if put is not None and put.descriptor is not None:
        head = head[socket.send_fds(connection, [head], [put.descriptor]) :]
        os.close(put.descriptor)
    connection.sendall(head)
    for view in inline:
        connection.sendall(view)


def _prepare() -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    offer_to_oom_killer()
    _part_random_numbers()


def _part_random_numbers() -> None:
    """Forks of one process would all draw the same numbers.

    Python's own generator sees to that itself. NumPy's does not; one that the user has seeded is left alone.
    """
    random: Any = sys.modules.get("numpy.random")
    if random is not None:
        generator = random.mtrand._rand._bit_generator  # noqa: SLF001  # no public name tells who seeded it
        if getattr(generator, "_seed_seq", generator) is not None:
            random.seed()


def _end_as_python_does() -> None:
    """Wait for the user's threads, run the atexit handlers, flush: what os._exit leaves out.

    Private names, but the ones that multiprocessing uses in its own forked children, 3.8 to 3.14.
    """
    import atexit

    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    flush()
