"""Finding out how a call ended: from its outcome if there is one, else from what the service says."""

from __future__ import annotations

import anyio

from smexec.aws import s3, training
from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.core import cadence
from smexec.core.lifecycle import ENDED_STATUSES
from smexec.core.postmortem import why
from smexec.core.run import Keys, Run
from smexec.core.work import Outcome
from smexec.engine import outcome as outcomes
from smexec.engine.flight import Flight
from smexec.engine.landing import Landing
from smexec.errors import CallEnded, JobError, JobStopped, SmexecError
from smexec.worker import protocol
from smexec.worker.protocol import Buffer, Event

LOG_LINES = 10
_LOG_TRIES, _LOG_PAUSE = 3, 0.5  # CloudWatch shows a line a moment after it was written


class Inquest:
    """Reads outcomes and explains deaths."""

    def __init__(self, aws: Client, run: Run, landing: Landing) -> None:
        self._aws = aws
        self._run = run
        self._landing = landing

    async def read(self, flight: Flight, uri: str) -> Outcome | None:
        """The outcome at this URI; None if all it says is that the job was told to stop."""
        envelope = await s3.get(self._aws, uri)
        return None if envelope is None else await self._open(flight, envelope)

    async def hold(self, flight: Flight) -> Outcome | None:
        """The outcome of a job that the service says has ended; None if it turns out that it has not.

        A job's last words may be younger than our last look, or have left with its output.
        """
        outcome = await self._in_events(flight) or await self._in_output(flight)
        if outcome:
            return outcome
        try:
            description = await training.describe(self._aws, flight.name)
        except NotFound:
            gone = JobError("the job was deleted before its call had an outcome")
            gone.locate(job_name=flight.name)
            return Outcome(error=gone)
        if description["TrainingJobStatus"] not in ENDED_STATUSES:
            return None
        return Outcome(error=await self._with_log(why(description), flight))

    async def stopped(self, flight: Flight) -> Outcome:
        """What the future of a job that we stopped ends with."""
        error = JobStopped("the job was stopped")
        error.locate(job_name=flight.name)
        return Outcome(error=await self._with_log(error, flight))

    async def _in_events(self, flight: Flight) -> Outcome | None:
        if flight.place is None or flight.job is None:
            return None
        folder = Keys(flight.place.root, self._run.id).events
        earliest = flight.job.created_at - cadence.SKEW  # in the containers' time
        start = cadence.Tail(newest=int(earliest * 1000)).start_after
        async for names in s3.names(self._aws, folder, start):
            for event in filter(None, map(Event.parse, names)):
                if (event.job, event.kind) == (flight.name, protocol.OUTCOME_EVENT):
                    outcome = await self.read(flight, folder + event.name)
                    if outcome:
                        return outcome
        return None

    async def _in_output(self, flight: Flight) -> Outcome | None:
        if flight.place is None:
            return None
        keys = Keys(flight.place.root, self._run.id)
        if flight.uncompressed:
            name = f"{protocol.OUTPUT_FOLDER}/{protocol.OUTCOME_EVENT}"
            envelope: Buffer | None = await s3.get(self._aws, keys.output_file(flight.name, name))
        else:
            archive = await s3.get(self._aws, keys.output_archive(flight.name))
            if archive is None:
                return None
            envelope = await self._landing.in_thread(lambda: outcomes.from_archive(archive))
        return None if envelope is None else await self._open(flight, envelope)

    async def _open(self, flight: Flight, envelope: Buffer) -> Outcome | None:
        header, outcome = await self._landing.in_thread(
            lambda: outcomes.read(self._run.key, flight.name, envelope)
        )
        if header["outcome"] == protocol.STOPPED:
            return None
        if isinstance(outcome.error, CallEnded):
            await self._with_log(outcome.error, flight)
        return outcome  # type: ignore[no-any-return]

    async def _with_log(self, error: SmexecError, flight: Flight) -> SmexecError:
        for attempt in range(_LOG_TRIES):
            await anyio.sleep(_LOG_PAUSE if attempt else 0)
            lines = await training.log_tail(self._aws, flight.name, LOG_LINES)
            if lines:
                error.locate(log_tail=lines)
                break
        return error
