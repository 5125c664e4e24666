"""Finding out how calls ended: from what their job wrote if it did, else from what the service says."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from smexec.aws import jobs, logs, s3
from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.core import cadence
from smexec.core.cargo import Cargo
from smexec.core.lifecycle import Phase
from smexec.core.run import Keys, Run
from smexec.core.work import Outcome
from smexec.engine import outcome as outcomes
from smexec.engine.flight import Flight
from smexec.engine.loop import in_thread
from smexec.engine.outcome import News
from smexec.errors import CallEnded, JobError, JobStopped, ServiceError, SmexecError
from smexec.worker import protocol
from smexec.worker.protocol import Buffer, Event

LOG_LINES = 10


class Inquest:
    """Reads news and explains deaths."""

    def __init__(self, aws: Client, run: Run) -> None:
        self._aws = aws
        self._run = run

    async def read(self, flight: Flight, uri: str) -> list[News]:
        """What the job wrote to this URI.

        :raises smexec.errors.SignatureError: it was not this job
        """
        event = Event.parse(uri.rpartition("/")[2])
        if event is None:
            return []
        opening = outcomes.opening(self._run.key, flight.name, event.number)
        envelope = await s3.get(self._aws, uri, follow=opening.follow)
        if envelope is None:
            return []
        return await in_thread(lambda: outcomes.read(opening, flight.name, envelope, event.name))

    async def last_words(self, flight: Flight) -> AsyncIterator[list[News]]:
        """What a job wrote that has ended and was not heard: too late to be listed, or into its output."""
        if flight.place is None or flight.job is None or not flight.reports:
            return
        keys = Keys(flight.place.root, self._run.id)
        async for names in s3.names(self._aws, keys.events, cadence.late_after(flight.job.created_at)):
            for event in map(Event.parse, names):
                if event is not None and event.job == flight.name and event.name not in flight.heard:
                    yield await self.read(flight, keys.events + event.name)
        async for number, envelope in self._in_output(flight, keys):
            opening = outcomes.opening(self._run.key, flight.name, number)
            yield await in_thread(partial(outcomes.read, opening, flight.name, envelope))

    async def end(self, flight: Flight) -> Outcome | None:
        """What calls end with whose job has ended without a word; None if it turns out that it has not."""
        assert flight.cargo is not None
        try:
            description = await jobs.describe(self._aws, flight.type, flight.name)
        except NotFound:
            if flight.job is not None and flight.job.stop_asked:
                return Outcome(error=await self.stopped(flight))
            gone = JobError("the job was deleted before its call had an outcome")
            gone.locate(job_name=flight.name)
            return Outcome(error=gone)
        if flight.type.phase(description) is not Phase.ENDED or self._is_being_deleted(flight):
            return None
        ended = await self._ended(flight, flight.cargo, description)
        if ended is not None and isinstance(ended.error, SmexecError):
            await self.with_log(ended.error, flight)
        return ended

    async def _ended(self, flight: Flight, cargo: Cargo, description: Mapping[str, Any]) -> Outcome | None:
        found = [uri for uri in cargo.artifacts(description) if await s3.is_there(self._aws, uri)]
        ended = await in_thread(lambda: cargo.ended(description, found))
        if ended is None or ended.error is not None:
            return ended
        try:
            for request in cargo.finishing(flight.name):
                flight.made.add(request.operation)  # also if there will be no answer
                await jobs.create(self._aws, request)
        except ServiceError as error:
            error.locate(job_name=flight.name)
            return Outcome(error=error)
        return ended

    def _is_being_deleted(self, flight: Flight) -> bool:
        """What lasts is in service, and stays so until it is gone."""
        job = flight.job
        return flight.type.lasts and flight.type.stopping is not None and job is not None and job.stop_asked

    async def stopped(self, flight: Flight) -> SmexecError:
        """What the futures of a job that we stopped end with."""
        error = JobStopped("the job was stopped")
        error.locate(job_name=flight.name)
        return await self.with_log(error, flight)

    async def outcomes(
        self, flight: Flight, news: Sequence[News]
    ) -> AsyncIterator[list[tuple[int, Outcome]]]:
        """What calls ended with; where one ended without a word of its own, the last lines of the log.

        Those that need no log come first, since it may take a while.
        """
        ended = await in_thread(
            lambda: [(piece.call, outcomes.outcome_of(piece, flight.name)) for piece in news]
        )
        yield [one for one in ended if not isinstance(one[1].error, CallEnded)]
        wordless = [(call, outcome.error) for call, outcome in ended if isinstance(outcome.error, CallEnded)]
        lines = await self._log(flight) if wordless else ()
        for _, error in wordless:
            error.locate(log_tail=lines)
        yield [(call, Outcome(error=error)) for call, error in wordless]

    async def with_log(self, error: SmexecError, flight: Flight) -> SmexecError:
        """The error, with the last lines that the job wrote."""
        error.locate(log_tail=await self._log(flight))
        return error

    async def _log(self, flight: Flight) -> tuple[str, ...]:
        ask = partial(logs.tail_or_why, self._aws, flight.type, flight.name, LOG_LINES)
        return await flight.log.tail(ask)

    async def _in_output(self, flight: Flight, keys: Keys) -> AsyncIterator[tuple[int, Buffer]]:
        if not flight.settings.disable_output_compression:
            found = await self._in_archive(flight, keys.output_archive(flight.name))
            for number in sorted(found):
                yield number, found[number]
            return
        folder = keys.output_file(flight.name, protocol.OUTPUT_FOLDER + "/")
        async for names in s3.names(self._aws, folder, ""):
            for name in filter(str.isdecimal, names):
                envelope = await s3.get(self._aws, folder + name)
                if envelope is not None:
                    yield int(name), envelope

    async def _in_archive(self, flight: Flight, uri: str) -> Mapping[int, Buffer]:
        with tempfile.TemporaryFile() as archive:  # the user's code may have left there what no memory holds
            if not await s3.save(self._aws, uri, archive):
                return {}
            archive.seek(0)
            return await in_thread(lambda: outcomes.from_archive(archive, flight.name))
