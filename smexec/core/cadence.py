"""What to ask next, and when. Everything here is a function of times that are passed in.

The cost of watching depends on what is in flight and new, never on what is finished: events are listed from
where the last listing ended, and with nothing in flight nothing is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from smexec.worker.protocol import Event

EVENTS_SOONEST, EVENTS_LATEST = 0.05, 1.0  # seconds between two listings of events
EVENTS_SOONEST_OF_MANY = 0.5  # while more calls are in flight than somebody waits for one by one
_MANY = 8
STATUS_SOONEST, STATUS_LATEST = 1.0, 10.0  # ListTrainingJobs: 2 requests/s for a whole account
DYING_LATEST = 1.0  # while a job is being stopped, say
PROBE_SOONEST, PROBE_LATEST = 0.5, 30.0  # between two tries while the account has no instance free
PROBE_LATEST_ALONE = 10.0  # while no job of ours is in flight, whose end would be a reason to try
_EASE = 0.25  # the share of the quiet time so far that is waited again

#: How late an event may come to be listed behind one with a later name: clocks of machines differ, and a
#: PUT takes its time. One that takes longer than ``LATE_AFTER`` (worker/post.py) is named by the job's next;
#: what comes later still is found when its job's status says that it has ended.
OVERLAP = 4_000  # milliseconds

#: How wrong a clock may be, the client's or a host's: AWS refuses what is signed for another time than this.
SKEW = 900.0  # seconds


def events_delay(quiet: float, calls: int) -> float:
    """Seconds to wait before events are listed again, ``quiet`` seconds after anything last happened.

    :param calls: how many are in flight: of a few, each is awaited; of many, the sum counts
    """
    soonest = EVENTS_SOONEST if calls <= _MANY else EVENTS_SOONEST_OF_MANY
    return min(EVENTS_LATEST, max(soonest, quiet * _EASE))


def status_delay(quiet: float, dying: bool) -> float:
    """The same for the jobs' statuses; ``dying``: some job's end is known to be near."""
    latest = DYING_LATEST if dying else STATUS_LATEST
    return min(latest, max(STATUS_SOONEST, quiet * _EASE))


def probe_delay(refusals: int, *, alone: bool) -> float:
    """Seconds until an instance is asked for again, unless a job of ours lands before.

    An instance is free a while after its job has landed: a few tries come soon, the others now and then.

    :param refusals: since there was last a reason to try
    :param alone: no job of ours is in flight
    """
    latest = PROBE_LATEST_ALONE if alone else PROBE_LATEST
    return float(min(latest, PROBE_SOONEST * 2 ** min(refusals, 16)))


@dataclass
class Tail:
    """Where to go on reading a run's events, and which of the overlap have been read already."""

    newest: int = 0
    _read: set[str] = field(default_factory=set)

    @property
    def start_after(self) -> str:
        """S3's StartAfter: names of events begin with their time."""
        return f"{max(0, self.newest - OVERLAP):013d}"

    def take(self, names: Iterable[str], jobs: Collection[str], now: float) -> list[Event]:
        """The events of these jobs that were not read before, in the order of their times.

        Whatever somebody else puts there is left out, and does not move the tail.

        :param now: seconds of the client's clock: a time far ahead of it does not move the tail either
        """
        parsed = map(Event.parse, sorted(set(names) - self._read))
        news = [event for event in parsed if event is not None and event.job in jobs]
        times = (event.milliseconds for event in news)
        self.newest = max([self.newest, *(time for time in times if time <= (now + SKEW) * 1000)])
        self._read |= {event.name for event in news}
        self._read = {name for name in self._read if name >= self.start_after}
        return news


def late_after(begin: float) -> str:
    """S3's StartAfter for all that a job, which began then, may have written, whatever was read meanwhile.

    :param begin: seconds of the client's clock
    """
    return f"{max(0, int((begin - SKEW) * 1000)):013d}"
