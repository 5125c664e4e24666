"""Tracking: one loop that watches all jobs of a run, whatever their number, and lands what has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import anyio
from anyio.abc import TaskGroup

from smexec.aws import jobs, s3
from smexec.aws.client import PATIENCE, Client
from smexec.core import cadence
from smexec.core.lifecycle import (
    Action,
    CallStarted,
    Do,
    NewsWritten,
    Observation,
    ReadNews,
    StatusSeen,
    StopReported,
    StopWanted,
    advance,
)
from smexec.core.run import Keys, Run
from smexec.core.work import Outcome
from smexec.engine.flight import Flight
from smexec.engine.inquest import Inquest
from smexec.engine.landing import announce
from smexec.engine.outcome import News
from smexec.engine.statuses import Statuses
from smexec.errors import ServiceError, SmexecError, known
from smexec.worker import protocol

# Seconds for which AWS may refuse to tell us of our jobs before their futures fail with that.
TOLERANCE = 60.0
RETRY = 2.0  # seconds between two tries while it does
LAST_WORD = 10.0  # seconds that a job is told to stop for, whose calls end without it

_log = logging.getLogger("smexec")

Land = Callable[[Flight, Sequence[tuple[int, Outcome]]], Awaitable[None]]
Fail = Callable[[Flight, SmexecError], Awaitable[None]]


class Tracker:
    """Watches the flights that have a job.

    :param land: called with calls that have ended, by number, and their outcomes
    :param fail: called when a job has ended and some of its calls have no outcome, with the reason
    """

    def __init__(self, aws: Client, run: Run, inquest: Inquest, land: Land, fail: Fail) -> None:
        self._aws = aws
        self._run = run
        self._inquest = inquest
        self._statuses = Statuses(aws, run)
        self._tasks: TaskGroup | None = None
        self._land = land
        self._fail = fail
        self._followed: dict[str, Flight] = {}
        self._tails: dict[str, cadence.Tail] = {}  # by root
        self._news = anyio.Event()
        self._quiet_since = 0.0
        self._refused_since: float | None = None

    def follow(self, flight: Flight) -> None:
        """From now on this flight's job is watched."""
        self._followed[flight.name] = flight
        self._hurry()

    def leave(self, flight: Flight) -> None:
        """All its calls have landed: nothing more is asked about it."""
        self._followed.pop(flight.name, None)

    def observe(self, flight: Flight, seen: Observation) -> None:
        """Take note of something and begin what follows from it."""
        if flight.job is None or self._tasks is None or self._followed.get(flight.name) is not flight:
            return
        flight.job, actions = advance(flight.job, seen)
        for action in actions:
            if not flight.does(action):
                flight.doing.add(action)
                self._tasks.start_soon(self._perform, flight, action)

    async def watch(self, tasks: TaskGroup) -> None:
        """For ever: look, wait a little, look again. With nothing in flight it only waits.

        :param tasks: where what follows from a look is done
        """
        self._tasks = tasks
        while True:
            self._news = anyio.Event()
            if not self._followed:
                self._refused_since = None
                await self._news.wait()
                continue
            try:
                await self._look(tasks)
                self._refused_since = None
            except ServiceError as error:
                await self._refused(error)
            calls = sum(len(flight.passengers) for flight in self._followed.values())
            await anyio.sleep(cadence.events_delay(self._quiet, calls))

    # -- looking ---------------------------------------------------------------------------------------

    async def _look(self, tasks: TaskGroup) -> None:
        # Statuses first: of a job that has ended all news are listed after that, and an inquest, which lists
        # once more, is held only into those that have left calls without a word.
        await self._statuses.ask(tasks, self._followed.values(), self._quiet)
        phases = self._statuses.take()
        await self._look_at_events()
        for flight, phase in phases.items():
            self.observe(flight, StatusSeen(phase))
        if self._statuses.refusal is not None:
            raise self._statuses.refusal

    async def _look_at_events(self) -> None:
        reporting = [flight for flight in self._followed.values() if flight.reports]
        for root in {flight.place.root for flight in reporting if flight.place}:
            tail = self._tails.setdefault(root, cadence.Tail())
            folder = Keys(root, self._run.id).events
            async for names in s3.names(self._aws, folder, tail.start_after):
                for event in tail.take(names, self._followed, time.time()):
                    self._hurry()
                    self.observe(self._followed[event.job], NewsWritten(folder + event.name))

    @property
    def _quiet(self) -> float:
        return anyio.current_time() - self._quiet_since

    def _hurry(self) -> None:
        self._quiet_since = anyio.current_time()
        self._news.set()

    async def _refused(self, error: ServiceError) -> None:
        """AWS will not tell. That may pass (a new log-in); after a while the futures say so."""
        now = anyio.current_time()
        self._refused_since = self._refused_since or now
        _log.warning("cannot see the jobs of run %s: %s", self._run.id, error)
        if now - self._refused_since >= TOLERANCE:
            async with anyio.create_task_group() as tasks:
                for flight in list(self._followed.values()):
                    tasks.start_soon(self._abandon, flight, error)
        await anyio.sleep(RETRY)

    # -- doing -----------------------------------------------------------------------------------------

    async def _perform(self, flight: Flight, action: Action) -> None:
        try:
            await self._insist(flight, action)
        except Exception as error:
            reason = known(error)
            reason.locate(job_name=flight.name)
            await self._abandon(flight, reason)
        finally:
            flight.doing.discard(action)

    async def _insist(self, flight: Flight, action: Action) -> None:
        """What AWS refuses is tried again for a while, as looking is."""
        refused_since: float | None = None
        while True:
            try:
                return await self._carry_out(flight, action)
            except ServiceError as error:
                now = anyio.current_time()
                refused_since = refused_since or now
                if now - refused_since >= TOLERANCE:
                    raise
                _log.warning("cannot see how job %s is doing: %s", flight.name, error)
            await anyio.sleep(RETRY)
            if self._followed.get(flight.name) is not flight:
                return None

    async def _carry_out(self, flight: Flight, action: Action) -> None:
        match action:
            case Do.MARK_RUNNING:
                for passenger in flight.passengers.values():
                    announce(passenger.future)
            case Do.STOP:
                await self._stop(flight)
            case ReadNews(uri):
                await self._hear(flight, await self._inquest.read(flight, uri))
                flight.heard.add(uri.rpartition("/")[2])
            case Do.INVESTIGATE:
                await self._investigate(flight)
            case Do.CONCLUDE_STOPPED:
                await self._land_all(flight, await self._inquest.stopped(flight))

    async def _hear(self, flight: Flight, news: Iterable[News]) -> None:
        ended: list[News] = []
        for piece in news:
            if piece.call == protocol.LATE and piece.header and flight.place:
                folder = Keys(flight.place.root, self._run.id).events
                self.observe(flight, NewsWritten(folder + piece.header["name"]))
            elif piece.header is None:
                self._hear_start(flight, piece.call)
            elif piece.header["outcome"] == protocol.STOPPED:
                self.observe(flight, StopReported(piece.header["host"]))
            elif piece.call == protocol.ALL_CALLS:
                ended += [piece._replace(call=call) for call in flight.passengers]
            elif piece.call in flight.passengers:
                ended.append(piece)
        if ended:
            async for outcomes in self._inquest.outcomes(flight, ended):
                await self._land(flight, outcomes)

    def _hear_start(self, flight: Flight, call: int) -> None:
        self.observe(flight, CallStarted())
        passenger = flight.passengers.get(call)
        if passenger is not None:
            announce(passenger.future)

    async def _investigate(self, flight: Flight) -> None:
        async for news in self._inquest.last_words(flight):
            await self._hear(flight, news)
        ended = await self._inquest.end(flight) if flight.passengers else None
        if ended is None:
            return
        if isinstance(ended.error, SmexecError):
            await self._fail(flight, ended.error)
        else:
            await self._land(flight, [(call, ended) for call in flight.passengers])

    async def _stop(self, flight: Flight) -> None:
        if flight.type.stopping is None:
            return
        await self._tell_to_stop(flight, PATIENCE)
        for call, passenger in list(flight.passengers.items()):
            if passenger.future.cancelled():  # nobody waits for how it ends
                await self._land(flight, [(call, Outcome())])

    async def _tell_to_stop(self, flight: Flight, patience: float) -> bool:
        try:
            await jobs.stop(self._aws, flight.type, flight.name, patience)
        except ServiceError as error:
            _log.warning("job %s could not be stopped and may still run: %s", flight.name, error)
            return False
        return True

    async def _abandon(self, flight: Flight, error: SmexecError) -> None:
        """Its calls end with this, and so shall the job: nobody would hear of what it goes on to do."""
        fate = await self._see_off(flight)
        if isinstance(error, ServiceError):
            error = _blind(error, flight, fate)
        await self._land_all(flight, error)

    async def _see_off(self, flight: Flight) -> str:
        """Have it stopped, unless it has ended; what lasts is deleted as it lands.

        :returns: what is known of it then, for people
        """
        if Do.INVESTIGATE in flight.doing:
            return "it has ended"
        if flight.job is None or flight.type.lasts or flight.type.stopping is None:
            return "it may still run"
        flight.job, actions = advance(flight.job, StopWanted())
        if Do.STOP in actions and not await self._tell_to_stop(flight, LAST_WORD):
            return "it may still run"
        return "it was told to stop"

    async def _land_all(self, flight: Flight, error: SmexecError) -> None:
        await self._land(flight, same(error, flight.passengers))


def same(error: SmexecError, calls: Iterable[int]) -> list[tuple[int, Outcome]]:
    """One error as the outcome of several calls."""
    return [(call, Outcome(error=error.copied())) for call in calls]


def _blind(error: ServiceError, flight: Flight, fate: str) -> ServiceError:
    blind = type(error)(f"AWS does not tell how the job is doing; {fate}. {error}")
    blind.operation, blind.code = error.operation, error.code
    blind.locate(job_name=flight.name)
    blind.__cause__ = error
    return blind
