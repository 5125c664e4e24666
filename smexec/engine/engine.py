"""The engine of one executor: takes calls and futures from any thread, lands them on the loop thread.

::

    submit ── inbox ──▸ queue ── launch ──▸ tracker ── inquest ──▸ landing ──▸ future
    (any thread)        '----------- the crew, on the loop thread -----------'   (threads)

It holds no reference to an executor, and none to a flight that has landed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

from smexec.aws import logs
from smexec.aws.client import Client
from smexec.core.errand import Errand
from smexec.core.packing import Kind
from smexec.core.run import Run
from smexec.core.settings import Settings
from smexec.core.work import Call, Outcome
from smexec.engine import landing, loop
from smexec.engine.crew import Crew
from smexec.engine.flight import Passenger, Ticket
from smexec.engine.place import check_ground, ground
from smexec.errors import SmexecError, known

_log = logging.getLogger("smexec")


class Engine:
    """Runs calls as jobs, at most ``max_workers`` in flight. Its methods are for any thread.

    The loop thread is leased by the first call, and given back when the last has landed after ``close``.
    """

    def __init__(self, max_workers: int, settings: Settings) -> None:
        """:raises SettingsError: what the local service needs is not installed, and it is asked for"""
        check_ground(settings.is_local)
        self._run: Run | None = None
        self._max_workers = max_workers
        self._session = settings.session
        self._is_local = settings.is_local
        self._pid: int | None = None  # of the process that it is first used in
        # Reentrant: a dropped executor is closed wherever the garbage collector happens to run.
        self._lock = threading.RLock()
        self._closed = False
        self._failure: SmexecError | None = None
        self._finished: concurrent.futures.Future[None] | None = None
        self._closer: threading.Thread | None = None
        self._aboard: dict[Ticket, Passenger] = {}  # all calls that have not landed
        self._inbox: deque[Callable[[Crew], None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._posted = asyncio.Event()
        self._waking = False  # the loop has been told, and has yet to look into the inbox

    @property
    def run(self) -> Run:
        """Begun when it is first asked for, so that an unused executor may be forked (a server's app)."""
        with self._lock:
            if self._run is None:
                self._run, self._pid = Run(), os.getpid()
            return self._run

    def submit(self, call: Call | Errand, future: concurrent.futures.Future[Any], ticket: Ticket) -> None:
        """Run the call; the future will have its outcome, and the ticket tells where it is.

        :raises RuntimeError: after :meth:`close`, at the interpreter's end, in a forked child
        """
        passenger = self._admit(Passenger(call, future, ticket))
        self._post(lambda crew: crew.take(passenger))

    def submit_later(
        self, prepare: Callable[[], Call | Errand], future: concurrent.futures.Future[Any], ticket: Ticket
    ) -> None:
        """The same for a call that takes long to make: it is made on a thread."""
        passenger = self._admit(Passenger(None, future, ticket))
        self._post(lambda crew: crew.prepare(passenger, prepare))

    def ask(
        self,
        work: Callable[[Client], Awaitable[Any]],
        future: concurrent.futures.Future[Any],
        ticket: Ticket,
    ) -> None:
        """Have something asked of AWS on the loop; the future will have the answer."""
        passenger = self._admit(Passenger(None, future, ticket))
        self._post(lambda crew: crew.ask(passenger, work))

    def _admit(self, passenger: Passenger) -> Passenger:
        self.check_process()
        with self._lock:
            if self._closed:
                after = loop.ending() or (f"a failure: {self._failure}" if self._failure else "shutdown")
                raise RuntimeError(f"cannot schedule new futures after {after}") from self._failure
            if self._finished is None:
                self._start()
            self._aboard[passenger.ticket] = passenger
        return passenger

    def flush(self, kind: Kind) -> None:
        """All calls of this kind have been submitted: they wait for no others."""
        self._post(lambda crew: crew.flush(kind))

    def withdraw(self, ticket: Ticket) -> None:
        """The future of this ticket was cancelled."""
        self._post(lambda crew: crew.withdraw(ticket))

    def stop(self, ticket: Ticket) -> None:
        """End this call, though it runs."""
        self._post(lambda crew: crew.stop(ticket))

    def status(self, ticket: Ticket) -> str:
        """For people: queued, starting, running, stopping, done."""
        passenger = self._aboard.get(ticket)
        return passenger.status if passenger else "done"

    def counts(self) -> dict[str, int]:
        """How many calls are in which status; those whose futures are done are not among them."""
        aboard = list(self._aboard.values())
        return Counter(passenger.status for passenger in aboard if not passenger.future.done())

    def close(self, *, wait: bool, cancel: bool = False) -> None:
        """Take no more calls; end when those that there are have landed.

        :raises RuntimeError: a callback of one of them is to wait for them, itself included
        """
        if self._pid not in (None, os.getpid()):  # a forked child ends: the parent's calls are not its own
            return
        with self._lock:
            self._closed = True
            if self._closer is None:
                return
        if cancel:
            for passenger in list(self._aboard.values()):
                passenger.future.cancel()
        self._post(Crew.finish)
        if wait and landing.is_calling_back(self._aboard):
            raise RuntimeError("a callback cannot wait for its own call to end: use shutdown(wait=False)")
        if wait:
            self._closer.join()

    def log(self, ticket: Ticket, lines: int) -> tuple[str, ...]:
        """The last lines that a call's job wrote, from CloudWatch. Works after :meth:`close` too."""
        self.check_process()
        flight = ticket.flight
        if flight is None:
            return ()

        async def fetch() -> tuple[str, ...]:
            async with ground(self._is_local) as base, Client(self._session, base.endpoint) as aws:
                return await logs.tail(aws, flight.type, flight.name, lines)

        with loop.portals as portal:
            return portal.call(fetch)

    def check_process(self) -> None:
        """:raises RuntimeError: this is a forked child of the process that the engine runs in"""
        if self._pid not in (None, os.getpid()):
            raise RuntimeError(
                "this executor belongs to the parent of this forked process, where its loop thread runs: "
                "create a new SageMakerExecutor here"
            )

    # -- its own thread ----------------------------------------------------------------------------

    def _start(self) -> None:
        assert self.run.id  # the run begins here at the latest, in this process
        loop.at_exit(self, lambda: self.close(wait=True))
        self._finished = loop.portals.__enter__().start_task_soon(self._main)
        # Not in close(): at its end an interpreter may refuse to start a thread.
        self._closer = threading.Thread(target=self._release, name="smexec-closer", daemon=True)
        self._closer.start()

    def _release(self) -> None:
        """Wait for the end, then give the loop thread back, which nothing that runs on it could do."""
        if self._finished:
            concurrent.futures.wait([self._finished])
        loop.portals.__exit__(None, None, None)
        loop.forget(self)

    def _post(self, what: Callable[[Crew], None]) -> None:
        """Have something done on the loop. What is posted before the loop runs is done when it does."""
        self._inbox.append(what)
        if self._loop is not None and not self._waking:
            self._waking = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, and every flight with it
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waking = False  # first: what is posted from here on may come too late for this time
        self._posted.set()

    async def _main(self) -> None:
        self._posted.set()
        self._loop = asyncio.get_running_loop()
        try:
            async with ground(self._is_local) as base, Client(self._session, base.endpoint) as aws:
                crew = Crew(aws, base, self.run, self._max_workers, self._aboard, self._post)
                await crew.work(self._inbox, self._posted)
        except BaseException as error:
            self._give_up(error)
            if not isinstance(error, Exception):
                raise

    def _give_up(self, fault: BaseException) -> None:
        """No future may wait for ever, least of all for a fault of ours; what is missing here is none."""
        reason = known(fault)
        if reason is not fault:
            _log.error("the loop of run %s failed", self.run.id, exc_info=fault)
        with self._lock:
            self._closed, self._failure = True, reason
            aboard = list(self._aboard.values())
        for passenger in aboard:
            failed = reason.copied()
            failed.locate(job_name=passenger.ticket.job_name)
            landing.settle_all([(passenger, Outcome(error=failed))])
        self._aboard.clear()
