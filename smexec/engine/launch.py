"""Launching: upload what the job needs, create it, and wait where the account has no instance free."""

from __future__ import annotations

import sys
import time

import anyio

from smexec.aws import s3, training
from smexec.aws.border import LimitReached
from smexec.aws.client import Client
from smexec.capture.layers import worker_layer
from smexec.core.lifecycle import Job
from smexec.core.request import create_training_job
from smexec.core.run import Keys, Run
from smexec.core.work import Call, Place
from smexec.engine.flight import Flight
from smexec.engine.landing import Landing
from smexec.engine.place import Surveyor
from smexec.errors import QuotaExceeded
from smexec.worker import protocol
from smexec.worker.protocol import Buffer

_QUOTA_SOONEST, _QUOTA_LATEST = 1.0, 30.0  # seconds between two tries while no instance is free


class Launcher:
    """Takes flights from queued to created."""

    def __init__(self, aws: Client, run: Run, surveyor: Surveyor, landing: Landing) -> None:
        self._aws = aws
        self._run = run
        self._surveyor = surveyor
        self._landing = landing
        self._shared: set[str] = set()  # URIs of what all jobs share and is there already
        self._sharing = anyio.Lock()

    async def launch(self, flight: Flight) -> None:
        """Create the flight's job, unless its future is cancelled before: then ``flight.job`` stays None.

        :raises smexec.errors.SmexecError: it cannot be started
        """
        call, flight.call = flight.call, None
        if call is None:
            return
        flight.uncompressed = call.settings.disable_output_compression
        place = flight.place = await self._surveyor.place(call.settings)
        layer = await self._landing.in_thread(lambda: worker_layer(protocol.WORKER_FILE))
        keys = Keys(place.root, self._run.id)
        await self._share(keys.worker_file(layer.sha256), [layer.content], call, new=True)
        if call.settings.s3_kms_key:
            await self._share(keys.run_key, [self._run.key.hex().encode()], call, new=False)
        envelope = await self._landing.in_thread(lambda: self._seal(flight.name, call))
        await s3.put(self._aws, keys.call(flight.name), envelope, call.settings.s3_kms_key)
        await self._create(flight, call, place, layer.sha256)

    async def _share(self, uri: str, parts: list[Buffer], call: Call, *, new: bool) -> None:
        async with self._sharing:
            if uri not in self._shared:
                await s3.put(self._aws, uri, parts, call.settings.s3_kms_key, new=new)
                self._shared.add(uri)

    def _seal(self, job: str, call: Call) -> list[Buffer]:
        header = {
            "python": protocol.python_version(sys.version_info),
            "function": call.function,
            "sources": dict(call.sources),
        }
        body = protocol.encode_body(header, call.sections)
        return protocol.seal(self._run.key, protocol.call_purpose(job), body)

    async def _create(self, flight: Flight, call: Call, place: Place, worker_sha256: str) -> None:
        request = create_training_job(call, flight.name, self._run, place, worker_sha256)
        delay = _QUOTA_SOONEST
        while not flight.future.cancelled():
            try:
                await training.create(self._aws, request)
            except LimitReached as error:
                if error.hopeless:
                    raise _never(error, call) from error
                await anyio.sleep(delay)
                delay = min(_QUOTA_LATEST, delay * 1.5)
            else:
                flight.job = Job(flight.name, created_at=time.time())
                return


def _never(error: LimitReached, call: Call) -> QuotaExceeded:
    exceeded = QuotaExceeded(
        f"the account's quota for {call.settings.instance_type} is too small for even one job, so waiting "
        f"cannot help. Ask for more in Service Quotas, or use another instance_type. {error}"
    )
    exceeded.operation, exceeded.code = error.operation, error.code
    return exceeded
