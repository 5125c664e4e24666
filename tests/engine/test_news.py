"""What the tracker makes of news, without AWS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from smexec.core.jobtype import TRAINING
from smexec.core.lifecycle import Job
from smexec.core.market import Trail
from smexec.core.run import Run
from smexec.core.settings import Settings
from smexec.core.work import Outcome, Place
from smexec.engine.flight import Flight
from smexec.engine.outcome import News
from smexec.engine.track import Tracker
from smexec.errors import SmexecError
from smexec.worker import protocol

RUN = Run("abcdefgh", b"k" * 32)


class Reader:
    """Reads what it is given to say, and notes where."""

    def __init__(self) -> None:
        self.read_from: list[str] = []

    async def read(self, flight: Flight, uri: str) -> list[News]:
        self.read_from.append(uri)
        return []


async def nowhere(flight: Flight, ended: Sequence[tuple[int, Outcome]] | SmexecError) -> None:
    raise AssertionError("nothing has ended")


def test_what_was_late_is_read_when_it_is_pointed_at() -> None:
    reader: Any = Reader()
    unused: Any = None
    tracker = Tracker(unused, RUN, reader, nowhere, nowhere)
    trail = Trail.begin(Settings())
    flight = Flight("job", TRAINING, "f", Settings(), {}, trail, trail.left[0])
    flight.place = Place("eu-west-1", "ml.m5.large", "role", "image", "s3://b")
    flight.job = Job("job", 1.0)

    async def hear() -> None:
        async with anyio.create_task_group() as tasks:
            tracker._tasks = tasks
            tracker.follow(flight)
            await tracker._hear(flight, [News(protocol.LATE, {"name": "0000000000001_job_3"}, [])])

    anyio.run(hear)
    assert reader.read_from == ["s3://b/runs/abcdefgh/events/0000000000001_job_3"]
