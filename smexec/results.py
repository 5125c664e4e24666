"""What ``map`` reads and what it yields: results in order or as they come, none of them kept."""

from __future__ import annotations

import contextlib
import itertools
import operator
import queue
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import TimeoutError as FuturesTimeoutError
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict, TypeVar

from smexec import awaiting
from smexec.awaiting import Said
from smexec.future import Future

T = TypeVar("T")
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


class Options(TypedDict, total=False):
    """The same for type checkers, but for ``return_exceptions``, which changes the type of the results."""

    timeout: float | None
    chunksize: int | None
    buffersize: int | None
    ordered: bool


class OfValues(Options, total=False):
    """Options with which the results are what the calls return and nothing else."""

    return_exceptions: Literal[False]


class Waiting(Protocol):
    """Futures that have been submitted and not been handed out."""

    def add(self, future: Future[Any]) -> None:
        """One more."""

    def next(self, end: float | None) -> Future[Any]:
        """The next to be handed out, when it is done. :raises TimeoutError: not before ``end``"""

    def when_next(self, said: Said) -> None:
        """Have ``said`` called when the next is done, or now if it is."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Future[Any]]: ...


class Results(Iterator[T], AsyncIterator[T]):
    """What ``map`` returns: iterate over it, or in async code ``async for``.

    Ends with the first call that raised, unless exceptions are to be returned. Calls whose results nobody
    will take, since this was closed or dropped halfway, are cancelled. If it is dropped before the first was
    taken, nobody wanted results, and the calls go on.
    """

    def __init__(self, submit: Submit, arguments: Arguments, how: How) -> None:
        self._submit = submit
        self._how = how
        self._end = None if how.timeout is None else time.monotonic() + how.timeout
        self._waiting: Waiting = InOrder() if how.ordered else AsTheyCome()
        self._submit_next(arguments.rows, how.buffersize)
        self._rest = arguments.rows
        if not how.buffersize:
            self._forget_arguments()
        self._is_begun = False

    def close(self) -> None:
        """Nobody will take any more: cancel what has not started."""
        _cancel(self._waiting)
        self._waiting = InOrder()
        self._forget_arguments()

    def __next__(self) -> T:
        try:
            self._refill()
            value: T = self._take()
        except BaseException:
            self.close()
            raise
        return value

    async def __anext__(self) -> T:
        try:
            self._refill()
            await self._next_is_done()
            value: T = self._take()
        except StopIteration:
            raise StopAsyncIteration from None
        except BaseException:
            self.close()
            raise
        return value

    async def aclose(self) -> None:
        """:meth:`close`, for ``contextlib.aclosing``."""
        self.close()

    def _forget_arguments(self) -> None:
        """There will be no more: who submits, and what of the arguments he has kept, is needed no longer."""
        self._submit, self._rest = _nobody, iter(())

    def _refill(self) -> None:
        """For each result that is taken, one more call. :raises StopIteration: there are no more results"""
        if not self._is_begun:
            self._is_begun = True
            weakref.finalize(self, _cancel, self._waiting).atexit = False
        if self._waiting:
            self._submit_next(self._rest, 1)
        if not self._waiting:
            raise StopIteration

    def _take(self) -> Any:
        future = self._waiting.next(self._end)
        try:
            error = future.exception() if self._how.return_exceptions else None
            return error if error is not None else future.hand_over()
        finally:
            del future  # an exception's traceback would keep it

    async def _next_is_done(self) -> None:
        import anyio

        try:
            with anyio.move_on_after(None if self._end is None else self._end - time.monotonic()):
                await awaiting.until(self._waiting.when_next)
        except BaseException:  # the task was cancelled
            _stop(self._waiting)
            raise

    def _submit_next(self, rows: Iterator[tuple[Any, ...]], count: int | None) -> None:
        try:
            for row in itertools.islice(rows, count):
                future = self._submit(row)
                if future is None:  # the executor is gone: there will be no more
                    return
                self._waiting.add(future)
        except BaseException:  # an iterable's, or Ctrl-C: nobody waits any more for what was begun
            _stop(self._waiting)
            raise


def _nobody(_: tuple[Any, ...]) -> None:
    """Submits nothing."""


def _cancel(waiting: Waiting) -> None:
    for future in waiting:
        future.cancel()


def _stop(waiting: Waiting) -> None:
    for future in waiting:
        future.stop()


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

    def when_next(self, said: Said) -> None:
        """Have ``said`` called when it is done."""
        self._futures[0].add_done_callback(lambda _: said())

    def __len__(self) -> int:
        return len(self._futures)

    def __iter__(self) -> Iterator[Future[Any]]:
        return iter(list(self._futures))


class AsTheyCome:
    """In the order of their ends."""

    def __init__(self) -> None:
        self._pending: set[Future[Any]] = set()
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._said: Said = _nobody_listens

    def add(self, future: Future[Any]) -> None:
        """One more."""
        self._pending.add(future)
        future.add_done_callback(self._ended)  # type: ignore[arg-type]

    def next(self, end: float | None) -> Future[Any]:
        """Whichever is done first."""
        try:
            future = self._first(end)
        except queue.Empty:
            raise FuturesTimeoutError from None
        self._pending.discard(future)
        return future

    def when_next(self, said: Said) -> None:
        """Have ``said`` called when one is done."""
        self._said = said
        if not self._done.empty():
            said()

    def _first(self, end: float | None) -> Future[Any]:
        """:raises queue.Empty: none is done before ``end``"""
        # Not get(timeout=) alone: in Python 3.10 that waits for ever if the time is up once it has taken the
        # queue's lock. When get_nowait() has found nothing, the lock is taken.
        with contextlib.suppress(queue.Empty):
            return self._done.get_nowait()
        left = None if end is None else end - time.monotonic()
        return self._done.get(block=left is None or left > 0, timeout=left)

    def _ended(self, future: Future[Any]) -> None:
        self._done.put(future)
        self._said()

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[Future[Any]]:
        return iter(list(self._pending))


def _nobody_listens() -> None:
    """Until somebody waits in async code."""
