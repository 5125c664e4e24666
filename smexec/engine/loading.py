"""Loading: upload what jobs work on. What several have in common is uploaded once."""

from __future__ import annotations

import hashlib
import json
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import anyio

from smexec.aws import s3
from smexec.aws.client import Client
from smexec.aws.together import together
from smexec.capture.layers import worker_layer
from smexec.core.assembly import Assembly, assemble
from smexec.core.cargo import BatchCargo, Cargo
from smexec.core.errand import Errand
from smexec.core.run import Keys, Run
from smexec.core.work import Batch, File, Folder, Function, Layer, Place
from smexec.engine.loop import in_thread
from smexec.worker import protocol
from smexec.worker.parts import SIZES
from smexec.worker.protocol import Buffer

_FILES_AT_ONCE = 16  # small ones; of the others one at a time is in memory, or eight parts of it

Span: TypeAlias = tuple[int, int]  # where memory begins, bytes
Known: TypeAlias = "tuple[weakref.ref[Any], str]"  # what lives while the memory does, the digest


class Loader:
    """Makes cargoes of batches and errands."""

    def __init__(self, aws: Client, run: Run) -> None:
        self._aws = aws
        self._run = run
        self._digests = Digests()
        self._shared: dict[str, anyio.Event] = {}  # URIs of what jobs share: set once it is there
        self._large = anyio.Lock()

    async def load(self, job: str, freight: Batch | Errand, place: Place) -> Cargo:
        """Upload what a job works on, unless it is there.

        :raises smexec.errors.SmexecError: it cannot be
        """
        keys = Keys(place.root, self._run.id, freight.settings.s3_kms_key)
        if isinstance(freight, Batch):
            return await self._load_batch(job, freight, keys)
        for layer in freight.layers:
            await self._share_layer(keys, layer)
        return freight.cargo(job)

    async def _load_batch(self, job: str, batch: Batch, keys: Keys) -> Cargo:
        layer = await in_thread(lambda: worker_layer(protocol.WORKER_FILE))
        await self._share_layer(keys, layer)
        if keys.kms_key:
            await self._share(keys.run_key, self._run.key.hex().encode(), keys.kms_key)
        assembly = await in_thread(lambda: self._assemble(job, batch))
        await self._upload(keys, job, assembly)
        has = {"shares": bool(assembly.shared), "takes": bool(assembly.values)}
        return BatchCargo(job, batch.settings, batch.function, layer.sha256, **has)

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

    async def _upload(self, keys: Keys, job: str, assembly: Assembly) -> None:
        kms_key = keys.kms_key
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

    async def _share_layer(self, keys: Keys, layer: Layer | Folder) -> None:
        works = [
            partial(self._share_file, keys.layer_file(layer.sha256, name), content, keys.kms_key)
            for name, content in layer.files.items()
        ]
        await together(works, _FILES_AT_ONCE)

    async def _share_file(self, uri: str, content: bytes | File, kms_key: str | None) -> None:
        if isinstance(content, File) and content.size > SIZES.part:
            async with self._large:
                await self._share(uri, content, kms_key)
        else:
            await self._share(uri, content, kms_key)

    async def _share(self, uri: str, content: Buffer | File, kms_key: str | None) -> None:
        """Upload once, whoever else wants it uploaded at the same time."""
        there = self._shared.get(uri)
        if there is not None:
            await there.wait()
            if uri in self._shared:
                return
        there = self._shared[uri] = anyio.Event()
        try:
            whole = content if isinstance(content, File) else [content]
            await s3.put(self._aws, uri, whole, kms_key, new=True)
        except BaseException:
            del self._shared[uri]  # whoever waits tries himself
            raise
        finally:
            there.set()


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
