"""A slot: one process that runs one call, so that whatever the call does to it costs nobody else anything.

The worker forks while it has one thread and no connection open. The child writes its outcome's body to a
file and says so on a pipe, then ends as any Python program does (atexit handlers, threads). The worker
need not wait for that: the outcome is on its way as soon as the pipe speaks.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from types import TracebackType
from typing import BinaryIO, Callable, Iterator, List, NoReturn, Optional, Type

from .container import offer_to_oom_killer
from .protocol import Buffer

Work = Callable[[], List[Buffer]]

_DONE = b"!"


class Signals:
    """SIGTERM and SIGCHLD as something that ``select`` can wait for."""

    def __init__(self) -> None:
        self.terminated = False

    def __enter__(self) -> Signals:  # noqa: PYI034  # typing.Self is younger than the oldest Python here
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.forget()

    def forget(self) -> None:
        """Back to what a new process has; in a forked child too."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.close(self.reader)
        os.close(self._writer)

    def drain(self) -> None:
        """Empty the pipe, so that the next ``select`` waits for the next signal."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader, 512):
                pass

    def _on_terminate(self, *_: object) -> None:
        self.terminated = True


class Slot:
    """A started call. ``wait`` until it has reported, or ended, or the job is told to stop.

    :ivar reported: its outcome's body is in the report
    :ivar status: as ``os.waitpid`` gives it, once the process has ended
    """

    def __init__(self, pid: int, pipe: int, signals: Signals) -> None:
        self.pid = pid
        self.reported = False
        self.status: Optional[int] = None
        self._pipes = [pipe]
        self._signals = signals

    @classmethod
    def start(cls, work: Work, report: BinaryIO, signals: Signals) -> Slot:
        """Run ``work`` in a process of its own, which writes what it returns to ``report``."""
        reader, writer = os.pipe()
        with _held(signal.SIGTERM):  # until the child has forgotten our handlers: it would be lost there
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                signals.forget()
        if pid == 0:
            _run_child(work, report, writer)
        os.close(writer)
        with contextlib.suppress(OSError):  # the child does the same: whoever comes first
            os.setpgid(pid, pid)
        return cls(pid, reader, signals)

    def wait(self) -> None:
        """Return once ``reported``, or ``status`` is known, or SIGTERM came."""
        while not (self._look() or self._signals.terminated):
            select.select([self._signals.reader, *self._pipes], [], [])
            self._signals.drain()

    def wait_for_end(self, seconds: float) -> None:
        """Let the process end by itself, for so long."""
        deadline = time.monotonic() + seconds
        while not self._reap() and time.monotonic() < deadline:
            select.select([self._signals.reader], [], [], max(0.0, deadline - time.monotonic()))
            self._signals.drain()

    def end(self) -> None:
        """Kill the call, unless it has ended."""
        if self.status is None:
            self.send(signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]

    def send(self, number: int) -> None:
        """Signal the call's process and all that it has started in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _look(self) -> bool:
        """Whether there is something to tell. The report is looked for last: a child may report and end."""
        ended = self._reap()
        for pipe in select.select(self._pipes, [], [], 0)[0]:
            self.reported = os.read(pipe, 1) == _DONE
            os.close(pipe)  # it has said all: the word, or, closed by the call itself, nothing
            self._pipes.remove(pipe)
        return ended or self.reported

    def _reap(self) -> bool:
        """Whether the call's process has ended. What else has ended is reaped too, as PID 1 has to."""
        pid = -1
        while pid and self.status is None:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == self.pid:
                # What it has started ends with it: now, for soon its number may be another group's.
                self.send(signal.SIGKILL)
                self.status = status
        return self.status is not None


@contextlib.contextmanager
def _held(number: int) -> Iterator[None]:
    """Let a signal wait until the block has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_child(work: Work, report: BinaryIO, writer: int) -> NoReturn:
    """The whole life of the call's process. It must not return: the frames above are the worker's."""
    try:
        _prepare_child()
        body = work()
        _flush()  # what the call printed is to be found by whoever is told of its end
        report.writelines(body)
        report.flush()
        os.write(writer, _DONE)
        os.close(writer)
        _end_as_python_does()
    except BaseException:  # a full disk, an atexit handler: there is nobody left to raise it to
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _prepare_child() -> None:
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
