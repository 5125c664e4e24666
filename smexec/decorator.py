"""``@remote``: a function whose calls run as jobs.

Not called ``remote.py``: a submodule of that name would hide the decorator in ``smexec.remote``.
"""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable, Iterable
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from smexec.executor import SageMakerExecutor
from smexec.future import Future
from smexec.results import OfValues, Options, Results

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")


class _Runner:
    """Has the executor of a function, and of the methods that it is bound to."""

    def __init__(self, max_workers: int | None, settings: dict[str, Any]) -> None:
        self._make = functools.partial(SageMakerExecutor, max_workers, **settings)
        self._make()  # an error belongs to the line that is wrong; it is made again when it is needed
        self._making = threading.Lock()
        self._made: SageMakerExecutor | None = None

    @property
    def executor(self) -> SageMakerExecutor:
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made


class RemoteFunction(Generic[P, T]):
    """What ``@remote`` makes of a function. Calling it blocks and returns the value.

    :ivar local: the function itself, to run it here
    """

    def __init__(self, function: Callable[P, T], runner: _Runner) -> None:
        functools.update_wrapper(self, function)
        self.local = function
        self._runner = runner

    @property
    def executor(self) -> SageMakerExecutor:
        """The executor of its calls, made at the first: ``SMEXEC_*`` variables count as they are then."""
        return self._runner.executor

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> RemoteFunction[P, T]: ...
    @overload
    def __get__(
        self: RemoteFunction[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> RemoteFunction[Q, T]: ...

    def __get__(self, instance: Any, owner: type | None = None) -> RemoteFunction[Any, T]:
        """A method of the instance, as of any function that a class has; all of them share the executor."""
        return self if instance is None else RemoteFunction(MethodType(self.local, instance), self._runner)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run as a job; wait; return the value or raise what the call raised."""
        return self.submit(*args, **kwargs).result()

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run as a job; the future has the outcome."""
        return self.executor.submit(self.local, *args, **kwargs)

    @overload
    def map(self, *iterables: Iterable[Any], **options: Unpack[OfValues]) -> Results[T]: ...
    @overload
    def map(
        self, *iterables: Iterable[Any], return_exceptions: bool, **options: Unpack[Options]
    ) -> Results[T | BaseException]: ...

    def map(self, *iterables: Iterable[Any], **options: Any) -> Results[Any]:
        """A job for each tuple of arguments; options as in :meth:`SageMakerExecutor.map`."""
        return self.executor.map(self.local, *iterables, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Inside a job, a remote function is the function: jobs do not start jobs by accident.

        ``copy`` of a function is the function itself, and the container knows it: it has no smexec.
        """
        return copy.copy, (self.local,)

    def __repr__(self) -> str:
        return f"<remote {getattr(self.local, '__qualname__', self.local)!s}>"


@overload
def remote(function: Callable[P, T], /) -> RemoteFunction[P, T]: ...
@overload
def remote(
    *, max_workers: int | None = None, **settings: Any
) -> Callable[[Callable[P, T]], RemoteFunction[P, T]]: ...


def remote(
    function: Callable[P, T] | None = None, /, *, max_workers: int | None = None, **settings: Any
) -> RemoteFunction[P, T] | Callable[[Callable[P, T]], RemoteFunction[P, T]]:
    """Make a function run as a SageMaker Training Job whenever it is called.

    ::

        @remote(instance_type="ml.m5.24xlarge")
        def divide(x, y):
            return x / y

        divide(3, 2)            # 1.5, computed there
        divide.submit(3, 2)     # a future
        divide.map([1, 2], [3, 4])
        divide.local(3, 2)      # computed here

    :param max_workers: most jobs of this function in flight
    :param settings: as of :class:`SageMakerExecutor`
    :raises smexec.errors.SettingsError: a setting is misspelt, of the wrong kind, or contradicts another
    """
    if function is not None:
        return RemoteFunction(function, _Runner(max_workers, settings))
    return lambda function: RemoteFunction(function, _Runner(max_workers, settings))
