"""The executor."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import Executor
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, overload

from smexec import awaiting
from smexec.capture import images, pickling
from smexec.capture.sharing import Sharing
from smexec.core import packing
from smexec.core import settings as table
from smexec.core.errand import Errand
from smexec.core.packing import Kind
from smexec.core.settings import Settings
from smexec.core.work import Call, Dependency
from smexec.engine.engine import Engine
from smexec.engine.flight import Ticket
from smexec.future import Future, once
from smexec.program import Program
from smexec.results import Arguments, How, OfValues, Options, Results

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

Make: TypeAlias = Callable[[tuple[Any, ...], Mapping[str, Any]], "Call | Errand"]  # a call, of arguments

_LINGER = 0.1  # seconds that a call waits for others to share a job with
_PATIENCE = 5.0  # the same for calls of a map that keep coming: a job takes longer than that to start
_PICKLING, _ALL_PICKLED = 1.0, 60.0  # the same two for calls that are known to come
_QUICK = 4 << 20  # bytes of a pickle: some hundredths of a second
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
    :raises smexec.errors.SettingsError: a setting is misspelt, of the wrong kind, or contradicts another; or
        what ``instance_type="local"`` needs is not installed
    """

    def __init__(self, max_workers: int | None = None, **settings: Any) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._max_jobs = max_workers or DEFAULT_MAX_WORKERS
        self._settings = images.located(table.make(settings, os.environ))
        # dask and others read this name: how many calls of submit() can be under way.
        self._max_workers = self._max_jobs * self._settings.calls_per_job
        self._engine = Engine(self._max_jobs, self._settings)
        # A dropped executor ends as the standard library's do: what was submitted still runs.
        closing = weakref.finalize(self, self._engine.close, wait=False)
        closing.atexit = False

    @property
    def run_id(self) -> str:
        """Part of all this executor's job names, and of its S3 prefix."""
        return self._engine.run.id

    @overload
    def submit(self, fn: Program[T], /, *args: Any, **kwargs: Any) -> Future[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    def submit(self, fn: Callable[..., T] | Program[T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` as a job; or a program (:class:`smexec.Script`, …) with what it takes.

        The function and its arguments are pickled here and now, large arrays by reference: do not change
        those before the call has started; nor the files here that are inputs of a program. Where an event
        loop runs on this thread, arguments of more than 4 MB are pickled on another one, and so is a program
        read. That this cannot be done is the future's exception then.

        :raises smexec.errors.CallNotPicklable: the function or an argument cannot be sent
        :raises smexec.errors.ScriptError: the same of a program
        :raises RuntimeError: after ``shutdown``
        """
        settings = self._settings
        if isinstance(fn, Program):
            self._engine.check_process()
            return self._submit_made(lambda: fn.prepare(settings)(args, kwargs), reads=True)
        caller = pickling.calling_module(sys._getframe(1))  # noqa: SLF001
        limit = settings.calls_per_job
        kind = Kind(group="submit", limit=limit, linger=_LINGER if limit > 1 else 0.0)
        self._engine.check_process()
        function = pickling.dump_function(fn, caller)
        refer = functools.partial(_dependency, self._engine, fn, caller, {})
        dump = functools.partial(pickling.dump_arguments, fn, args, kwargs, caller, refer=refer)
        try:
            arguments = dump(most=_QUICK if awaiting.in_async_code() else None)
            return self._submit(Call(function, arguments, settings, kind))
        except pickling.TooLarge:
            return self._submit_later(lambda: Call(function, dump(), settings, kind))

    def _submit(self, call: Call | Errand) -> Future[Any]:
        ticket = Ticket()
        future: Future[Any] = Future(self._engine, ticket)
        self._engine.submit(call, future, ticket)
        return future

    def _submit_made(self, make: Callable[[], Call | Errand], *, reads: bool) -> Future[Any]:
        """:param reads: to make it files may be read, which no event loop is kept waiting for"""
        return self._submit_later(make) if reads and awaiting.in_async_code() else self._submit(make())

    def _submit_later(self, make: Callable[[], Call | Errand]) -> Future[Any]:
        """What takes long to make, without keeping this thread waiting."""
        ticket = Ticket()
        future: Future[Any] = Future(self._engine, ticket)
        self._engine.submit_later(make, future, ticket)
        return future

    # What the standard library's stubs do for the built-in map, which executors there have to do without.
    @overload  # type: ignore[override]  # no results without an iterable
    def map(
        self, fn: Program[T], a: Iterable[Any], /, *more: Iterable[Any], **how: Unpack[OfValues]
    ) -> Results[T]: ...
    @overload
    def map(self, fn: Callable[[A], T], a: Iterable[A], /, **how: Unpack[OfValues]) -> Results[T]: ...
    @overload
    def map(
        self, fn: Callable[[A, B], T], a: Iterable[A], b: Iterable[B], /, **how: Unpack[OfValues]
    ) -> Results[T]: ...
    @overload
    def map(
        self, fn: Callable[[A, B, C], T], a: Iterable[A], b: Iterable[B], c: Iterable[C], /,
        **how: Unpack[OfValues],
    ) -> Results[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[..., T], a: Iterable[Any], b: Iterable[Any], c: Iterable[Any], d: Iterable[Any], /,
        *more: Iterable[Any], **how: Unpack[OfValues],
    ) -> Results[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[..., T] | Program[T], /, *iterables: Iterable[Any],
        return_exceptions: bool, **how: Unpack[Options],
    ) -> Results[T | BaseException]: ...  # fmt: skip

    def map(
        self,
        fn: Callable[..., T] | Program[T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Results[T]:
        """``fn`` of each tuple of arguments, a call each; results in the order of the arguments.

        Calls are packed into jobs, where they run side by side, one for each vCPU. A large object that is an
        argument of several of them is uploaded once, and pickled once if the iterables are lists and the
        like; a generator may change it between two calls. A program's calls have a job each.

        :param timeout: seconds from now until ``TimeoutError``
        :param chunksize: calls in a job. Default: the calls that can be seen (of iterables that have a
            length all, with ``buffersize`` as many as that), divided by ``max_workers``. Of iterables without
            a length those that have come go off, so divided, when no other follows at once
        :param buffersize: most calls submitted and not yet handed out: the iterables are then read as the
            results are taken, as in Python 3.14. None: they are read at once, to their end
        :param ordered: False yields results as they come
        :param return_exceptions: yield what a call raised instead of raising it
        :raises ValueError: ``chunksize`` or ``buffersize`` is not above 0, or the iterables have no end
            (``itertools.count()``) and there is no ``buffersize``
        :raises smexec.errors.CallNotPicklable: the function or an argument cannot be sent; those before it
            are stopped, as they are when an iterable raises
        """
        caller = pickling.calling_module(sys._getframe(1))  # noqa: SLF001
        arguments = Arguments.of_columns(iterables)
        how = How(timeout, chunksize, buffersize, ordered, return_exceptions)
        return self._map(fn, arguments, how, caller)

    @overload
    def starmap(
        self, fn: Callable[..., T] | Program[T], arguments: Iterable[Iterable[Any]], **how: Unpack[OfValues]
    ) -> Results[T]: ...
    @overload
    def starmap(
        self, fn: Callable[..., T] | Program[T], arguments: Iterable[Iterable[Any]], *,
        return_exceptions: bool, **how: Unpack[Options],
    ) -> Results[T | BaseException]: ...  # fmt: skip

    def starmap(
        self, fn: Callable[..., T] | Program[T], arguments: Iterable[Iterable[Any]], **how: Any
    ) -> Results[Any]:
        """``fn(*a)`` for each ``a`` of the arguments; for the rest as :meth:`map`."""
        caller = pickling.calling_module(sys._getframe(1))  # noqa: SLF001
        return self._map(fn, Arguments.of_rows(arguments), How(**how), caller)

    def _map(
        self, fn: Callable[..., T] | Program[T], arguments: Arguments, how: How, caller: str | None
    ) -> Results[T]:
        how.check(arguments)
        self._engine.check_process()
        kind = self._kind_of_map(how, arguments)
        if isinstance(fn, Program):
            make = _make_of_program(fn, self._settings)
        else:
            make = self._make_of(fn, kind, still=arguments.still and how.buffersize is None, caller=caller)
        submit = functools.partial(_submit_to, weakref.ref(self), make, isinstance(fn, Program))
        results: Results[T] = Results(submit, arguments, how)
        self._engine.flush(kind)
        return results

    def _make_of(self, fn: Callable[..., Any], kind: Kind, *, still: bool, caller: str | None) -> Make:
        """What makes calls of a function; it keeps no reference to the executor."""
        function, settings = pickling.dump_function(fn, caller), self._settings
        known: weakref.WeakValueDictionary[Future[Any], Dependency] = weakref.WeakValueDictionary()
        refer = functools.partial(_dependency, self._engine, fn, caller, known)
        sharing = Sharing(still=still, refer=refer)
        dump = functools.partial(pickling.dump_arguments, fn, caller=caller, sharing=sharing, refer=refer)
        return lambda args, kwargs: Call(function, dump(args, dict(kwargs)), settings, kind)

    def _kind_of_map(self, how: How, arguments: Arguments) -> Kind:
        limit, visible = how.chunksize, arguments.visible(how.buffersize)
        if limit is None and visible is not None:
            limit = packing.share(visible, self._max_jobs)
        if limit == 1:
            return Kind(group=object())
        if visible is None or how.buffersize is not None:
            return Kind(group=object(), limit=limit, linger=_LINGER, patience=_PATIENCE)
        # All are on their way, though each may take a while to pickle.
        return Kind(group=object(), limit=limit, linger=_PICKLING, patience=_ALL_PICKLED)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.

        :param wait: return when all calls have ended
        :param cancel_futures: cancel those that have not started in a container; their jobs are stopped
        :raises RuntimeError: a callback of one of the calls is to wait for all of them
        """
        self._engine.close(wait=wait, cancel=cancel_futures)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the calls without holding up the loop.

        A task that is cancelled does not wait: what has not started is cancelled, and the rest goes on.
        """
        from anyio import get_cancelled_exc_class, to_thread

        has_waited = False
        try:
            if kind is None or not issubclass(kind, get_cancelled_exc_class()):
                await to_thread.run_sync(self.shutdown, abandon_on_cancel=True)
                has_waited = True
        finally:
            if not has_waited:
                self.shutdown(wait=False, cancel_futures=True)

    def __repr__(self) -> str:
        counts = self._engine.counts()
        calls = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none in flight"
        return f"<SageMakerExecutor run={self.run_id} max_workers={self._max_jobs} calls: {calls}>"


def _dependency(
    engine: Engine,
    fn: Callable[..., Any],
    caller: str | None,
    known: MutableMapping[Future[Any], Dependency],
    thing: object,
) -> Dependency | None:
    """What stands for a future among the arguments of calls; None for anything else.

    :param known: what stands for it already, so that its value is pickled once
    """
    if not isinstance(thing, Future):
        return None
    dump = functools.partial(pickling.dump_value, fn, caller)
    dependency = known.get(thing) or thing.dependency_in(engine, dump)
    if dependency is not None:
        known[thing] = dependency
    return dependency


def _submit_to(
    executor: weakref.ref[SageMakerExecutor], make: Make, reads: bool, args: tuple[Any, ...]
) -> Future[Any] | None:
    """One more call of a ``map``, whose results must not keep the executor alive."""
    alive = executor()
    if alive is None:
        return None
    alive._engine.check_process()  # noqa: SLF001
    return alive._submit_made(functools.partial(make, args, {}), reads=reads)  # noqa: SLF001


def _make_of_program(program: Program[Any], settings: Settings) -> Make:
    """What makes its calls. In async code it is read as the first of them is made."""
    if not awaiting.in_async_code():
        return program.prepare(settings)
    prepared = once(lambda: program.prepare(settings))

    def make(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Errand:
        return prepared()(args, kwargs)

    return make


def _signature() -> inspect.Signature:
    """The constructor's, with every setting by name, for help() and editors."""
    word = inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(SageMakerExecutor.__init__).parameters.values())[1:2]
    rows = [inspect.Parameter(row.name, word, default=row.default) for row in table.SETTINGS.values()]
    return inspect.Signature([*own, *rows])


SageMakerExecutor.__signature__ = _signature()  # type: ignore[attr-defined]
