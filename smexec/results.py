"""What ``map`` yields: results in order or as they come, none of them kept once it is handed out."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as FuturesTimeoutError
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from smexec.future import Future

T = TypeVar("T")
Arguments = tuple[Any, ...]
Submit = Callable[[Arguments], "Future[Any] | None"]


@dataclass(frozen=True)
class How:
    """The options of ``map``."""

    timeout: float | None = None
    chunksize: int | None = None
    buffersize: int | None = None
    ordered: bool = True
    return_exceptions: bool = False

    def check(self) -> None:
        """:raises ValueError, TypeError: in the standard library's words where it has some"""
        if self.buffersize is not None and not isinstance(self.buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if self.chunksize is not None and self.chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if self.buffersize is not None and self.buffersize < 1:
            raise ValueError("buffersize must be None or > 0")


class Waiting(Protocol):
    """Futures that have been submitted and not been handed out."""

    def add(self, future: Future[Any]) -> None:
        """One more."""

    def next(self, end: float | None) -> Future[Any]:
        """The next to be handed out, when it is done. :raises TimeoutError: not before ``end``"""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Future[Any]]: ...


def results(submit: Submit, first: Sequence[Arguments], rest: Iterator[Arguments], how: How) -> Iterator[Any]:
    """Submit the first now; for each result that is taken, one more of the rest."""
    end = None if how.timeout is None else time.monotonic() + how.timeout
    waiting: Waiting = InOrder() if how.ordered else AsTheyCome()
    try:
        for arguments in first:
            _add(waiting, submit(arguments))
    except BaseException:
        _stop(waiting)
        raise
    return _yield(submit, waiting, rest, end, how)


def _yield(
    submit: Submit, waiting: Waiting, rest: Iterator[Arguments], end: float | None, how: How
) -> Iterator[Any]:
    try:
        while waiting:
            try:
                for arguments in rest:
                    _add(waiting, submit(arguments))
                    break
            except BaseException:  # the iterable's: what was begun for it has nobody who waits any more
                _stop(waiting)
                raise
            yield _outcome(waiting.next(end), how)
    finally:
        for future in waiting:
            future.cancel()


def _add(waiting: Waiting, future: Future[Any] | None) -> None:
    if future is not None:  # the executor is gone: there will be no more
        waiting.add(future)


def _stop(waiting: Waiting) -> None:
    for future in waiting:
        future.stop()


def _outcome(future: Future[Any], how: How) -> Any:
    try:
        error = future.exception() if how.return_exceptions else None
        return error if error is not None else future.hand_over()
    finally:
        del future  # an exception's traceback would keep it


class InOrder:
    """In the order of submission."""

    def __init__(self) -> None:
        self._futures: deque[Future[Any]] = deque()

    def add(self, future: Future[Any]) -> None:
        """One more."""
        self._futures.append(future)

    def next(self, end: float | None) -> Future[Any]:
        """The next, when it is done."""
        self._futures[0].exception(None if end is None else end - time.monotonic())
        return self._futures.popleft()

    def __len__(self) -> int:
        return len(self._futures)

    def __iter__(self) -> Iterator[Future[Any]]:
        return iter(list(self._futures))


class AsTheyCome:
    """In the order of their ends."""

    def __init__(self) -> None:
        self._pending: set[Future[Any]] = set()
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def add(self, future: Future[Any]) -> None:
        """One more."""
        self._pending.add(future)
        future.add_done_callback(self._done.put)  # type: ignore[arg-type]

    def next(self, end: float | None) -> Future[Any]:
        """Whichever is done first."""
        try:
            future = self._done.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise FuturesTimeoutError from None
        self._pending.discard(future)
        return future

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[Future[Any]]:
        return iter(list(self._pending))
