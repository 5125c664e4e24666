"""The crew: everything that an engine does on the loop."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from smexec.aws.client import Client
from smexec.core.errand import Errand
from smexec.core.lifecycle import StopWanted
from smexec.core.market import Market, Trail
from smexec.core.packing import Kind, Packer, share
from smexec.core.run import Run
from smexec.core.work import Call, Outcome
from smexec.engine.connections import DependencyCancelled, Wait, connected
from smexec.engine.flight import Flight, Passenger, Ticket
from smexec.engine.inquest import Inquest
from smexec.engine.landing import cancel, notify_cancelled, settle_all
from smexec.engine.launch import Launcher
from smexec.engine.loop import in_thread
from smexec.engine.place import Ground, Surveyor
from smexec.engine.track import Tracker, same
from smexec.errors import JobStopped, SmexecError, known

_AT_ONCE = 1_000  # things that were posted and are done before others have their turn
_PREPARED_AT_ONCE = 4  # calls; the loop's other threads land some meanwhile


class Crew:
    """Packs what waits into jobs, launches them, watches them, lands their calls.

    :param aboard: all calls that have not landed, by their tickets; the engine adds, the crew removes
    :param post: has the crew do something, from any thread
    """

    def __init__(
        self,
        aws: Client,
        ground: Ground,
        run: Run,
        max_workers: int,
        aboard: dict[Ticket, Passenger],
        post: Callable[[Callable[[Crew], None]], None],
    ) -> None:
        self._aws = aws
        self._run = run
        self._max_workers = max_workers
        self._aboard = aboard
        self._post = post
        self._packer: Packer[Passenger] = Packer()
        self._numbers = itertools.count(1)
        self._preparing = asyncio.Semaphore(_PREPARED_AT_ONCE)
        self._in_flight = 0  # jobs that are being created or watched
        self._closing = False
        self._look = asyncio.Event()
        self._market = Market()
        self._launcher = Launcher(aws, run, Surveyor(aws, ground))
        self._tracker = Tracker(aws, run, Inquest(aws, run), self._land, self._fail)

    async def work(self, inbox: deque[Callable[[Crew], None]], posted: asyncio.Event) -> None:
        """Do what is posted, until :meth:`finish` was and every call has landed."""
        self._look = posted  # a landing is a reason to look around, like a new call
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._tracker.watch, tasks)
            while self._aboard or not self._closing:
                with anyio.move_on_after(self._patience()):
                    await posted.wait()
                posted.clear()
                await self._do(inbox)
                self._launch_what_is_ready()
            tasks.cancel_scope.cancel()

    async def _do(self, inbox: deque[Callable[[Crew], None]]) -> None:
        """All that was posted, but not all at once: others run on this loop too."""
        while inbox:
            for _ in range(min(len(inbox), _AT_ONCE)):
                inbox.popleft()(self)
            await anyio.lowlevel.checkpoint()

    # -- what can be posted ----------------------------------------------------------------------------

    def take(self, passenger: Passenger) -> None:
        """A new call."""
        call, ticket = passenger.call, passenger.ticket
        assert call is not None
        if call.dependencies:
            Wait(call.dependencies, lambda: self._post(lambda crew: crew.connect(ticket)))
        else:
            self._packer.add(passenger, call.kind, call.size, anyio.current_time())

    def prepare(self, passenger: Passenger, make: Callable[[], Call | Errand]) -> None:
        """A new call that takes long to make."""
        self._tasks.start_soon(self._prepare, passenger, make)

    def ask(self, passenger: Passenger, work: Callable[[Client], Awaitable[Any]]) -> None:
        """A call that is no job's: something is asked of AWS."""
        self._tasks.start_soon(self._ask, passenger, work)

    def connect(self, ticket: Ticket) -> None:
        """What this call waited for has landed."""
        passenger = self._aboard.get(ticket)
        if passenger is not None and isinstance(passenger.call, Call):
            self.prepare(passenger, partial(connected, passenger.call))

    def flush(self, kind: Kind) -> None:
        """All calls of this kind have been taken."""
        self._packer.flush(kind)

    def withdraw(self, ticket: Ticket) -> None:
        """This call is not wanted any more; if no other of its job is, neither is the job."""
        passenger = self._aboard.get(ticket)
        if passenger is None:
            return
        notify_cancelled(passenger.future)
        flight = ticket.flight
        if flight is None:
            del self._aboard[ticket]
        elif passenger.number in flight.passengers:  # else it is landing
            flight.unwanted.add(passenger.number)
            if not flight.is_wanted:
                self._stop(flight)

    def stop(self, ticket: Ticket) -> None:
        """End this call: with its job, unless others in it are wanted. Then nobody waits for it any more."""
        flight, passenger = ticket.flight, self._aboard.get(ticket)
        if flight is None or passenger is None or passenger.number not in flight.passengers:  # it is landing
            return
        flight.unwanted.add(passenger.number)
        if flight.is_wanted:
            stopped = JobStopped("the call was stopped; its process goes on while other calls run in its job")
            stopped.locate(job_name=flight.name)
            self._tasks.start_soon(self._land, flight, [(passenger.number, Outcome(error=stopped))])
        else:
            self._stop(flight)

    def finish(self) -> None:
        """There will be no more calls."""
        self._closing = True

    # -- from queue to landing -------------------------------------------------------------------------

    async def _prepare(self, passenger: Passenger, make: Callable[[], Call | Errand]) -> None:
        async with self._preparing:
            made = await in_thread(lambda: _made(make))
        if isinstance(made, DependencyCancelled):
            await in_thread(lambda: cancel(passenger))
            self.withdraw(passenger.ticket)
        elif isinstance(made, BaseException):
            failed = Outcome(error=made)
            await in_thread(lambda: settle_all([(passenger, failed)]))
            self._aboard.pop(passenger.ticket, None)
        else:
            passenger.call = made
            self.take(passenger)
        self._look.set()

    async def _ask(self, passenger: Passenger, work: Callable[[Client], Awaitable[Any]]) -> None:
        try:
            outcome = Outcome(value=await work(self._aws))
        except Exception as error:
            outcome = Outcome(error=error)
        await in_thread(lambda: settle_all([(passenger, outcome)]))
        self._aboard.pop(passenger.ticket, None)
        self._look.set()

    def _patience(self) -> float:
        due = self._packer.next_due() if self._in_flight < self._max_workers else None
        return float("inf") if due is None else max(0.0, due - anyio.current_time())

    def _launch_what_is_ready(self) -> None:
        while self._in_flight < self._max_workers:
            batch = self._packer.take(
                anyio.current_time(),
                part=share(len(self._aboard), self._max_workers),
                flush=self._closing,
                wanted=lambda one: one.ticket in self._aboard,
            )
            if not batch:
                return
            call = batch[0].call
            assert call is not None
            trail = Trail.begin(call.settings, call.type)
            machine = self._market.best(trail.left, anyio.current_time())
            self._in_flight += 1
            flight = Flight.board(call.name or self._name(call.prefix), call, batch, trail, machine)
            self._tasks.start_soon(self._launch, flight)

    def _name(self, prefix: str) -> str:
        return self._run.job_name(prefix, next(self._numbers))

    async def _launch(self, flight: Flight) -> None:
        try:
            await self._launcher.launch(flight)
        except Exception as error:
            reason = known(error)
            reason.locate(job_name=flight.name)
            await self._fail(flight, reason)
            return
        if flight.job is None:  # nobody wanted it any more before there was a job
            await self._land(flight, same(JobStopped("the call was stopped"), flight.passengers))
            return
        self._tracker.follow(flight)
        if flight.stop_wanted:
            self._tracker.observe(flight, StopWanted())

    async def _fail(self, flight: Flight, error: SmexecError) -> None:
        """The flight is over, and these calls have no outcome: another takes them, or it is this error."""
        now = anyio.current_time()
        self._market.refused(flight.machine, error, now)
        trail = None if flight.stop_wanted else flight.trail.after(flight.machine, error)
        if trail is None:
            verdict = flight.trail.verdict(flight.machine, error)
            await self._land(flight, same(verdict, flight.passengers))
            return
        await self._land(flight, same(JobStopped("the call was stopped"), flight.unwanted))
        if flight.passengers:
            await self._launcher.clear(flight, well=False)
            self._tracker.leave(flight)
            self._release(flight)
            name = self._name(flight.prefix) if self._run.id in flight.name else flight.name
            again = flight.again(name, trail, self._market.best(trail.left, now))
            self._tasks.start_soon(self._launch, again)

    def _release(self, flight: Flight) -> None:
        """Its instance is free for another, or will be soon."""
        if flight.job is not None:
            self._launcher.gates.landed()

    def _stop(self, flight: Flight) -> None:
        flight.stop_wanted = True
        self._tracker.observe(flight, StopWanted())
        self._launcher.gates.wake()

    async def _land(self, flight: Flight, ended: Sequence[tuple[int, Outcome]]) -> None:
        """Resolve the futures of these calls; those that have landed before are left alone."""
        landing = [(flight.leave(call), outcome) for call, outcome in ended if call in flight.passengers]
        if not flight.passengers:
            self._tracker.leave(flight)
        if landing and not flight.passengers:
            is_well = not flight.is_being_stopped and all(outcome.error is None for _, outcome in landing)
            await self._launcher.clear(flight, well=is_well)
        await in_thread(lambda: settle_all(landing))
        for passenger, _ in landing:
            self._aboard.pop(passenger.ticket, None)
        if not flight.passengers and not flight.landed:
            flight.landed = True
            self._in_flight -= 1
            self._release(flight)
        self._look.set()


def _made(make: Callable[[], Call | Errand]) -> Call | Errand | BaseException:
    """The call, or what was raised: pickling runs the user's code, which must not end the loop."""
    try:
        return make()
    except BaseException as error:
        return error
