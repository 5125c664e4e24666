"""A future of one call: the standard library's, and what a remote call has besides."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from smexec import awaiting
from smexec.core.work import Dependency
from smexec.errors import FutureNotPicklable

if TYPE_CHECKING:
    from smexec.engine.engine import Engine
    from smexec.engine.flight import Ticket
    from smexec.worker.protocol import Buffer

T = TypeVar("T")


class Future(concurrent.futures.Future[T]):
    """What ``submit`` returns.

    PENDING until its call starts in the container, so that :meth:`cancel` works while its job is queued or
    starting; RUNNING after that. ``result()`` and ``exception()`` raise what :mod:`smexec.errors` lists, or
    the user's own exception with the remote traceback as its ``__cause__``. Can be awaited.
    """

    def __init__(self, engine: Engine | None = None, ticket: Ticket | None = None) -> None:
        super().__init__()
        self._engine = engine
        self._ticket = ticket

    @property
    def job_name(self) -> str | None:
        """The job's name, as the console shows it; None while the call waits for a job."""
        return self._ticket.job_name if self._ticket else None

    @property
    def status(self) -> str:
        """For people: queued, starting, running, stopping; then cancelled, failed or succeeded."""
        if self.cancelled():
            return "cancelled"
        if not self.done():
            return self._engine.status(self._ticket) if self._engine and self._ticket else "queued"
        return "failed" if super().exception() else "succeeded"

    def cancel(self) -> bool:
        """Cancel the call unless it has started in the container; a job without another call is stopped.

        :returns: False if it was too late: :meth:`stop` ends a running call
        """
        before = self.cancelled()
        if not super().cancel():
            return False
        if not before and self._engine and self._ticket:
            self._engine.withdraw(self._ticket)
        return True

    def stop(self) -> None:
        """End the call, running or not. A running one then raises :class:`smexec.errors.JobStopped`.

        Its job is stopped: the call's process gets SIGTERM, and 110 seconds to save what it has. But if other
        calls in the job are still wanted, the job goes on, and only nobody waits for this one any more.
        """
        if not self.cancel() and not self.done() and self._engine and self._ticket:
            self._engine.stop(self._ticket)

    def logs(self, lines: int = 100) -> list[str]:
        """The last lines that the job wrote to stdout and stderr, oldest first.

        :raises smexec.errors.ServiceError: they cannot be had
        """
        return list(self._engine.log(self._ticket, lines)) if self._engine and self._ticket else []

    def result(self, timeout: float | None = None) -> T:
        """The call's value, after at most ``timeout`` seconds.

        :raises RuntimeError: in a forked child, to which the outcome would never come
        """
        self._check_process()
        return super().result(timeout)

    def hand_over(self, timeout: float | None = None) -> T:
        """The call's value, once: the future keeps none. For ``map``, whose futures nobody else has.

        Who resolved the future may still hold it for a moment, and must not hold the value with it.
        """
        try:
            return self.result(timeout)
        finally:
            if self.done():
                self._result = None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or None, after at most ``timeout`` seconds."""
        self._check_process()
        return super().exception(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait in async code, under asyncio or trio, without holding up the loop.

        Cancelling the task that waits cancels the call, or stops it if it runs.
        """
        return self._awaited().__await__()

    async def _awaited(self) -> T:
        self._check_process()
        try:
            await awaiting.ended(self)
        except BaseException:  # the task was cancelled
            self.stop()
            raise
        if self.cancelled() and not awaiting.in_trio():
            raise asyncio.CancelledError  # as of asyncio's own futures
        return self.result()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """:raises smexec.errors.FutureNotPicklable: always; among the arguments of a call none is pickled"""
        raise FutureNotPicklable(
            "a future stands for its value among the arguments of submit and map, in lists, dicts and other "
            "objects there too; it cannot be pickled by itself, nor as a part of a function"
        )

    def dependency_in(self, engine: Engine, dump: Callable[[Any], Sequence[Buffer]]) -> Dependency | None:
        """What stands for it in calls of that engine's; None if no call will ever resolve it.

        :param dump: pickles the value where their jobs cannot find it in S3
        :raises RuntimeError: in a forked child, to which the outcome would never come
        """
        if self._engine is None or self._ticket is None:
            return None
        self._check_process()
        ticket = self._ticket if self._engine is engine else None
        return Dependency(self, lambda: ticket.stored if ticket else None, once(lambda: dump(self.result())))

    def _check_process(self) -> None:
        if self._engine and not self.done():
            self._engine.check_process()


def once(make: Callable[[], T]) -> Callable[[], T]:
    """Makes it when it is first asked for; whoever asks meanwhile waits for the same."""
    making, made = threading.RLock(), functools.cache(make)

    def get() -> T:
        with making:
            return made()

    return get
