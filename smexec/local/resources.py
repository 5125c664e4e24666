"""What all that an account has in SageMaker have in common: a name, an ARN, tags, and times."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from smexec.local.model import ServiceError, invalid

Clock = Callable[[], float]
"""Returns the time now, in epoch seconds."""


@dataclass(eq=False)
class Resource:
    """One Create… request that was accepted.

    Attributes:
        kind: as the names of members begin, ``TrainingJob`` for TrainingJobName.
        noun: how texts call it.
        unknown: what the service says of a name that it has not.
        request: the members of the request, defaults filled in.
        tags: key to value.
        created, modified: epoch seconds.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]
    unknown: ClassVar[str] = 'Could not find {noun} "{arn}".'

    request: dict[str, Any]
    arn: str
    clock: Clock = time.time
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.created = self.modified = self.clock()
        self._changed = asyncio.Event()

    @property
    def name(self) -> str:
        """TrainingJobName, ModelName, …"""
        name: str = self.request[f"{self.kind}Name"]
        return name

    @property
    def status(self) -> str:
        """What a list can be filtered by; empty for what has no status."""
        return ""

    @classmethod
    def arn_type(cls) -> str:
        """As its ARNs have it: ``training-job``."""
        return re.sub(r"\B(?=[A-Z])", "-", cls.kind).lower()

    @classmethod
    def listed(cls) -> str:
        """The member of the List… response that holds the entries."""
        return f"{cls.kind}s"

    def taken(self) -> ServiceError:
        """What the service says when another one wants this name."""
        return invalid(f'Cannot create already existing {self.noun} "{self.arn}".')

    def matches(self, query: Mapping[str, Any], now: float) -> bool:  # noqa: ARG002  (warm pools need it)
        """Whether it fits the filters that only the List… operation of its kind has."""
        return True

    def describe(self, now: float | None = None) -> dict[str, Any]:
        """The Describe… response."""
        members = {key: value for key, value in self.request.items() if key != "Tags"}
        return {**members, **self.summary(now)}

    def summary(self, now: float | None = None) -> dict[str, Any]:  # noqa: ARG002  (warm pools need it)
        """The entry in the List… response."""
        return {
            f"{self.kind}Name": self.name,
            f"{self.kind}Arn": self.arn,
            "CreationTime": self.created,
        }

    async def changed(self) -> None:
        """Wait for the next change of status or message."""
        await self._changed.wait()

    def _touch(self, now: float) -> None:
        self.modified = now
        # A new event for each change: whoever waited is woken, whoever comes later waits for the next.
        self._changed.set()
        self._changed = asyncio.Event()


def without_nulls(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that have a value."""
    return {key: value for key, value in members.items() if value is not None}
