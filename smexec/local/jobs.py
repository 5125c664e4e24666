"""A training job's record and its statuses: the only place that writes them.

Times are epoch seconds (float), as the JSON protocol carries them; the clock is passed in.  What a status is
called, which messages go with it and what Describe shows come from botocore's model and from output that
users have published.
"""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Clock = Callable[[], float]
"""Returns the time now, in epoch seconds."""

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
_BILLED = frozenset({"Downloading", "Training", "Uploading", "Stopping"})
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
        shown = {
            "Status": self.status,
            "StartTime": self.start,
            "EndTime": self.end,
            "StatusMessage": self.message,
        }
        return {key: value for key, value in shown.items() if value is not None}


@dataclass
class WarmPool:
    """What became of the instances of a job that asked for KeepAlivePeriodInSeconds.

    `available_from` is None while the job holds them; the pool goes at `available_until` at the latest.
    """

    available_from: float | None = None
    available_until: float = math.inf
    reused_by: str | None = None

    def status(self, now: float) -> Literal["InUse", "Available", "Reused", "Terminated"]:
        """Derived, so that no timer has to run for a pool to expire."""
        if self.available_from is None:
            return "InUse"
        if self.reused_by is not None:
            return "Reused"
        return "Available" if now < self.available_until else "Terminated"

    def describe(self, now: float) -> dict[str, Any]:
        """The WarmPoolStatus member of Describe and List; retained time is billed by the second."""
        shown: dict[str, Any] = {"Status": self.status(now)}
        if self.available_from is not None:
            retained = min(now, self.available_until) - self.available_from
            shown["ResourceRetainedBillableTimeInSeconds"] = math.ceil(max(0.0, retained))
        if self.reused_by is not None:
            shown["ReusedByJob"] = self.reused_by
        return shown


