"""Pipe mode: FIFOs fed from S3."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.local.pipes import RECORD_MAGIC, Pipe, record
from smexec.local.transfer import Location, Storage, Transfer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Memory(Storage):
    """Objects in memory; what S3 itself does is tested elsewhere."""

    def __init__(self, **objects: bytes) -> None:
        super().__init__(None)
        self.objects = objects
        self.read = 0

    async def chunks(self, location: Location) -> AsyncIterator[bytes]:
        content = self.objects[location.key]
        for start in range(0, len(content), 100_000):
            self.read += 1
            yield content[start : start + 100_000]


@contextlib.asynccontextmanager
async def serving(storage: Memory, path: Path, **options: bool) -> AsyncIterator[asyncio.Task[None]]:
    transfers = [Transfer(Location("bucket", key), PurePosixPath(key)) for key in storage.objects]
    pipe = Pipe(storage, transfers, path, **{"gzip": False, "record_io": False} | options)
    task: asyncio.Task[None] = asyncio.create_task(pipe.serve())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def read(path: Path) -> bytes:
    return path.read_bytes()


async def test_all_objects_one_after_the_other_for_each_epoch(tmp_path: Path) -> None:
    storage = Memory(a=b"first", b=b"second" * 100_000)
    async with serving(storage, tmp_path / "train"):
        for epoch in range(3):
            got = await asyncio.to_thread(read, tmp_path / f"train_{epoch}")
            assert got == b"".join(storage.objects.values())


async def test_nothing_is_read_before_somebody_wants_it(tmp_path: Path) -> None:
    storage = Memory(a=b"first")
    async with serving(storage, tmp_path / "train"):
        assert (tmp_path / "train_0").is_fifo()
        assert storage.read == 0


async def test_a_reader_that_has_had_enough(tmp_path: Path) -> None:
    storage = Memory(a=b"x" * 1_000_000)

    def taste() -> bytes:
        with (tmp_path / "train_0").open("rb", buffering=0) as file:
            return file.read(10)

    async with serving(storage, tmp_path / "train"):
        assert await asyncio.to_thread(taste) == b"x" * 10
        assert await asyncio.to_thread(read, tmp_path / "train_1") == storage.objects["a"]


async def test_a_slow_reader_is_waited_for(tmp_path: Path) -> None:
    storage = Memory(a=os.urandom(1_000_000))
    async with serving(storage, tmp_path / "train"):
        file = await asyncio.to_thread(open, tmp_path / "train_0", "rb", 0)
        with file:
            got = b""
            while part := await asyncio.to_thread(file.read, 70_000):
                # Not all of it can be in the pipe.
                assert storage.read <= len(got) // 100_000 + 4
                got += part
    assert got == storage.objects["a"]


async def test_gzip(tmp_path: Path) -> None:
    storage = Memory(a=gzip.compress(b"first" * 100_000), b=gzip.compress(b"second"))
    async with serving(storage, tmp_path / "train", gzip=True):
        assert await asyncio.to_thread(read, tmp_path / "train_0") == b"first" * 100_000 + b"second"


async def test_records(tmp_path: Path) -> None:
    storage = Memory(a=b"12345", b=b"")
    async with serving(storage, tmp_path / "train", record_io=True):
        assert await asyncio.to_thread(read, tmp_path / "train_0") == record(b"12345") + record(b"")


async def test_an_object_that_is_gone_ends_it_with_an_error(tmp_path: Path) -> None:
    storage = Memory(a=b"x")
    async with serving(storage, tmp_path / "train") as task:
        storage.objects.clear()
        await asyncio.to_thread(read, tmp_path / "train_0")
        with pytest.raises(KeyError):
            await task


@given(st.binary(max_size=64))
def test_a_record(content: bytes) -> None:
    packed = record(content)
    assert struct.unpack_from("<II", packed) == (RECORD_MAGIC, len(content))
    assert packed[8 : 8 + len(content)] == content
    assert len(packed) % 4 == 0
