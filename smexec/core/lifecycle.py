"""What a job's observations mean: ``(job, observation) → (job, actions)``, without a clock and without I/O.

Three sources speak of a job: its own events in S3 (first, and mostly alone), the service's status (deaths),
and the user (cancel, stop). They come in any order and more than once. Nothing but a resolved future ends
a job here: whatever the service fails to say, the job stays in sight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias


class Phase(Enum):
    """How far a job has come, as the service tells it."""

    STARTING = "its program is being started, or has ended and leaves its work"
    RUNNING = "its program runs"
    OTHER = "it was told to stop, or the service says what we have no word for"
    ENDED = "it has ended, well or not"


@dataclass(frozen=True)
class Job:
    """One job in flight.

    :ivar created_at: the client's clock, seconds
    :ivar running: one of its calls has started
    :ivar stop_asked: we asked the service to stop it
    :ivar hosts: instances that it runs on
    :ivar stop_reported: those whose worker said that it was told to stop; why, only the status can tell
    """

    name: str
    created_at: float
    running: bool = False
    stop_asked: bool = False
    hosts: int = 1
    stop_reported: frozenset[int] = frozenset()

    @property
    def is_dying(self) -> bool:
        """Whether its end is near, so that its status is worth asking for soon."""
        return self.stop_asked or bool(self.stop_reported)


@dataclass(frozen=True)
class CallStarted:
    """The worker says that a call has started."""


@dataclass(frozen=True)
class NewsWritten:
    """The worker wrote of starts and outcomes, to this URI."""

    uri: str


@dataclass(frozen=True)
class StopReported:
    """An outcome that the worker of one host wrote says "stopped"."""

    host: int = 0


@dataclass(frozen=True)
class StatusSeen:
    """What a list or a description says."""

    phase: Phase


@dataclass(frozen=True)
class StopWanted:
    """No call of the job is wanted any more: the user cancelled or stopped them all."""


Observation: TypeAlias = CallStarted | NewsWritten | StopReported | StatusSeen | StopWanted


class Do(Enum):
    """Actions without a parameter."""

    MARK_RUNNING = "mark all its calls running"
    STOP = "stop the job"
    INVESTIGATE = "find out how it ended"
    CONCLUDE_STOPPED = "resolve all its calls as stopped"


@dataclass(frozen=True)
class ReadNews:
    """Fetch what was written, and resolve futures with it."""

    uri: str


Action: TypeAlias = Do | ReadNews


def advance(job: Job, seen: Observation) -> tuple[Job, tuple[Action, ...]]:
    """The job as it is now known to be, and what is to be done about it."""
    match seen:
        case CallStarted():
            # It may be the second start of a spot job, which was told to stop before.
            return replace(job, running=True, stop_reported=frozenset()), ()
        case NewsWritten(uri):
            return job, (ReadNews(uri),)
        case StopReported(host):
            return _stopping(replace(job, stop_reported=job.stop_reported | {host}))
        case StatusSeen(Phase.ENDED):
            return job, (Do.INVESTIGATE,)
        case StatusSeen(Phase.RUNNING):
            return _running(job)
        case StatusSeen(Phase.STARTING):
            return replace(job, stop_reported=frozenset()), ()
        case StopWanted() if not job.stop_asked:
            return replace(job, stop_asked=True), (Do.STOP,)
    return job, ()


def _stopping(job: Job) -> tuple[Job, tuple[Action, ...]]:
    """A spot job is told to stop and then starts again, so its own word is final only if we asked.

    And only that of all its hosts: outcomes of those that have not said so may be on their way.
    """
    conclusive = job.stop_asked and len(job.stop_reported) == job.hosts
    return job, (Do.CONCLUDE_STOPPED,) if conclusive else ()


def _running(job: Job) -> tuple[Job, tuple[Action, ...]]:
    if job.running:
        return job, ()
    return replace(job, running=True), (Do.MARK_RUNNING,)