@dataclass(eq=False)
class TrainingJob:
    """One CreateTrainingJob request and all that has happened to it.

    Attributes:
        request: the members of the request, defaults filled in (see :func:`with_defaults`).
        arn: TrainingJobArn.
        tags: the job's tags, key to value.
        stop_requested: set once StopTrainingJob was accepted.
        interruptions: what a test ordered to happen to it, in order; taken by whoever runs the job.
        warm_pool: None unless the job asked for a warm pool.
        reuses: the job whose warm instances this one runs on.
        on_end: called in the same instant in which the end becomes visible, so that whoever sees the end also
            sees what follows from it (a warm pool that is available).
    """

    request: dict[str, Any]
    arn: str
    clock: Clock = time.time
    tags: dict[str, str] = field(default_factory=dict)
    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    interruptions: asyncio.Queue[Interruption] = field(default_factory=asyncio.Queue)
    transitions: list[Transition] = field(default_factory=list)
    failure_reason: str | None = None
    warm_pool: WarmPool | None = None
    reuses: str | None = None
    on_end: Callable[[TrainingJob], None] | None = None

    def __post_init__(self) -> None:
        self.created = self.modified = self.clock()
        self.training_started: float | None = None
        self.ended: float | None = None
        self._changed = asyncio.Event()
        if self.request["ResourceConfig"].get("KeepAlivePeriodInSeconds"):
            self.warm_pool = WarmPool()
        self._append("Starting", MESSAGES["Starting"])

    def __repr__(self) -> str:
        return f"<TrainingJob {self.name} {self.status}/{self.secondary_status}>"

    @property
    def name(self) -> str:
        """TrainingJobName."""
        name: str = self.request["TrainingJobName"]
        return name

    @property
    def secondary_status(self) -> str:
        """SecondaryStatus: that of the last transition."""
        return self.transitions[-1].status

    @property
    def status(self) -> str:
        """TrainingJobStatus, derived: a job that was told to stop is Stopping until it has ended."""
        if self.ended is not None:
            return _ENDED_AS[self.secondary_status]
        return "Stopping" if self.stop_requested.is_set() else "InProgress"

    @property
    def instances(self) -> dict[str, int]:
        """Instance type to number of instances."""
        return instances_of(self.request)

    @property
    def spot(self) -> bool:
        """Whether it runs on spot instances."""
        return bool(self.request["EnableManagedSpotTraining"])

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
        """StopTrainingJob was accepted, or the job has run out of time; the one that runs the job ends it."""
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

    async def changed(self) -> None:
        """Wait for the next change of status or message."""
        await self._changed.wait()

    def describe(self, now: float | None = None) -> dict[str, Any]:
        """The DescribeTrainingJob response."""
        now = self.clock() if now is None else now
        shown = {key: value for key, value in self.request.items() if key != "Tags"}
        shown["TrainingJobArn"] = self.arn
        shown["ModelArtifacts"] = {"S3ModelArtifacts": self.model_artifacts}
        shown["SecondaryStatusTransitions"] = [transition.describe() for transition in self.transitions]
        shown["FailureReason"] = self.failure_reason
        shown["TrainingStartTime"] = self.training_started
        shown["ProfilingStatus"] = _profiling_status(self.request)
        shown.update(self._times(now))
        shown.update(self.summary(now))
        return {key: value for key, value in shown.items() if value is not None}

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """The job's entry in ListTrainingJobs."""
        now = self.clock() if now is None else now
        shown = {
            "TrainingJobName": self.name,
            "TrainingJobArn": self.arn,
            "CreationTime": self.created,
            "TrainingEndTime": self.ended,
            "LastModifiedTime": self.modified,
            "TrainingJobStatus": self.status,
            "SecondaryStatus": self.secondary_status,
            "WarmPoolStatus": self.warm_pool and self.warm_pool.describe(now),
            "TrainingPlanArn": self.request["ResourceConfig"].get("TrainingPlanArn"),
        }
        return {key: value for key, value in shown.items() if value is not None}

    @property
    def model_artifacts(self) -> str:
        """S3 URI of what the job uploads from /opt/ml/model: an object, or a prefix if not compressed."""
        output = self.request["OutputDataConfig"]
        name = "model/" if output.get("CompressionType") == "NONE" else "model.tar.gz"
        return f"{output['S3OutputPath'].rstrip('/')}/{self.name}/output/{name}"

    def billable_seconds(self, now: float) -> float | None:
        """Time on instances: launching and waiting for spot capacity are free.  None before there were
        instances.
        """
        if self.training_started is None:
            return None
        since = self.training_started
        return sum(t.seconds(now) for t in self.transitions if t.status in _BILLED and t.start >= since)

    def _times(self, now: float) -> dict[str, Any]:
        """TrainingTimeInSeconds and BillableTimeInSeconds: whole seconds, begun ones counted; only after the
        end.
        """
        billable = self.billable_seconds(now)
        if self.ended is None or billable is None or self.training_started is None:
            return {}
        training = self.ended - self.training_started
        return {"TrainingTimeInSeconds": math.ceil(training), "BillableTimeInSeconds": math.ceil(billable)}

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
        if self.training_started is None and secondary in {"Downloading", "Training"}:
            self.training_started = now
        self._touch(now)

    def _touch(self, now: float) -> None:
        self.modified = now
        # A new event for each change: whoever waited is woken, whoever comes later waits for the next.
        self._changed.set()
        self._changed = asyncio.Event()

    def _require_live(self) -> None:
        if self.ended is not None:
            raise RuntimeError(f"training job {self.name} has already ended as {self.secondary_status}")


def with_defaults(request: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of CreateTrainingJob's members with what the service fills in, as Describe shows it later."""
    full = copy.deepcopy(dict(request))
    for channel in full.get("InputDataConfig", ()):
        channel.setdefault("CompressionType", "None")
        channel.setdefault("RecordWrapperType", "None")
        if "S3DataSource" in channel["DataSource"]:
            channel["DataSource"]["S3DataSource"].setdefault("S3DataDistributionType", "FullyReplicated")
    full["OutputDataConfig"].setdefault("KmsKeyId", "")
    full["OutputDataConfig"].setdefault("CompressionType", "GZIP")
    full["StoppingCondition"].setdefault("MaxRuntimeInSeconds", 86_400)
    full["AlgorithmSpecification"].setdefault("EnableSageMakerMetricsTimeSeries", False)
    if "CheckpointConfig" in full:
        full["CheckpointConfig"].setdefault("LocalPath", "/opt/ml/checkpoints/")
    for flag in (
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
        "EnableManagedSpotTraining",
    ):
        full.setdefault(flag, False)
    return full


def instances_of(request: Mapping[str, Any]) -> dict[str, int]:
    """Instance type to number of instances that a CreateTrainingJob request asks for."""
    resources = request["ResourceConfig"]
    groups = resources.get("InstanceGroups") or [resources]
    counts: dict[str, int] = {}
    for group in groups:
        counts[group["InstanceType"]] = counts.get(group["InstanceType"], 0) + group["InstanceCount"]
    return counts


def _profiling_status(request: Mapping[str, Any]) -> str:
    profiler = request.get("ProfilerConfig")
    return "Enabled" if profiler and not profiler.get("DisableProfiler") else "Disabled"
