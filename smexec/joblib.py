"""joblib on SageMaker: a backend for ``joblib.Parallel``, over the executor.

::

    from smexec.joblib import register_sagemaker

    register_sagemaker()
    with joblib.parallel_config(backend="sagemaker", n_jobs=64, instance_type="ml.m5.4xlarge"):
        results = joblib.Parallel()(joblib.delayed(train)(row) for row in grid)
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

try:
    from joblib import Parallel, register_parallel_backend
    from joblib.parallel import BACKENDS, ParallelBackendBase
except ImportError as error:
    raise ImportError("smexec.joblib needs joblib 1.3 or later: pip install 'smexec[joblib]'") from error

from smexec.capture import pickling
from smexec.capture.sharing import Sharing
from smexec.core import settings as table
from smexec.core.fleet import Fleet, vcpus
from smexec.core.packing import BATCH_CALLS, Kind
from smexec.core.settings import Settings
from smexec.core.work import Call, Function
from smexec.executor import DEFAULT_MAX_WORKERS, SageMakerExecutor
from smexec.future import Future

__all__ = ["SageMakerBackend", "register_sagemaker"]

#: Calls that joblib may hand over before results are back, where ``pre_dispatch`` counts in processes.
WINDOW = BATCH_CALLS

_LINGER = 0.1  # seconds without a further call, after which those there are go off
_PATIENCE = 2.0  # the same for the first of them, though others keep coming

# What joblib gives to a backend's configure() besides what the user has given to Parallel() for it.
_NOT_OURS = {"context", *inspect.signature(Parallel).parameters}


def register_sagemaker() -> None:
    """Make ``backend="sagemaker"`` known to joblib."""
    register_parallel_backend("sagemaker", SageMakerBackend)


class SageMakerBackend(ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """What joblib makes of ``backend="sagemaker"``.

    :param max_workers: most jobs in flight. Default: as many as a positive ``n_jobs`` needs; else 4
    :param settings: as of :class:`smexec.SageMakerExecutor`
    :raises ValueError: ``max_workers`` is not above 0
    :raises smexec.errors.SettingsError: a setting is misspelt, of the wrong kind, or contradicts another
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self, nesting_level: int | None = None, inner_max_num_threads: int | None = None, **settings: Any
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._given = settings
        self._settings, self._fleet = _check(**settings)
        self._executor: SageMakerExecutor | None = None
        self._made_of: dict[str, Any] = {}
        self._calls: weakref.WeakKeyDictionary[Parallel, _Calls] = weakref.WeakKeyDictionary()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Calls at a time.

        Never 1 unless that was asked for: joblib takes it for "run them here", which ``max_workers=1`` of a
        machine with one slot does not mean.
        """
        return 1 if n_jobs == 1 else max(2, self._fleet.at_a_time(n_jobs))

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **given: Any) -> int:
        """Make ready for a ``Parallel``.

        :param given: what it was given for its backend: settings like those of the constructor
        """
        settings = self._given | {name: value for name, value in given.items() if name not in _NOT_OURS}
        self._settings, self._fleet = _check(**settings)
        if parallel is not None and n_jobs != 1:
            self._calls[parallel] = self._make_calls(n_jobs, settings)
            if "n_jobs" in str(parallel.pre_dispatch):
                parallel.pre_dispatch = WINDOW
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Any, callback: Any = None) -> _Batch:
        """Run a batch of joblib's: each of its calls travels by itself, and shares a job with others.

        What is wrong with a call is told as its outcome: this may run in joblib's callback, where nobody
        would hear of an exception.
        """
        return _Batch(self._calls[callback.parallel], func.items, callback)

    apply_async = submit  # joblib 1.3 and 1.4 call it so

    def retrieve_result_callback(self, out: _Batch) -> list[Any]:
        """What the calls of a batch returned."""
        return out.results()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002  # it always is
        """Nobody waits any more for what is under way: end it, and the jobs with it."""
        for parallel, calls in list(self._calls.items()):
            if parallel._aborting:  # noqa: SLF001  # no public name tells whose the abortion is
                calls.stop()

    def get_nested_backend(self) -> tuple[ParallelBackendBase, int | None]:
        """In a container, joblib is what it is on any machine: it uses the cores there."""
        return BACKENDS["loky"](nesting_level=0), None

    def _make_calls(self, n_jobs: int | None, settings: dict[str, Any]) -> _Calls:
        part = self._fleet.part(self._fleet.at_a_time(n_jobs))
        made_of = {**settings, "max_workers": part.jobs}
        if part.slots != self._fleet.slots:  # else the container looks how many it has room for
            made_of["slots"] = -(-part.slots // self._settings.instance_count)
        if self.inner_max_num_threads is not None:
            threads = dict.fromkeys(self.MAX_NUM_THREADS_VARS, self.inner_max_num_threads)
            made_of["environment_variables"] = {**dict(self._settings.environment_variables), **threads}
        # The same for all that ask for the same: what is large is uploaded once for its run.
        if self._executor is None or made_of != self._made_of:
            self._executor, self._made_of = SageMakerExecutor(**made_of), made_of
        kind = Kind(object(), limit=None, linger=_LINGER, patience=_PATIENCE, slots=part.slots)
        return _Calls(self._executor, kind, pickling.calling_module(sys._getframe(1)))  # noqa: SLF001


def _check(max_workers: int | None = None, **settings: Any) -> tuple[Settings, Fleet]:
    """The settings, and what they allow."""
    SageMakerExecutor(max_workers, **settings)  # an error belongs to the line that is wrong
    made = table.make(settings, os.environ)
    cpus = len(os.sched_getaffinity(0)) if made.is_local else min(map(vcpus, made.instance_type))
    slots = (made.slots or cpus) * made.instance_count
    return made, Fleet(max_workers or DEFAULT_MAX_WORKERS, slots, grows=max_workers is None)


class _Calls:
    """The calls of one ``Parallel``."""

    def __init__(self, executor: SageMakerExecutor, kind: Kind, caller: str | None) -> None:
        self._executor = executor
        self._kind = kind
        self._caller = caller
        self._sharing = Sharing()
        self._pending: set[Future[Any]] = set()
        self._latest: tuple[Any, Function] | None = None

    def submit(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Future[Any]:
        """One more. :raises smexec.errors.CallNotPicklable: it cannot be sent"""
        arguments = pickling.dump_arguments(fn, args, kwargs, self._caller, sharing=self._sharing)
        executor = self._executor
        call = Call(self._function(fn), arguments, executor._settings, self._kind)  # noqa: SLF001
        future = executor._submit(call)  # noqa: SLF001
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def stop(self) -> None:
        """End those that have not ended."""
        for future in [future for future in self._pending.copy() if not future.cancel()]:
            future.stop()

    def _function(self, fn: Callable[..., Any]) -> Function:
        """Pickled once for calls of the same that follow each other: nearly always for all."""
        if self._latest is None or self._latest[0] is not fn:
            self._latest = fn, pickling.dump_function(fn, self._caller)
        return self._latest[1]


class _Batch:
    """A batch of joblib's. It is told of once: when all its calls have ended, or as soon as one has failed.

    :param items: function, args and kwargs of each call
    :param tell: called with the batch, on any thread
    """

    def __init__(
        self,
        calls: _Calls,
        items: Sequence[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]],
        tell: Callable[[_Batch], None],
    ) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._left = len(items)
        self._error: BaseException | None = None
        self._futures: list[Future[Any]] = []
        try:
            for item in items:
                self._futures.append(calls.submit(*item))
        except Exception as error:
            self._end(error)
        for future in self._futures:
            future.add_done_callback(self._ended)  # type: ignore[arg-type]

    def results(self) -> list[Any]:
        """What the calls returned. :raises BaseException: what the first that failed has raised"""
        if self._error is not None:
            raise self._error
        futures, self._futures = self._futures, []
        return [future.hand_over() for future in futures]

    def _ended(self, future: Future[Any]) -> None:
        self._end(CancelledError() if future.cancelled() else future.exception())

    def _end(self, error: BaseException | None) -> None:
        with self._lock:
            if not self._left:
                return
            self._error = error
            self._left = 0 if error else self._left - 1
            is_over = not self._left
        if is_over:
            self._tell(self)
