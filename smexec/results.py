"""What ``map`` reads and what it yields: results in order or as they come, none of them kept."""

from __future__ import annotations

import functools
import itertools
import operator
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import TimeoutError as FuturesTimeoutError
from dataclasses import dataclass
from typing import Any, Protocol

from smexec.future import Future

_STILL = frozenset({list, tuple, dict, set, frozenset, range, str, bytes, itertools.repeat})

Submit = Callable[[tuple[Any, ...]], "Future[Any] | None"]


@dataclass(frozen=True)
class Arguments:
    """The tuples that ``map`` calls its function with.

    :ivar rows: they are read from it once
    :ivar count: how many there are, if what they come from has a length
    :ivar endless: there is no end to them
    :ivar still: to read them runs none of the user's code, which might change what was read before
    """

    rows: Iterator[tuple[Any, ...]]
    count: int | None
    endless: bool = False
    still: bool = False

    @classmethod
    def of_columns(cls, iterables: Sequence[Iterable[Any]]) -> Arguments:
        """As ``map`` takes them: an iterable for each parameter."""
        finite = [column for column in iterables if not _has_no_end(column)]
        counts = [len(column) for column in finite if isinstance(column, Sized)]
        endless = bool(iterables) and not finite
        is_known = len(counts) == len(finite) and not endless
        still = all(type(column) in _STILL for column in iterables)
        rows = zip(*iterables, strict=False)
        return cls(rows, min(counts, default=0) if is_known else None, endless, still)

    @classmethod
    def of_rows(cls, rows: Iterable[Iterable[Any]]) -> Arguments:
        """As ``starmap`` takes them: an iterable for each call."""
        still = isinstance(rows, list | tuple) and all(type(row) in (tuple, list) for row in rows)
        count = len(rows) if isinstance(rows, Sized) else None
        return cls(map(tuple, rows), count, _has_no_end(rows), still)

    def visible(self, buffersize: int | None) -> int | None:
        """How many of them are to be submitted before a result is taken; None: nobody knows."""
        if self.count is None or buffersize is None:
            return self.count
        return min(self.count, buffersize)


def _has_no_end(iterable: Iterable[Any]) -> bool:
    """Of the standard library's endless iterators it is known."""
    if isinstance(iterable, itertools.repeat):
        return operator.length_hint(iterable, -1) < 0
    return isinstance(iterable, itertools.count | itertools.cycle)


@dataclass(frozen=True)
class How:
    """The options of ``map``."""

    timeout: float | None = None
    chunksize: int | None = None
    buffersize: int | None = None
    ordered: bool = True
    return_exceptions: bool = False

    def check(self, arguments: Arguments) -> None:
        """:raises ValueError, TypeError: in the standard library's words where it has some"""
        if self.buffersize is not None and not isinstance(self.buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if self.chunksize is not None and self.chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if self.buffersize is not None and self.buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if arguments.endless and self.buffersize is None:
            raise ValueError("the iterables have no end: give buffersize=, the most calls to be under way")


class Waiting(Protocol):
    """Futures that have been submitted and not been handed out."""

    def add(self, future: Future[Any]) -> None:
        """One more."""

    def next(self, end: float | None) -> Future[Any]:
        """The next to be handed out, when it is done. :raises TimeoutError: not before ``end``"""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Future[Any]]: ...


def results(submit: Submit, arguments: Arguments, how: How) -> Iterator[Any]:
    """Submit the first now, as many as may be under way; for each result that is taken, one more."""
    end = None if how.timeout is None else time.monotonic() + how.timeout
    waiting: Waiting = InOrder() if how.ordered else AsTheyCome()
    _submit_next(submit, waiting, arguments.rows, how.buffersize)
    more = functools.partial(_submit_next, submit, waiting, arguments.rows, 1) if how.buffersize else _nothing
    return _yield(waiting, more, end, how)


def _nothing() -> None:
    """All is submitted: who did it, and what of the arguments he has kept, is needed no more."""


def _yield(waiting: Waiting, more: Callable[[], None], end: float | None, how: How) -> Iterator[Any]:
    try:
        while waiting:
            more()
            yield _outcome(waiting.next(end), how)
    finally:
        for future in waiting:
            future.cancel()


def _submit_next(
    submit: Submit, waiting: Waiting, rows: Iterator[tuple[Any, ...]], count: int | None
) -> None:
    try:
        for row in itertools.islice(rows, count):
            future = submit(row)
            if future is None:  # the executor is gone: there will be no more
                return
            waiting.add(future)
    except BaseException:  # an iterable's, or Ctrl-C: nobody waits any more for what was begun
        for future in waiting:
            future.stop()
        raise


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
