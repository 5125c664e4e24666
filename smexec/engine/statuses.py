"""Statuses: how the jobs that are watched are doing, as the service tells it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection

import anyio
from anyio.abc import TaskGroup

from smexec.aws import jobs
from smexec.aws.border import NotFound, Throttled, Unreachable
from smexec.aws.client import Client
from smexec.core import cadence
from smexec.core.lifecycle import Job, Phase
from smexec.core.run import Run
from smexec.engine.flight import Flight
from smexec.errors import ServiceError

UNLISTED = 60.0  # seconds after its creation that a list may leave a job out
MOMENT = 0.5  # seconds that an answer is waited for


class Statuses:
    """Asked for by a task of their own: an account's rate for them is small, and no outcome waits for them.

    :ivar refusal: what the last answer was, if the service will not tell
    """

    def __init__(self, aws: Client, run: Run) -> None:
        self._aws = aws
        self._run = run
        self._asked_at = 0.0
        self._answered: anyio.Event | None = None  # while they are being asked for
        self._said: dict[Flight, Phase] = {}
        self.refusal: ServiceError | None = None

    async def ask(self, tasks: TaskGroup, followed: Collection[Flight], quiet: float) -> None:
        """If it is time, have them asked for, and wait a moment for the answer."""
        dying = any(flight.job.is_dying for flight in followed if flight.job)
        is_due = anyio.current_time() - self._asked_at >= cadence.status_delay(quiet, dying)
        if self._answered is not None or not is_due:
            return
        answered = self._answered = anyio.Event()
        tasks.start_soon(self._ask, list(followed))
        with anyio.move_on_after(MOMENT):
            await answered.wait()

    def take(self) -> dict[Flight, Phase]:
        """What has been said since this was last called."""
        said, self._said = self._said, {}
        return said

    async def _ask(self, followed: Collection[Flight]) -> None:
        try:
            async for flight, phase in self._look(followed):
                self._said[flight] = phase
            self.refusal = None
        except (Throttled, Unreachable):  # which says nothing; it is asked again in its turn
            self.refusal = None
        except ServiceError as error:
            self.refusal = error
        self._asked_at = anyio.current_time()
        if self._answered is not None:
            self._answered.set()
            self._answered = None

    async def _look(self, followed: Collection[Flight]) -> AsyncIterator[tuple[Flight, Phase]]:
        for job_type in {flight.type for flight in followed}:
            flights = {flight.name: flight for flight in followed if flight.type is job_type}
            since = min(flight.job.created_at for flight in flights.values() if flight.job)
            phases = await jobs.phases(self._aws, job_type, self._run.id, flights, since)
            for name, phase in phases.items():
                yield flights[name], phase
            for name in flights.keys() - phases.keys():
                phase_of_one = await self._unlisted(flights[name])
                if phase_of_one is not None:
                    yield flights[name], phase_of_one

    async def _unlisted(self, flight: Flight) -> Phase | None:
        """The list is late now and then. A job that it leaves out for long is asked for by name."""
        if flight.job is None or not self._is_asked_for(flight, flight.job):
            return None
        try:
            description = await jobs.describe(self._aws, flight.type, flight.name, patience=0)
        except NotFound:  # deleted: whether it had an outcome, S3 still tells
            return Phase.ENDED
        return flight.type.phase(description)

    def _is_asked_for(self, flight: Flight, job: Job) -> bool:
        """By its name. A list leaves out for good what has a name of the user's, and what was deleted."""
        is_old = time.time() - job.created_at >= UNLISTED
        return is_old or job.stop_asked or self._run.id not in flight.name
