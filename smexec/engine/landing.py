"""The one module that resolves futures.

It is called on threads (``loop.in_thread``), never on the loop: unpickling runs the user's code, and so do
the callbacks that a future calls when it is resolved.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import Container, Iterable, Iterator
from typing import Any

from smexec.core.work import Outcome
from smexec.engine.flight import Passenger, Ticket

# Between the question whether a future runs and the statement that it does, nobody else may state it.
_stating = threading.Lock()
_here = threading.local()  # ``ticket``: of the call whose callbacks are called on this thread

_log = logging.getLogger("concurrent.futures")  # to which the standard library tells what callbacks raise


def _renew() -> None:
    """In a forked child: a thread of the parent may have held the lock, and will never let it go here."""
    global _stating
    _stating = threading.Lock()


os.register_at_fork(after_in_child=_renew)


def announce(future: concurrent.futures.Future[Any]) -> None:
    """The call has started: from here on its future cannot be cancelled."""
    with _stating:
        if not (future.running() or future.done()):
            future.set_running_or_notify_cancel()


def settle_all(landing: Iterable[tuple[Passenger, Outcome]]) -> None:
    """Resolve each once; a cancelled future stays cancelled."""
    for passenger, outcome in landing:
        passenger.ticket.stored = outcome.stored  # first: who waits for the future asks
        _settle(passenger, outcome)


def cancel(passenger: Passenger) -> None:
    """Nobody will run this call."""
    with _calling_back(passenger):
        passenger.future.cancel()


def is_calling_back(tickets: Container[Ticket]) -> bool:
    """Whether this thread is in a callback of one of these calls."""
    return getattr(_here, "ticket", None) in tickets


def _settle(passenger: Passenger, outcome: Outcome) -> None:
    future = passenger.future
    announce(future)
    value, error = outcome.take()
    if future.cancelled():
        notify_cancelled(future)
        return
    # A callback's SystemExit would come out of the standard library, and the callbacks after it never run.
    callbacks, future._done_callbacks = future._done_callbacks, []  # type: ignore[attr-defined]  # noqa: SLF001
    with _calling_back(passenger):
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)
    for callback in callbacks:
        with _calling_back(passenger):
            callback(future)


@contextlib.contextmanager
def _calling_back(passenger: Passenger) -> Iterator[None]:
    """Whatever the user's code raises is logged."""
    _here.ticket = passenger.ticket
    try:
        yield
    except BaseException:
        _log.exception("exception calling callback for %r", passenger.future)
    finally:
        _here.ticket = None


def notify_cancelled(future: concurrent.futures.Future[Any]) -> None:
    """Tell ``wait`` and ``as_completed``, which the standard library leaves to whoever runs the future.

    It may be told only once: a second time is an error there.
    """
    with _stating:
        if future._state == "CANCELLED":  # noqa: SLF001  # no public name tells the two states apart
            future.set_running_or_notify_cancel()
