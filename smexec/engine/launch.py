"""Launching: have what the job needs uploaded, create it, and wait where the account has no instance free."""

from __future__ import annotations

import logging
import time
from collections import deque

from smexec.aws import jobs
from smexec.aws.border import LimitReached, NotFound
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
            try:
                await self._aws.call("sagemaker", request.operation, **request.members)
            except NotFound:
                pass
            except ServiceError as error:
                _log.warning("%s of job %s is left behind: %s", request.operation, flight.name, error)

    async def _create(self, flight: Flight, requests: deque[Request]) -> bool:
        """Whether there was an instance for it.

        :param requests: what is left to be sent: what comes before the job itself stays when there was none
        """
        try:
            while requests:
                await jobs.create(self._aws, requests[0])
                requests.popleft()
        except LimitReached as error:
            if error.hopeless:
                raise _never(error, flight.machine.instance_type) from error
            return False
        flight.job = Job(flight.name, created_at=time.time(), hosts=flight.settings.instance_count)
        return True


def _never(error: LimitReached, instance_type: str) -> QuotaExceeded:
    exceeded = QuotaExceeded(
        f"the account's quota for {instance_type} is too small for even one job, so waiting "
        f"cannot help. Ask for more in Service Quotas, or use another instance_type. {error}"
    )
    exceeded.operation, exceeded.code = error.operation, error.code
    return exceeded
