"""Output to CloudWatch Logs: pure cutting, and the stream against a running service."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import aioboto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.local import logs
from smexec.local.logs import (
    EVENT_OVERHEAD,
    MAX_BATCH,
    MAX_EVENTS,
    TRAINING,
    Event,
    Lines,
    LogStream,
    take_batch,
)
from smexec.local.resources import Clock

NAMES = itertools.count()
SESSION = aioboto3.Session("key", "secret", region_name="us-east-1")


def cut(data: list[bytes], limit: int = logs.MAX_EVENT) -> list[bytes]:
    lines = Lines(limit)
    return [line for part in data for line in lines.feed(part)] + list(lines.close())


class TestLines:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            ([b"a\nb\n"], [b"a", b"b"]),
            ([b"a", b"b\nc"], [b"ab", b"c"]),
            ([b"a\r\n", b"b\r\n"], [b"a", b"b"]),
            ([b"10%\r20%\rdone\n"], [b"10%\r20%\rdone"]),
            ([b"\n\na\n\n"], [b"a"]),
            ([], []),
            ([b"\xc3", b"\xa4\n"], ["ä".encode()]),
            ([b"\xff\n"], ["\ufffd".encode()]),
        ],
    )
    def test_lines(self, data: list[bytes], expected: list[bytes]) -> None:
        assert cut(data) == expected

    @given(st.lists(st.binary(max_size=40), max_size=8))
    def test_however_it_comes_it_is_the_same(self, parts: list[bytes]) -> None:
        assert cut(parts) == cut([b"".join(parts)])

    @given(st.text(st.characters(exclude_characters="\n\r", codec="utf-8")), st.integers(4, 12))
    def test_long_lines_are_cut_between_characters(self, line: str, limit: int) -> None:
        pieces = cut([line.encode()], limit)
        assert b"".join(pieces).decode() == line
        assert all(0 < len(piece) <= limit for piece in pieces)
        assert "".join(piece.decode() for piece in pieces) == line

    def test_a_line_without_end_does_not_wait_for_it(self) -> None:
        assert list(Lines(4).feed(b"abcdefghij")) == [b"abcd", b"efgh"]


@st.composite
def waiting_events(draw: st.DrawFn) -> list[Event]:
    sizes = draw(st.lists(st.sampled_from([1, 1000, 100_000, logs.MAX_EVENT]), max_size=30))
    return [(number, b"x" * size) for number, size in enumerate(sizes)]


class TestBatches:
    @given(waiting_events())
    def test_all_events_go_once_in_order_and_within_the_limits(self, events: list[Event]) -> None:
        waiting, taken = list(events), []
        while waiting:
            batch = take_batch(waiting)
            assert batch
            assert sum(len(line) + EVENT_OVERHEAD for _, line in batch) <= MAX_BATCH
            taken += batch
        assert taken == events

    def test_not_too_many(self) -> None:
        waiting: list[Event] = [(0, b"x")] * (MAX_EVENTS + 1)
        assert len(take_batch(waiting)) == MAX_EVENTS
        assert len(waiting) == 1


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[Any]:
    async with SESSION.client("logs", endpoint_url=url) as opened:
        yield opened


class Gated:
    """A client that sends events once it may."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.asked, self.open = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def put_log_events(self, **members: Any) -> Any:
        self.asked.set()
        await self.open.wait()
        return await self._client.put_log_events(**members)


@pytest.mark.anyio
class TestLogStream:
    async def messages(self, logs: Any, *data: bytes, clock: Clock = time.time) -> list[Any]:
        name = f"test-{next(NAMES)}/algo-1-1"
        source = asyncio.StreamReader()
        copying = asyncio.create_task(LogStream(logs, TRAINING, name, clock).copy(source))
        for part in data:
            source.feed_data(part)
            await asyncio.sleep(0)
        source.feed_eof()
        await copying
        found = []
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=TRAINING, logStreamNames=[name])
        async for page in pages:
            found += page["events"]
        return found

    async def test_all_lines_are_there(self, aws: Any) -> None:
        async with client(aws.info["endpoint_url"]) as logs:
            lines = [f"line {number}\n".encode() for number in range(300)]
            events = await self.messages(logs, *lines, b"the end")
        assert [event["message"] for event in events] == [f"line {n}" for n in range(300)] + ["the end"]

    async def test_what_comes_while_others_are_on_their_way_goes_together(self, aws: Any) -> None:
        source = asyncio.StreamReader()
        async with client(aws.info["endpoint_url"]) as logs:
            gated = Gated(logs)
            stream = LogStream(gated, TRAINING, f"test-{next(NAMES)}/algo-1-1")
            copying = asyncio.create_task(stream.copy(source))
            source.feed_data(b"first\n")
            await gated.asked.wait()
            for _ in range(300):
                source.feed_data(b"line\n")
                await asyncio.sleep(0)
            source.feed_eof()
            for _ in range(10):  # until it is read, for which nobody has to wait
                await asyncio.sleep(0)
            gated.open.set()
            await copying
        assert aws.control("requests")["logs.PutLogEvents"] == 2

    async def test_timestamps(self, aws: Any) -> None:
        now = int(time.time())
        async with client(aws.info["endpoint_url"]) as logs:
            events = await self.messages(logs, b"a\n", clock=lambda: now + 0.25)
        assert [event["timestamp"] for event in events] == [now * 1000 + 250]

    async def test_silence(self, aws: Any) -> None:
        async with client(aws.info["endpoint_url"]) as logs:
            assert await self.messages(logs) == []
        assert aws.control("requests")["logs.CreateLogStream"] == 1

    async def test_a_writer_that_is_too_fast_waits(self, aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(logs, "MAX_WAITING", 100)
        async with client(aws.info["endpoint_url"]) as opened:
            stream = LogStream(opened, TRAINING, f"test-{next(NAMES)}/algo-1-1")
            source = asyncio.StreamReader()
            source.feed_data(b"x" * 70 + b"\n")
            source.feed_data(b"y" * 70 + b"\n")
            source.feed_eof()
            await stream.copy(source)
            assert stream.last_line == "y" * 70

    async def test_an_error_of_the_service_is_told(self, aws: Any) -> None:
        aws.control("faults", {"operation": "PutLogEvents", "kind": "error", "code": "Nope", "times": None})
        async with client(aws.info["endpoint_url"]) as opened:
            with pytest.raises(Exception, match="Nope"):
                await self.messages(opened, b"a\n")
