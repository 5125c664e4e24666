"""The crew: everything that an engine does on the loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from smexec.aws.client import Client
from smexec.core.lifecycle import StopWanted
from smexec.core.run import Run
from smexec.core.work import Outcome
from smexec.engine.flight import Flight
from smexec.engine.inquest import Inquest
from smexec.engine.landing import Landing, notify_cancelled
from smexec.engine.launch import Launcher
from smexec.engine.place import Ground, Surveyor
from smexec.engine.track import Tracker
from smexec.errors import SmexecError


class Crew:
    """Launches the flights of one run in turn, watches them, lands them.

    :param flights: all that have not landed, by name; the engine adds, the crew removes
    """

    def __init__(
        self, aws: Client, ground: Ground, run: Run, max_workers: int, flights: dict[str, Flight]
    ) -> None:
        self._max_workers = max_workers
        self._flights = flights
        self._queue: deque[Flight] = deque()
        self._in_flight = 0  # those that have left the queue and not landed
        self._closing = False
        self._landed = asyncio.Event()
        self._landing = Landing()
        self._launcher = Launcher(aws, run, Surveyor(aws, ground), self._landing)
        self._tracker = Tracker(aws, run, Inquest(aws, run, self._landing), self._land)

    async def work(self, inbox: deque[Callable[[Crew], None]], posted: asyncio.Event) -> None:
        """Do what is posted, until :meth:`finish` was and every flight has landed."""
        self._landed = posted  # a landing is a reason to look around, like a new flight
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tracker.watch, tasks)
            while self._flights or not self._closing:
                await posted.wait()
                posted.clear()
                while inbox:
                    inbox.popleft()(self)
                self._launch_next(tasks)
            tasks.cancel_scope.cancel()

    # -- what can be posted ------------------------------------------------------------------------

    def take(self, flight: Flight) -> None:
        """A new flight."""
        self._queue.append(flight)

    def withdraw(self, name: str) -> None:
        """The flight of this name is not wanted any more."""
        flight = self._flights.get(name)
        if flight is None:
            return
        flight.stop_wanted = True
        notify_cancelled(flight.future)
        self._tracker.observe(flight, StopWanted())

    def finish(self) -> None:
        """There will be no more flights."""
        self._closing = True

    # -- from queue to landing ---------------------------------------------------------------------

    def _launch_next(self, tasks: TaskGroup) -> None:
        withdrawn = [flight for flight in self._queue if flight.future.cancelled()]
        if withdrawn:
            self._queue = deque(flight for flight in self._queue if not flight.future.cancelled())
        for flight in withdrawn:
            del self._flights[flight.name]
            notify_cancelled(flight.future)
        while self._queue and self._in_flight < self._max_workers:
            self._in_flight += 1
            tasks.start_soon(self._launch, self._queue.popleft())

    async def _launch(self, flight: Flight) -> None:
        try:
            await self._launcher.launch(flight)
        except SmexecError as error:
            error.locate(job_name=flight.name)
            await self._land(flight, Outcome(error=error))
            return
        if flight.job is None:
            await self._land(flight, Outcome())  # cancelled before there was a job
            return
        self._tracker.follow(flight)
        if flight.stop_wanted:
            self._tracker.observe(flight, StopWanted())

    async def _land(self, flight: Flight, outcome: Outcome) -> None:
        if flight.landed:
            return
        flight.landed = True
        self._tracker.leave(flight)
        await self._landing.resolve(flight, outcome)
        self._in_flight -= 1
        del self._flights[flight.name]
        self._landed.set()
