"""Connections: a call whose arguments are other calls' values boards when those have landed.

No calls wait for each other in a circle: each waits only for futures that were there before its own.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import Any

from smexec.core.work import Call, Dependency, Shared
from smexec.errors import DependencyFailed


class DependencyCancelled(Exception):
    """A call was cancelled whose value another one was to have."""


class Wait:
    """For all dependencies to have landed, or one of them without a value.

    :param over: called once, on whatever thread is the one that lands it
    """

    def __init__(self, dependencies: Sequence[Dependency], over: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._missing = len(dependencies)
        self._over: Callable[[], None] | None = over
        for dependency in dependencies:
            dependency.future.add_done_callback(self._landed)

    def _landed(self, future: concurrent.futures.Future[Any]) -> None:
        with self._lock:
            self._missing -= 1
            if self._missing and not (future.cancelled() or future.exception()):
                return
            over, self._over = self._over, None  # which the future must not keep
        if over is not None:
            over()


def connected(call: Call) -> Call:
    """The call with values in the place of its dependencies, once the wait for them is over.

    What a job cannot find in S3 is pickled, which may take long: for a thread, not for the loop.

    :raises DependencyFailed: one of them has
    :raises DependencyCancelled: one of them was
    """
    for dependency in call.dependencies:
        _check(dependency.future)
    return call.having(_value)


def _check(future: concurrent.futures.Future[Any]) -> None:
    if not future.done():  # another one has failed
        return
    if future.cancelled():
        raise DependencyCancelled
    error = future.exception()
    if error is not None:
        raise DependencyFailed(
            f"the call has not run, since another one failed whose value is one of its arguments: "
            f"{type(error).__name__}: {error}"
        ) from error


def _value(dependency: Dependency) -> Shared:
    return dependency.stored() or dependency.pickle()
