"""Launching: upload what the job needs, create it, and wait where the account has no instance free."""

from __future__ import annotations

import hashlib
import json
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import anyio

from smexec.aws import s3, training
from smexec.aws.border import LimitReached
from smexec.aws.client import Client
from smexec.aws.together import together
from smexec.capture.layers import worker_layer
from smexec.core.assembly import Assembly, assemble
from smexec.core.lifecycle import Job
from smexec.core.request import create_training_job
from smexec.core.run import Keys, Run
from smexec.core.work import Batch, Cargo, Function, Place
from smexec.engine.flight import Flight
from smexec.engine.gates import Gates
from smexec.engine.loop import in_thread
from smexec.engine.place import Surveyor
from smexec.errors import QuotaExceeded
from smexec.worker import protocol, todo
from smexec.worker.protocol import Buffer

Span: TypeAlias = tuple[int, int]  # where memory begins, bytes
Known: TypeAlias = "tuple[weakref.ref[Any], str]"  # what lives while the memory does, the digest


class Launcher:
    """Takes flights from packed to created.

    :ivar gates: where they wait for an instance
    """

    def __init__(self, aws: Client, run: Run, surveyor: Surveyor) -> None:
        self._aws = aws
        self._run = run
        self._surveyor = surveyor
        self.gates = Gates()
        self._digests = Digests()
        self._shared: dict[str, anyio.Event] = {}  # URIs of what jobs share: set once it is there

    async def launch(self, flight: Flight) -> None:
        """Create the flight's job, unless nobody wants it any more before: then ``flight.job`` stays None.

        :raises smexec.errors.SmexecError: it cannot be started
        """
        place = flight.place = await self._surveyor.place(flight.settings, flight.machine.instance_type)
        cargo = flight.cargo = flight.cargo or await self._load(flight.name, flight.take_batch(), place)
        request = create_training_job(cargo, flight.name, self._run, place, self._todo(flight, cargo))
        await self.gates.enter(
            flight.machine, lambda: flight.is_wanted, lambda: self._create(flight, request)
        )

    def _todo(self, flight: Flight, cargo: Cargo) -> str | None:
        """What is left of a batch that another job began; None: all of one's own."""
        if cargo.job == flight.name:
            return None
        return todo.write(self._run.key, flight.name, cargo.job, flight.passengers)

    async def _load(self, job: str, batch: Batch, place: Place) -> Cargo:
        """Upload a batch, and what every job needs unless it is there."""
        layer = await in_thread(lambda: worker_layer(protocol.WORKER_FILE))
        keys, kms_key = Keys(place.root, self._run.id), batch.settings.s3_kms_key
        await self._share(keys.worker_file(layer.sha256), layer.content, kms_key)
        if kms_key:
            await self._share(keys.run_key, self._run.key.hex().encode(), kms_key)
        assembly = await in_thread(lambda: self._assemble(job, batch))
        await self._upload(keys, job, assembly, kms_key)
        has = {"shares": bool(assembly.shared), "takes": bool(assembly.values)}
        return Cargo(job, batch.settings, batch.function, layer.sha256, **has)

    def _assemble(self, job: str, batch: Batch) -> Assembly:
        """What is to be uploaded, its body sealed."""
        header = {
            "python": protocol.python_version(sys.version_info),
            "slots": batch.settings.slots,
            "gpus": batch.settings.gpus_per_call,
            "timeout": batch.settings.timeout_per_call,
        }
        assembly = assemble(batch, header, self._digests.of(batch.calls[0].function))
        assembly.body = protocol.seal(self._run.key, protocol.batch_purpose(job), assembly.body)
        return assembly

    async def _upload(self, keys: Keys, job: str, assembly: Assembly, kms_key: str | None) -> None:
        works = [partial(s3.put, self._aws, keys.batch(job), assembly.body, kms_key)]
        for digest, section in assembly.shared.items():
            works.append(partial(self._share, keys.shared + digest, section, kms_key))
        for uri, folder, names in (
            (keys.manifest(job), keys.shared, list(assembly.shared)),
            (keys.values(job), keys.events, assembly.values),
        ):
            if names:
                manifest = json.dumps([{"prefix": folder}, *names]).encode()
                works.append(partial(s3.put, self._aws, uri, [manifest], kms_key))
        await together(works, len(works))

    async def _share(self, uri: str, content: Buffer, kms_key: str | None) -> None:
        """Upload once, whoever else wants it uploaded at the same time."""
        there = self._shared.get(uri)
        if there is not None:
            await there.wait()
            if uri in self._shared:
                return
        there = self._shared[uri] = anyio.Event()
        try:
            await s3.put(self._aws, uri, [content], kms_key, new=True)
        except BaseException:
            del self._shared[uri]  # whoever waits tries himself
            raise
        finally:
            there.set()

    async def _create(self, flight: Flight, request: dict[str, Any]) -> bool:
        """Whether there was an instance for it."""
        try:
            await training.create(self._aws, request)
        except LimitReached as error:
            if error.hopeless:
                raise _never(error, flight.machine.instance_type) from error
            return False
        flight.job = Job(flight.name, created_at=time.time(), hosts=flight.settings.instance_count)
        return True


class Digests:
    """SHA-256 of large sections, remembered for all jobs of one ``map``: they have its function in common.

    Not for longer: between two of them the user may change an array where it lies.
    """

    def __init__(self) -> None:
        self._by_function: weakref.WeakKeyDictionary[Function, dict[Span, Known]] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, function: Function) -> Callable[[Buffer], str]:
        """What gives a section's, in hex."""
        known = self._by_function.setdefault(function, {})
        return lambda section: _digest(section, known)


def _digest(section: Buffer, known: dict[Span, Known]) -> str:
    view = memoryview(section)
    owner: Any = view.obj
    span = _span(owner, view.nbytes)
    reference, digest = known.get(span, (None, "")) if span else (None, "")
    if reference is not None and reference() is not None:  # so the memory is still what it was
        return digest
    digest = hashlib.sha256(view).hexdigest()
    if span:
        known[span] = (weakref.ref(owner), digest)
    return digest


def _span(owner: Any, size: int) -> Span | None:
    """Where it lies: arrays tell. Of a Fortran array each pickle has a view of its own."""
    interface = getattr(owner, "__array_interface__", None)
    return (interface["data"][0], size) if interface else None


def _never(error: LimitReached, instance_type: str) -> QuotaExceeded:
    exceeded = QuotaExceeded(
        f"the account's quota for {instance_type} is too small for even one job, so waiting "
        f"cannot help. Ask for more in Service Quotas, or use another instance_type. {error}"
    )
    exceeded.operation, exceeded.code = error.operation, error.code
    return exceeded
