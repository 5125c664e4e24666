"""CodeBuild's projects and builds: their records, and the only place that writes a build's statuses."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smexec.local.resources import Clock, without_nulls

IN_PROGRESS = "IN_PROGRESS"
_MINUTES = 60
_QUEUED_MINUTES = 480


@dataclass
class Project:
    """One CreateProject request that was accepted."""

    request: Mapping[str, Any]
    arn: str
    created: float
    builds: list[Build] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name."""
        name: str = self.request["name"]
        return name

    def describe(self) -> dict[str, Any]:
        """As CreateProject and BatchGetProjects show it."""
        times = {"created": self.created, "lastModified": self.created}
        limits = {"timeoutInMinutes": _MINUTES, "queuedTimeoutInMinutes": _QUEUED_MINUTES}
        return {**limits, **self.request, "arn": self.arn, **times}


@dataclass
class BuildPhase:
    """One entry of a build's phases; what ended it badly is in its contexts."""

    name: str
    start: float
    status: str | None = None
    end: float | None = None
    contexts: list[dict[str, str]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """As BatchGetBuilds shows it."""
        duration = None if self.end is None else int(self.end - self.start)
        members = {
            "phaseType": self.name,
            "phaseStatus": self.status,
            "startTime": self.start,
            "endTime": self.end,
            "durationInSeconds": duration,
            "contexts": self.contexts or None,
        }
        return without_nulls(members)


@dataclass(eq=False)
class Build:
    """One StartBuild request and all that has happened to it.

    Attributes:
        request: of its project, with what StartBuild puts in the place of that.
        number: of the project's builds.
        stop_requested: set once the request to stop it was accepted.
        ended: when it was over.
    """

    request: Mapping[str, Any]
    place: str
    number: int
    clock: Clock
    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    phases: list[BuildPhase] = field(default_factory=list)
    status: str = IN_PROGRESS
    ended: float | None = None

    def __post_init__(self) -> None:
        self.uuid = str(uuid.uuid4())
        self.enter("SUBMITTED")
        self.enter("QUEUED")

    @property
    def project(self) -> str:
        """Its project's name."""
        name: str = self.request["name"]
        return name

    @property
    def id(self) -> str:
        """Project and a number of its own."""
        return f"{self.project}:{self.uuid}"

    @property
    def log(self) -> tuple[str, str]:
        """Group and stream in CloudWatch."""
        wanted = self.request.get("logsConfig", {}).get("cloudWatchLogs", {})
        stream = f"{wanted['streamName']}/{self.uuid}" if "streamName" in wanted else self.uuid
        return wanted.get("groupName", f"/aws/codebuild/{self.project}"), stream

    def enter(self, phase: str) -> BuildPhase:
        """Go on to the next phase; the one before has succeeded unless it was said to have failed."""
        now = self.clock()
        if self.phases:
            last = self.phases[-1]
            last.end = now
            last.status = last.status or "SUCCEEDED"
        self.phases.append(BuildPhase(phase, now))
        return self.phases[-1]

    def fail_phase(self, code: str, message: str, status: str = "FAILED") -> None:
        """The phase that it is in ends badly."""
        self.phases[-1].status = status
        self.phases[-1].contexts.append({"statusCode": code, "message": message})

    def complete(self, status: str) -> None:
        """It is over."""
        self.enter("COMPLETED")
        self.status, self.ended = status, self.clock()

    def describe(self) -> dict[str, Any]:
        """As BatchGetBuilds shows it."""
        shown = ("source", "artifacts", "environment", "serviceRole", "vpcConfig", "cache", "encryptionKey")
        members = {
            **{name: self.request.get(name) for name in shown},
            "id": self.id,
            "arn": f"{self.place}:build/{self.id}",
            "projectName": self.project,
            "buildNumber": self.number,
            "startTime": self.phases[0].start,
            "endTime": self.ended,
            "currentPhase": self.phases[-1].name,
            "buildStatus": self.status,
            "buildComplete": self.ended is not None,
            "phases": [phase.describe() for phase in self.phases],
            "logs": self._logs(),
            "timeoutInMinutes": self.request.get("timeoutInMinutes", _MINUTES),
            "queuedTimeoutInMinutes": self.request.get("queuedTimeoutInMinutes", _QUEUED_MINUTES),
            "initiator": "local",
        }
        return without_nulls(members)

    def _logs(self) -> dict[str, Any]:
        group, stream = self.log
        return {"groupName": group, "streamName": stream, "cloudWatchLogs": {"status": "ENABLED"}}
