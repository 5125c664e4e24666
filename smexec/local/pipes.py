"""Pipe mode: a channel as a FIFO per epoch, fed from S3 while the job reads.

Source: Developer Guide, "Input Mode": ``<channel>_<epoch>`` below ``/opt/ml/input/data``, all objects one
after the other, for each epoch again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import struct
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NoReturn

from smexec.local.transfer import Storage, Transfer, failing_as

LOOK_SECONDS = 0.01  # between looks whether someone reads
RECORD_MAGIC = 0xCED7230A


class Pipe:
    """One channel of one host.

    Args:
        storage: S3.
        transfers: what it gives, in this order.
        path: of the FIFOs, without the epoch.
        gzip: unpack the objects (CompressionType of the channel).
        record_io: wrap each object as a record of MXNet's RecordIO (RecordWrapperType of the channel).
    """

    def __init__(
        self, storage: Storage, transfers: Sequence[Transfer], path: Path, *, gzip: bool, record_io: bool
    ) -> None:
        self._storage = storage
        self._transfers = transfers
        self._path = path
        self._gzip = gzip
        self._record_io = record_io
        self._make(0)

    async def serve(self) -> NoReturn:
        """Feed whoever reads, epoch after epoch, until cancelled.

        Raises:
            JobFailure: S3 does not give the data.
        """
        epoch = 0
        with failing_as("ClientError: Data download failed"):
            while True:
                fd = await self._reader(epoch)
                self._make(epoch + 1)
                try:
                    async for data in self._data():
                        await write(fd, data)
                except BrokenPipeError:  # the reader has had enough
                    pass
                finally:
                    os.close(fd)
                epoch += 1

    def _name(self, epoch: int) -> Path:
        return self._path.with_name(f"{self._path.name}_{epoch}")

    def _make(self, epoch: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(self._name(epoch))

    async def _reader(self, epoch: int) -> int:
        """Wait until someone reads. An open that waits by itself would need a thread, which might stay."""
        while True:
            try:
                return os.open(self._name(epoch), os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            await asyncio.sleep(LOOK_SECONDS)

    async def _data(self) -> AsyncIterator[bytes]:
        for transfer in self._transfers:
            chunks = self._storage.chunks(transfer.location)
            if self._gzip:
                chunks = gunzip(chunks)
            if self._record_io:
                yield record(b"".join([chunk async for chunk in chunks]))
                continue
            async for chunk in chunks:
                yield chunk


async def write(fd: int, data: bytes) -> None:
    """All of it, to a descriptor that does not block."""
    loop, rest = asyncio.get_running_loop(), memoryview(data)
    while rest:
        with contextlib.suppress(BlockingIOError):
            rest = rest[os.write(fd, rest) :]
            continue
        writable = asyncio.Event()
        loop.add_writer(fd, writable.set)
        try:
            await writable.wait()
        finally:
            loop.remove_writer(fd)


async def gunzip(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Unpack a gzip file; the 16 says that its header is to be expected."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    async for chunk in chunks:
        yield unpacker.decompress(chunk)
    yield unpacker.flush()


def record(content: bytes) -> bytes:
    """A RecordIO record: magic, length, content, padded to four bytes."""
    return struct.pack("<II", RECORD_MAGIC, len(content)) + content + bytes(-len(content) % 4)
