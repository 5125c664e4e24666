"""A flight: one call on its way from ``submit`` to its outcome."""

from __future__ import annotations

import concurrent.futures
from dataclasses import dataclass, field
from typing import Any

from smexec.core.lifecycle import Action, Job
from smexec.core.work import Call, Place


@dataclass(eq=False)
class Flight:
    """A call, its future, and, once it was created, its job.

    :ivar call: gone (None) as soon as it is uploaded: nothing of the user's is kept
    :ivar doing: actions under way, each in a task of its own
    """

    name: str
    future: concurrent.futures.Future[Any]
    call: Call | None
    place: Place | None = None
    job: Job | None = None
    uncompressed: bool = False
    stop_wanted: bool = False
    landed: bool = False
    doing: set[Action] = field(default_factory=set)

    @property
    def status(self) -> str:
        """For people: queued, starting, running, stopping, done."""
        if self.future.done():
            return "done"
        if self.job is None:
            return "queued"
        if self.job.stop_asked:
            return "stopping"
        return "running" if self.job.running else "starting"
