"""Tickets and flights: a call on its way from ``submit`` to its outcome, and the job that carries it."""

from __future__ import annotations

import concurrent.futures
from dataclasses import dataclass, field, replace
from typing import Any

from smexec.core.cargo import Cargo
from smexec.core.errand import Errand
from smexec.core.jobtype import JobType
from smexec.core.lifecycle import Action, Do, Job, ReadNews
from smexec.core.market import Machine, Trail
from smexec.core.settings import Settings
from smexec.core.work import Batch, Call, Place, Stored
from smexec.engine.log import Log


class Ticket:
    """One call's: what its future knows of where it is.

    :ivar flight: the job that carries it, once there is one
    :ivar stored: where its value lies, once it has landed with one
    """

    __slots__ = ("flight", "stored")

    def __init__(self) -> None:
        self.flight: Flight | None = None
        self.stored: Stored | None = None

    @property
    def job_name(self) -> str | None:
        """The job's; None while the call waits for one."""
        return self.flight.name if self.flight else None


class Passenger:
    """A call that has not landed, with its future.

    :ivar call: None until it is pickled, and again as soon as it is uploaded
    :ivar number: in the batch of its job
    """

    __slots__ = ("call", "future", "number", "ticket")

    def __init__(
        self, call: Call | Errand | None, future: concurrent.futures.Future[Any], ticket: Ticket
    ) -> None:
        self.call = call
        self.future = future
        self.ticket = ticket
        self.number = 0

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

    :ivar type: of the job
    :ivar prefix: how the names of its jobs begin
    :ivar passengers: those that have not landed, by their numbers in the batch
    :ivar trail: what has become of the flights that had these passengers before
    :ivar machine: the one of ``trail.left`` that is tried
    :ivar unwanted: those of them that were cancelled or stopped
    :ivar heard: the names of its events that have been read
    :ivar doing: actions under way, each in a task of its own
    :ivar made: operations that have made something for it, or whose answer was lost
    :ivar log: of its job
    """

    name: str
    type: JobType
    prefix: str
    settings: Settings
    passengers: dict[int, Passenger]
    trail: Trail
    machine: Machine
    cargo: Cargo | None = None
    place: Place | None = None
    job: Job | None = None
    stop_wanted: bool = False
    landed: bool = False
    unwanted: set[int] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)
    doing: set[Action] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    log: Log = field(default_factory=Log)

    def __post_init__(self) -> None:
        for number, passenger in self.passengers.items():
            passenger.number, passenger.ticket.flight = number, self

    @classmethod
    def board(
        cls, name: str, first: Call | Errand, passengers: list[Passenger], trail: Trail, machine: Machine
    ) -> Flight:
        """All aboard.

        :param first: of the calls, which has settings in common with the others
        """
        return cls(
            name, first.type, first.prefix, first.settings, dict(enumerate(passengers)), trail, machine
        )

    def again(self, name: str, trail: Trail, machine: Machine) -> Flight:
        """Another one for those that this one, which is over, has left."""
        passengers, self.passengers, self.landed = self.passengers, {}, True
        return replace(
            self,
            passengers=passengers,
            name=name,
            trail=trail,
            machine=machine,
            place=None,
            job=None,
            landed=False,
            unwanted=set(),
            heard=set(),
            doing=set(),
            made=set(),
            log=Log(),
        )

    def leave(self, number: int) -> Passenger:
        """One of the passengers is about to land."""
        self.unwanted.discard(number)
        return self.passengers.pop(number)

    def unload(self) -> Batch | Errand:
        """What is to be uploaded, for good: nothing of the user's is kept."""
        calls = [passenger.call for passenger in self.passengers.values() if passenger.call]
        for passenger in self.passengers.values():
            passenger.call = None
        match calls:
            case [Errand() as errand]:
                return errand
        return Batch([call for call in calls if isinstance(call, Call)])

    @property
    def reports(self) -> bool:
        """Whether its job writes events, by which calls end before their job does."""
        return self.cargo is not None and self.cargo.reports

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
    def is_being_stopped(self) -> bool:
        """Whether nobody wants it, and that can still be helped."""
        return self.stop_wanted and self.type.stopping is not None

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for one of its calls, and has not ended it."""
        return not self.stop_wanted and len(self.unwanted) < len(self.passengers)
