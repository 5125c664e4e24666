"""Signals as something that ``select`` can wait for."""

from __future__ import annotations

import contextlib
import os
import signal
from types import TracebackType
from typing import Iterator, Optional, Type


class Signals:
    """SIGTERM and SIGCHLD, noted: a pipe becomes readable.

    :ivar terminated: SIGTERM came
    :ivar reader: the pipe's end to wait for
    """

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


@contextlib.contextmanager
def held(number: int) -> Iterator[None]:
    """Let a signal wait until the block has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
