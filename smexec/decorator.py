"""``@remote``: a function whose calls run as jobs.

Not called ``remote.py``: a submodule of that name would hide the decorator in ``smexec.remote``.
"""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from smexec.executor import SageMakerExecutor
from smexec.future import Future
from smexec.results import OfValues, Options, Results

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
T = TypeVar("T")


class RemoteFunction(Generic[P, T]):
    """What ``@remote`` makes of a function. Calling it blocks and returns the value.

    :ivar local: the function itself, to run it here
    """

    def __init__(self, function: Callable[P, T], max_workers: int | None, settings: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.local = function
        self._make = functools.partial(SageMakerExecutor, max_workers, **settings)
        self._make()  # an error belongs to the line that is wrong; it is made again when it is needed
        self._making = threading.Lock()
        self._executor: SageMakerExecutor | None = None

    @property
    def executor(self) -> SageMakerExecutor:
        """The executor of its calls, made at the first: ``SMEXEC_*`` variables count as they are then."""
        with self._making:
            if self._executor is None:
                self._executor = self._make()
            return self._executor

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
        return RemoteFunction(function, max_workers, settings)
    return lambda function: RemoteFunction(function, max_workers, settings)
