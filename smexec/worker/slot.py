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
import threading
import time
import traceback
from pathlib import Path
from types import FrameType, TracebackType
from typing import Callable, List, NoReturn, Optional, Type

from .container import offer_to_oom_killer
from .protocol import Buffer

Work = Callable[[], List[Buffer]]


class Signals:
    """SIGTERM and SIGCHLD as something that ``select`` can wait for."""

    def __init__(self) -> None:
        self.terminated = False

    def __enter__(self) -> Signals:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer)
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
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader, 512):
                pass

    def _on_terminate(self, number: int, frame: Optional[FrameType]) -> None:
        self.terminated = True


class Slot:
    """A started call. ``wait`` until it has reported, or ended, or the job is told to stop."""

    def __init__(self, pid: int, pipe: int, report: Path, signals: Signals) -> None:
        self.pid = pid
        self.report = report
        self.reported = False
        self.status: Optional[int] = None  # as os.waitpid gives it, once the process has ended
        self._pipe = pipe
        self._signals = signals

    @classmethod
    def start(cls, work: Work, report: Path, signals: Signals) -> Slot:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            signals.forget()
            _run_child(work, report, writer)
        os.close(writer)
        with contextlib.suppress(OSError):  # the child does the same: whoever comes first
            os.setpgid(pid, pid)
        return cls(pid, reader, report, signals)

    def wait(self) -> None:
        """Return once ``reported``, or ``status`` is known, or SIGTERM came."""
        while not (self._look() or self._signals.terminated):
            select.select([self._signals.reader, self._pipe], [], [])
            self._signals.drain()

    def wait_for_end(self, seconds: float) -> None:
        """Let the process end by itself; after ``seconds`` it is killed."""
        deadline = time.monotonic() + seconds
        while not self._reap() and time.monotonic() < deadline:
            select.select([self._signals.reader], [], [], deadline - time.monotonic())
            self._signals.drain()
        self.send(signal.SIGKILL)
        if self.status is None:
            self.status = os.waitpid(self.pid, 0)[1]

    def send(self, number: int) -> None:
        """Signal the call's process and all that it started in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _look(self) -> bool:
        """Whether there is something to tell. The report is looked for last: a child may report and end."""
        ended = self._reap()
        if not self.reported and select.select([self._pipe], [], [], 0)[0]:
            self.reported = os.read(self._pipe, 1) == b"!"
        return ended or self.reported

    def _reap(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None


def _run_child(work: Work, report: Path, writer: int) -> NoReturn:
    """The whole life of the call's process. It must not return: the frames above are the worker's."""
    try:
        _prepare_child()
        body = work()
        with open(report, "wb") as file:
            for part in body:
                file.write(part)
        os.write(writer, b"!")
        os.close(writer)
        _end_as_python_does()
    except BaseException:  # a full disk, an atexit handler: there is nobody left to raise it to
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _prepare_child() -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(os.devnull) as null:
        os.dup2(null.fileno(), 0)
    offer_to_oom_killer()
    faulthandler.enable()


def _end_as_python_does() -> None:
    """Wait for the user's threads, run the atexit handlers, flush: what os._exit leaves out.

    Private names, but the ones that multiprocessing uses in its own forked children, 3.8 to 3.14.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
