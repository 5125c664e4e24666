"""The executor."""

from __future__ import annotations

import inspect
import itertools
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from smexec.capture import pickling
from smexec.core import settings as table
from smexec.core.work import Call
from smexec.engine.engine import Engine
from smexec.future import Future

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_MAX_WORKERS = 4  # what a new account may run at once, over all instance types


class SageMakerExecutor(Executor):
    """A ``concurrent.futures.Executor`` whose calls run as SageMaker Training Jobs.

    ::

        with SageMakerExecutor(max_workers=8, instance_type="ml.m5.4xlarge") as executor:
            future = executor.submit(divide, 3, 2)
            for score in executor.map(train, grid):
                ...

    :param max_workers: most jobs in flight; 4 unless given
    :param settings: see :data:`smexec.core.settings.SETTINGS` and the page "Settings". What is not given
        comes from the environment (``SMEXEC_ROLE``, …), then from the defaults
    :raises ValueError: ``max_workers`` is not above 0
    :raises smexec.errors.SettingsError: a setting is misspelt, of the wrong kind, or contradicts another
    """

    def __init__(self, max_workers: int | None = None, **settings: Any) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._max_workers = max_workers or DEFAULT_MAX_WORKERS  # dask and others read this name
        self._settings = table.make(settings, os.environ)
        self._engine = Engine(self._max_workers, self._settings)
        # A dropped executor ends as the standard library's do: what was submitted still runs.
        closing = weakref.finalize(self, self._engine.close, wait=False)
        closing.atexit = False

    @property
    def run_id(self) -> str:
        """Part of all this executor's job names, and of its S3 prefix."""
        return self._engine.run.id

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` as a job.

        The function and its arguments are pickled here and now, large arrays by reference: do not change
        those before the call has started.

        :raises smexec.errors.CallNotPicklable: the function or an argument cannot be sent
        :raises RuntimeError: after ``shutdown``
        """
        self._engine.check_process()
        caller = pickling.calling_module(sys._getframe(1))  # noqa: SLF001
        call = Call(
            function=pickling.name_of(fn),
            sections=pickling.dump_call(fn, args, kwargs, caller),
            sources=pickling.sources_of(fn),
            settings=self._settings,
        )
        name = self._engine.name_next(call)
        future: Future[T] = Future(self._engine, name)
        self._engine.submit(name, call, future)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """``fn`` of each tuple of arguments, a call each; results in the order of the arguments.

        :param timeout: seconds from now until ``TimeoutError``
        :param chunksize: accepted, as in the standard library; a call is a job of its own
        :param buffersize: most calls submitted and not yet handed out: the iterables are then read as the
            results are taken, as in Python 3.14. None: they are read at once
        :raises ValueError: ``chunksize`` or ``buffersize`` is not above 0
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else time.monotonic() + timeout
        arguments = zip(*iterables, strict=False)
        futures = deque(self.submit(fn, *args) for args in itertools.islice(arguments, buffersize))
        return _results(weakref.ref(self), fn, arguments if buffersize else iter(()), futures, end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.

        :param wait: return when all calls have ended
        :param cancel_futures: cancel those that have not started in a container; their jobs are stopped
        """
        self._engine.close(wait=wait, cancel=cancel_futures)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for the calls without blocking the loop."""
        from anyio import to_thread

        await to_thread.run_sync(self.shutdown)

    def __repr__(self) -> str:
        counts = self._engine.counts()
        calls = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none in flight"
        return f"<SageMakerExecutor run={self.run_id} max_workers={self._max_workers} calls: {calls}>"


def _results(
    executor: weakref.ref[SageMakerExecutor],
    fn: Callable[..., T],
    rest: Iterator[tuple[Any, ...]],
    futures: deque[Future[T]],
    end: float | None,
) -> Iterator[T]:
    """Results in order, none of them kept; for each that is taken, one more call of the rest is submitted."""
    try:
        while futures:
            alive = executor()
            if alive is not None:
                futures.extend(alive.submit(fn, *args) for args in itertools.islice(rest, 1))
            del alive
            yield _result(futures.popleft(), end)
    finally:
        for future in futures:
            future.cancel()


def _result(future: Future[T], end: float | None) -> T:
    try:
        return future.hand_over(None if end is None else end - time.monotonic())
    finally:
        future.cancel()
        del future  # an exception's traceback would keep it


def _signature() -> inspect.Signature:
    """The constructor's, with every setting by name, for help() and editors."""
    word = inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(SageMakerExecutor.__init__).parameters.values())[1:2]
    rows = [inspect.Parameter(row.name, word, default=row.default) for row in table.SETTINGS.values()]
    return inspect.Signature([*own, *rows])


SageMakerExecutor.__signature__ = _signature()  # type: ignore[attr-defined]
