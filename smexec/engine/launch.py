"""Launching: have what the job needs uploaded, create it, and wait where the account has no instance free."""

from __future__ import annotations

import logging
import time
from collections import deque

from smexec.aws import jobs
from smexec.aws.border import LimitReached
from smexec.aws.client import Client
from smexec.core.lifecycle import Job
from smexec.core.request import Request
from smexec.core.run import Run
from smexec.engine.flight import Flight
from smexec.engine.gates import Gates
from smexec.engine.loading import Loader
from smexec.engine.place import Surveyor
from smexec.errors import QuotaExceeded, ServiceError

_log = logging.getLogger("smexec")


class Launcher:
    """Takes flights from packed to created.

    :ivar gates: where they wait for an instance
    """

    def __init__(self, aws: Client, run: Run, surveyor: Surveyor) -> None:
        self._aws = aws
        self._run = run
        self._surveyor = surveyor
        self._loader = Loader(aws, run)
        self.gates = Gates()

    async def launch(self, flight: Flight) -> None:
        """Create the flight's job, unless nobody wants it any more before: then ``flight.job`` stays None.

        :raises smexec.errors.SmexecError: it cannot be started
        """
        place = flight.place = await self._surveyor.place(flight.settings, flight.machine.instance_type)
        if flight.cargo is None:
            flight.cargo = await self._loader.load(flight.name, flight.unload(), place)
        requests = deque(flight.cargo.requests(flight.name, self._run, place, flight.passengers))
        await self.gates.enter(
            flight.machine, lambda: flight.is_wanted, lambda: self._create(flight, requests)
        )

    async def clear(self, flight: Flight, *, well: bool) -> None:
        """Delete what was made for the flight's job and that nobody needs any more."""
        for request in flight.cargo.leavings(flight.name, well=well) if flight.cargo else ():
            if _maker(request) not in flight.made:  # somebody else's, of the same name
                continue
            try:
                await self._delete(flight, request)
            except ServiceError as error:
                _log.warning("%s of job %s is left behind: %s", request.operation, flight.name, error)

    async def _delete(self, flight: Flight, request: Request) -> None:
        if request.operation == flight.type.stopping:
            await jobs.stop(self._aws, flight.type, flight.name)
        else:
            await jobs.delete(self._aws, request)

    async def _create(self, flight: Flight, left: deque[Request]) -> bool:
        """Whether there was an instance for it.

        :param left: what has not been asked with success
        """
        try:
            while left:
                await jobs.create(self._aws, left[0], flight.made)
                left.popleft()
        except LimitReached as error:
            if error.hopeless or flight.type.lasts:
                raise _never(error, flight.machine.instance_type) from error
            return False
        flight.job = Job(flight.name, created_at=time.time(), hosts=flight.settings.instance_count)
        return True


def _maker(request: Request) -> str:
    """The operation that makes what this one deletes."""
    return request.operation.replace("Delete", "Create", 1).replace("Deregister", "Register", 1)


def _never(error: LimitReached, instance_type: str) -> QuotaExceeded:
    small = "is too small for even one job, so waiting cannot help"
    taken = "is used up, by what lasts until it is deleted"
    exceeded = QuotaExceeded(
        f"the account's quota for {instance_type} {small if error.hopeless else taken}. Ask for more in "
        f"Service Quotas, or use another instance_type. {error}"
    )
    exceeded.operation, exceeded.code = error.operation, error.code
    return exceeded
