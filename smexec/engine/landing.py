"""The one module that resolves futures.

It is called on threads (``loop.in_thread``), never on the loop: unpickling runs the user's code, and so do
the callbacks that a future calls when it is resolved.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Iterable
from typing import Any

from smexec.core.work import Outcome
from smexec.engine.flight import Passenger

# Between the question whether a future runs and the statement that it does, nobody else may state it.
_stating = threading.Lock()


def announce(future: concurrent.futures.Future[Any]) -> None:
    """The call has started: from here on its future cannot be cancelled."""
    with _stating:
        if not (future.running() or future.done()):
            future.set_running_or_notify_cancel()


def settle(future: concurrent.futures.Future[Any], outcome: Outcome) -> None:
    """Resolve once; a cancelled future stays cancelled."""
    announce(future)
    value, error = outcome.take()
    if future.cancelled():
        notify_cancelled(future)
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def settle_all(landing: Iterable[tuple[Passenger, Outcome]]) -> None:
    """Resolve many at once."""
    for passenger, outcome in landing:
        passenger.ticket.stored = outcome.stored  # first: who waits for the future asks
        settle(passenger.future, outcome)


def notify_cancelled(future: concurrent.futures.Future[Any]) -> None:
    """Tell ``wait`` and ``as_completed``, which the standard library leaves to whoever runs the future.

    It may be told only once: a second time is an error there.
    """
    with _stating:
        if future._state == "CANCELLED":  # noqa: SLF001  # no public name tells the two states apart
            future.set_running_or_notify_cancel()
