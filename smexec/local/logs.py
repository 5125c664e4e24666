"""A container's output, line by line, into CloudWatch Logs.

Groups and streams are those of the platform, the limits those of PutLogEvents (CloudWatch Logs API
reference).
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

TRAINING = "/aws/sagemaker/TrainingJobs"
PROCESSING = "/aws/sagemaker/ProcessingJobs"
TRANSFORM = "/aws/sagemaker/TransformJobs"
ENDPOINTS = "/aws/sagemaker/Endpoints"  # and the endpoint's name

EVENT_OVERHEAD = 26  # bytes that the service adds to each event before it compares with its limits
MAX_EVENT = 262_144 - EVENT_OVERHEAD
MAX_BATCH = 1_048_576
MAX_EVENTS = 10_000
CONTINUATION = 0b1000_0000  # the first two bits of a byte within a character of UTF-8
MAX_WAITING = (
    8 * MAX_BATCH
)  # a container that writes faster than this waits, as with docker's blocking drivers

Event = tuple[int, bytes]
"""Epoch milliseconds and a line."""


class Lines:
    """Cuts bytes into lines; pure. What is longer than an event may be is cut between characters."""

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._rest = b""
        # What is no UTF-8 takes more bytes once it is marked as such, so that comes before the cutting.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are complete now, without their ends, and no empty ones: no event may be empty."""
        *lines, self._rest = (self._rest + self._decoder.decode(data).encode()).split(b"\n")
        for line in lines:
            yield from self._pieces(line.rstrip(b"\r"))
        while len(self._rest) > self._limit:
            piece = self._rest[: _cut(self._rest, self._limit)]
            self._rest = self._rest[len(piece) :]
            yield piece

    def close(self) -> Iterator[bytes]:
        """What came after the last line end."""
        rest, self._rest = self._rest + self._decoder.decode(b"", final=True).encode(), b""
        yield from self._pieces(rest)

    def _pieces(self, line: bytes) -> Iterator[bytes]:
        while line:
            end = _cut(line, self._limit)
            yield line[:end]
            line = line[end:]


def _cut(line: bytes, limit: int) -> int:
    """At most ``limit``, and not within a character of UTF-8."""
    end = min(limit, len(line))
    if end < len(line):
        while end > 1 and line[end] & 0b1100_0000 == CONTINUATION:
            end -= 1
    return end


def take_batch(waiting: list[Event]) -> list[Event]:
    """Take as many events off the front as one request may carry; pure."""
    size = number = 0
    for _, line in waiting[:MAX_EVENTS]:
        size += len(line) + EVENT_OVERHEAD
        if size > MAX_BATCH:
            break
        number += 1
    batch = waiting[:number]
    del waiting[:number]
    return batch


async def create_group(logs: Any, group: str) -> None:
    """Make a group that may be there already; ``logs`` is a client of CloudWatch Logs."""
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        await logs.create_log_group(logGroupName=group)


class LogStream:
    """One stream of a group; ``logs`` is a client of CloudWatch Logs.

    ``watch`` is shown each line, and when it came, in epoch seconds.
    """

    def __init__(
        self,
        logs: Any,
        group: str,
        name: str,
        clock: Callable[[], float] = time.time,
        watch: Callable[[float, str], None] = lambda _at, _line: None,
    ) -> None:
        self._logs = logs
        self._stream = {"logGroupName": group, "logStreamName": name}
        self._clock = clock
        self._watch = watch
        self._waiting: list[Event] = []
        self._size = 0
        self._news = asyncio.Condition()
        self._ended = False
        self.last_line = ""

    async def copy(self, source: asyncio.StreamReader) -> None:
        """Everything that the source gives; all of it is in CloudWatch when this returns."""
        with contextlib.suppress(self._logs.exceptions.ResourceAlreadyExistsException):
            await self._logs.create_log_stream(**self._stream)
        sender = asyncio.create_task(self._send())
        reader = asyncio.create_task(self._read(source))
        try:
            await asyncio.gather(reader, sender)
        finally:
            for task in (reader, sender):
                task.cancel()
            await asyncio.gather(reader, sender, return_exceptions=True)

    async def _read(self, source: asyncio.StreamReader) -> None:
        lines = Lines()
        while data := await source.read(1 << 16):
            await self._put(lines.feed(data))
        await self._put(lines.close())
        async with self._news:
            self._ended = True
            self._news.notify_all()

    async def _put(self, lines: Iterator[bytes]) -> None:
        now = int(self._clock() * 1000)
        async with self._news:
            await self._news.wait_for(lambda: self._size < MAX_WAITING)
            for line in lines:
                self._waiting.append((now, line))
                self._watch(now / 1000, line.decode())
                self._size += len(line)
            self._news.notify_all()

    async def _send(self) -> None:
        """One request after the other, each with all that has come meanwhile."""
        while True:
            async with self._news:
                await self._news.wait_for(lambda: self._waiting or self._ended)
                batch = take_batch(self._waiting)
                self._size -= sum(len(line) for _, line in batch)
                self._news.notify_all()
            if not batch:
                return
            events = [{"timestamp": at, "message": line.decode()} for at, line in batch]
            self.last_line = batch[-1][1].decode()
            await self._logs.put_log_events(**self._stream, logEvents=events)
