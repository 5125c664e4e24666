"""The one module that resolves futures.

It does so on threads, never on the loop: unpickling runs the user's code, and so do the callbacks that a
future calls when it is resolved.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

from smexec.core.work import Outcome
from smexec.engine.flight import Flight
from smexec.engine.loop import in_thread


class Landing:
    """Where flights end."""

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """Run what may take long, or be the user's, away from the loop."""
        return await in_thread(work)

    async def resolve(self, flight: Flight, outcome: Outcome) -> None:
        """The future gets its value or exception, unless the user cancelled it meanwhile."""
        await self.in_thread(lambda: settle(flight.future, outcome))


def announce(flight: Flight) -> bool:
    """The call has started: from here on its future cannot be cancelled. False if it was before."""
    future = flight.future
    return future.running() or future.done() or future.set_running_or_notify_cancel()


def settle(future: concurrent.futures.Future[Any], outcome: Outcome) -> None:
    """Resolve once; a cancelled future stays cancelled."""
    if not future.running() and not future.done():
        future.set_running_or_notify_cancel()
    value, error = outcome.take()
    if future.cancelled():
        notify_cancelled(future)
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def notify_cancelled(future: concurrent.futures.Future[Any]) -> None:
    """Tell ``wait`` and ``as_completed``, which the standard library leaves to whoever runs the future.

    It may be told only once: a second time is an error there.
    """
    if future._state == "CANCELLED":  # noqa: SLF001  # no public name tells the two states apart
        future.set_running_or_notify_cancel()
