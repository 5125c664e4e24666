"""Signals as something that ``poll`` can wait for."""

from __future__ import annotations

import contextlib
import os
import signal
from types import TracebackType
from typing import Any, Dict, Iterator, Optional, Type

_OURS = (signal.SIGTERM, signal.SIGCHLD)


class Signals:
    """SIGTERM and SIGCHLD, noted: a pipe becomes readable.

    :ivar terminated: SIGTERM came
    :ivar reader: the pipe's end to wait for
    """

    def __init__(self) -> None:
        self.terminated = False
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> Signals:  # noqa: PYI034  # typing.Self is younger than the oldest Python here
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._on_terminate)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)  # whoever started us may have left them blocked
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.forget()

    def forget(self) -> None:
        """Back to what was before; in a forked child too."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set by Python
        os.close(self.reader)
        os.close(self._writer)
        self._writer = -1

    def wake(self) -> None:
        """Make the pipe readable, from any thread."""
        with contextlib.suppress(OSError):  # it is, or nobody waits any more
            os.write(self._writer, b"\0")

    def drain(self) -> None:
        """Empty the pipe, so that the next ``poll`` waits for the next signal."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader, 512):
                pass

    def _on_terminate(self, *_: object) -> None:
        self.terminated = True


def signal_group(leader: int, number: int) -> None:
    """Signal a group of processes, if it is there.

    :raises ValueError: no process that we started can lead it: to the system, 0 is our own group, and 1 is
        every process of the machine
    """
    if leader <= 1:
        message = "{} leads no group of ours".format(leader)
        raise ValueError(message)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


@contextlib.contextmanager
def held(number: int) -> Iterator[None]:
    """Let a signal wait until the block has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
