"""A job's record and its statuses: the only place that writes them.

Times are epoch seconds (float), as the JSON protocol carries them; the clock is passed in.  What a status is
called and which messages go with it come from botocore's model and from output that users have published.
Training jobs show all of it; other kinds of jobs go through the same phases and show the primary status only.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from smexec.local.model import ServiceError
from smexec.local.resources import Resource, without_nulls

Interruption = Literal["interrupt", "kill", "internal-error"]
"""What a test may do to a running job: reclaim its spot instances, SIGKILL its containers, break the
platform.
"""

TERMINAL = frozenset({"Completed", "Failed", "Stopped"})
"""The primary statuses that a job never leaves."""

MESSAGES: Mapping[str, str] = {
    "Starting": "Starting the training job",
    "Pending": "Waiting for training plan capacity",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Training job interrupted",
    "Restarting": "Restarting the training job",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job exceeded MaxWaitTimeInSeconds provided",
}
"""The StatusMessage that a secondary status has unless the platform gives another."""

LAUNCHING = "Launching requested ML instances"
PREPARING = "Preparing the instances for training"
DOWNLOADING_IMAGE = "Downloading the training image"

_ENDED_AS: Mapping[str, str] = {
    "Completed": "Completed",
    "Failed": "Failed",
    "Stopped": "Stopped",
    "MaxRuntimeExceeded": "Stopped",
    "MaxWaitTimeExceeded": "Stopped",
}
BILLED = frozenset({"Downloading", "Training", "Uploading", "Stopping"})
_MAX_FAILURE_REASON = 1024


@dataclass
class Transition:
    """One entry of SecondaryStatusTransitions; `end` is None while it lasts."""

    status: str
    start: float
    message: str
    end: float | None = None

    def seconds(self, now: float) -> float:
        """How long it has lasted."""
        return (now if self.end is None else self.end) - self.start

    def describe(self) -> dict[str, Any]:
        """As Describe shows it."""
        members = {
            "Status": self.status,
            "StartTime": self.start,
            "EndTime": self.end,
            "StatusMessage": self.message,
        }
        return without_nulls(members)


@dataclass(eq=False)
class Job(Resource, abc.ABC):
    """One Create…Job request and all that has happened to it.

    Attributes:
        quotas: the setting of the service that limits its instances.
        stop_requested: set once the request to stop it was accepted.
        interruptions: what a test ordered to happen to it, in order; taken by whoever runs the job.
        on_end: called in the same instant in which the end becomes visible, so that whoever sees the end also
            sees what follows from it (a warm pool that is available).
        started: when there were instances for it.
    """

    unknown: ClassVar[str] = "Could not find requested job with name: {name}"
    quotas: ClassVar[str] = "quotas"

    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    interruptions: asyncio.Queue[Interruption] = field(default_factory=asyncio.Queue)
    transitions: list[Transition] = field(default_factory=list)
    failure_reason: str | None = None
    on_end: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.started: float | None = None
        self.ended: float | None = None
        self._append("Starting", MESSAGES["Starting"])

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} {self.status}/{self.secondary_status}>"

    @classmethod
    def listed(cls) -> str:
        """See :class:`Resource`."""
        return f"{cls.kind}Summaries"

    def taken(self) -> ServiceError:
        """See :class:`Resource`."""
        return ServiceError(
            "ResourceInUse",
            "Job name must be unique within an AWS account and region, "
            f"and a job with this name already exists ({self.arn})",
        )

    @property
    def secondary_status(self) -> str:
        """SecondaryStatus: that of the last transition."""
        return self.transitions[-1].status

    @property
    def status(self) -> str:
        """The primary status, derived: a job that was told to stop is Stopping until it has ended."""
        if self.ended is not None:
            return _ENDED_AS[self.secondary_status]
        return "Stopping" if self.stop_requested.is_set() else "InProgress"

    def describe(self, now: float | None = None) -> dict[str, Any]:
        """See :class:`Resource`."""
        own = {f"{self._prefix}StartTime": self.started, "FailureReason": self.failure_reason}
        return without_nulls({**super().describe(now), **own})

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """See :class:`Resource`."""
        members = {
            **super().summary(now),
            f"{self._prefix}EndTime": self.ended,
            "LastModifiedTime": self.modified,
            f"{self.kind}Status": self.status,
        }
        return without_nulls(members)

    @property
    def _prefix(self) -> str:
        """As the names of its times begin."""
        return self.kind.removesuffix("Job")

    @property
    def max_runtime(self) -> int:
        """How many seconds it may take, from the first download on."""
        seconds: int = self.request["StoppingCondition"]["MaxRuntimeInSeconds"]
        return seconds

    @property
    def spot(self) -> bool:
        """Whether it runs on spot instances."""
        return False

    @property
    @abc.abstractmethod
    def resources(self) -> Mapping[str, Any]:
        """Its instances, in the words of ResourceConfig."""

    @property
    def instances(self) -> dict[str, int]:
        """Instance type to number of instances."""
        return instances_of(self.resources)

    def enter(self, secondary: str, message: str | None = None) -> None:
        """Go to the next secondary status; the same one again only changes its message.

        A job that is being stopped shows nothing but Stopping and Uploading on its way to the end.
        """
        if secondary not in MESSAGES or secondary in _ENDED_AS:
            raise ValueError(f"{secondary!r} is no secondary status that a job can enter and leave")
        self._require_live()
        if self.stop_requested.is_set() and secondary not in {"Stopping", "Uploading"}:
            return
        message = message or MESSAGES[secondary]
        if secondary == self.secondary_status:
            self.transitions[-1].message = message
            self._touch(self.clock())
        else:
            self._append(secondary, message)

    def stop(self) -> None:
        """A Stop… request was accepted, or the job has run out of time; the one that runs the job ends it."""
        self._require_live()
        if not self.stop_requested.is_set():
            self.stop_requested.set()
            self.enter("Stopping")

    def complete(self) -> None:
        """End as Completed."""
        self._end("Completed", MESSAGES["Completed"])

    def fail(self, reason: str) -> None:
        """End as Failed; the service keeps 1024 characters of the reason."""
        self._require_live()
        self.failure_reason = reason[:_MAX_FAILURE_REASON]
        self._end("Failed", self.failure_reason)

    def stopped(self, secondary: str = "Stopped") -> None:
        """End as Stopped, which may be due to MaxRuntimeExceeded or MaxWaitTimeExceeded."""
        if _ENDED_AS.get(secondary) != "Stopped":
            raise ValueError(f"{secondary!r} is no way of being stopped")
        self._end(secondary, MESSAGES[secondary])

    def _end(self, secondary: str, message: str) -> None:
        self._require_live()
        self._append(secondary, message)
        self.ended = self.transitions[-1].end = self.transitions[-1].start
        if self.on_end is not None:
            self.on_end(self)

    def _append(self, secondary: str, message: str) -> None:
        now = self.clock()
        if self.transitions:
            self.transitions[-1].end = now
        self.transitions.append(Transition(secondary, now, message))
        if self.started is None and secondary in {"Downloading", "Training"}:
            self.started = now
        self._touch(now)

    def _require_live(self) -> None:
        if self.ended is not None:
            raise RuntimeError(f"{self.noun} {self.name} has already ended as {self.secondary_status}")


def instances_of(resources: Mapping[str, Any]) -> dict[str, int]:
    """Instance type to number of instances that a ResourceConfig asks for."""
    groups = resources.get("InstanceGroups") or [resources]
    counts: dict[str, int] = {}
    for group in groups:
        counts[group["InstanceType"]] = counts.get(group["InstanceType"], 0) + group["InstanceCount"]
    return counts
