"""Tickets and flights: a call on its way from ``submit`` to its outcome, and the job that carries it."""

from __future__ import annotations

import concurrent.futures
from dataclasses import dataclass, field
from typing import Any

from smexec.core.lifecycle import Action, Do, Job, ReadNews
from smexec.core.settings import Settings
from smexec.core.work import Batch, Call, Place


class Ticket:
    """One call's: what its future knows of where it is.

    :ivar flight: the job that carries it, once there is one
    """

    __slots__ = ("flight",)

    def __init__(self) -> None:
        self.flight: Flight | None = None

    @property
    def job_name(self) -> str | None:
        """The Training Job's; None while the call waits for one."""
        return self.flight.name if self.flight else None


class Passenger:
    """A call that has not landed, with its future.

    :ivar call: gone (None) as soon as it is uploaded
    :ivar stopped: by the user; its future is about to say so
    """

    __slots__ = ("call", "future", "stopped", "ticket")

    def __init__(self, call: Call, future: concurrent.futures.Future[Any], ticket: Ticket) -> None:
        self.call: Call | None = call
        self.future = future
        self.ticket = ticket
        self.stopped = False

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return not (self.stopped or self.future.cancelled())

    @property
    def status(self) -> str:
        """For people: queued, starting, running, stopping."""
        flight = self.ticket.flight
        if flight is None or flight.job is None:
            return "starting" if flight else "queued"
        if flight.job.stop_asked:
            return "stopping"
        return "running" if self.future.running() else "starting"


@dataclass(eq=False)
class Flight:
    """A job and the calls in it.

    :ivar passengers: those that have not landed, by their numbers in the batch
    :ivar doing: actions under way, each in a task of its own
    """

    name: str
    settings: Settings
    passengers: dict[int, Passenger]
    place: Place | None = None
    job: Job | None = None
    stop_wanted: bool = False
    landed: bool = False
    doing: set[Action] = field(default_factory=set)

    @classmethod
    def board(cls, name: str, settings: Settings, passengers: list[Passenger]) -> Flight:
        """All aboard."""
        flight = cls(name, settings, dict(enumerate(passengers)))
        for passenger in passengers:
            passenger.ticket.flight = flight
        return flight

    def take_batch(self) -> Batch:
        """What is to be uploaded, for good: nothing of the user's is kept."""
        calls = [passenger.call for passenger in self.passengers.values() if passenger.call]
        for passenger in self.passengers.values():
            passenger.call = None
        return Batch(calls)

    def does(self, action: Action) -> bool:
        """Whether it is under way, or what is under way makes it needless.

        An inquest reads all news; and what is being read may leave nothing to inquire into. If it does, the
        next look finds the job ended still.
        """
        if isinstance(action, ReadNews) and Do.INVESTIGATE in self.doing:
            return True
        if action is Do.INVESTIGATE and any(isinstance(other, ReadNews) for other in self.doing):
            return True
        return action in self.doing

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for one of its calls."""
        return any(passenger.is_wanted for passenger in self.passengers.values())
