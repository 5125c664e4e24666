"""Which machine a flight tries, and whether a job that failed is followed by another."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from smexec.core.jobtype import TRAINING, JobType
from smexec.core.settings import Settings
from smexec.errors import CapacityError, InternalServerError, QuotaExceeded, SmexecError

SCARCE = 300.0  # seconds for which others try a machine last that AWS had none of


class Machine(NamedTuple):
    """What a job is started on: there is capacity of it or none, and a quota that allows it or not.

    :ivar instances: how many for one job
    :ivar type: of the job: each has capacity and quotas of its own
    """

    instance_type: str
    spot: bool
    instances: int
    type: JobType = TRAINING


def machines(settings: Settings, job: JobType = TRAINING) -> tuple[Machine, ...]:
    """Those that the settings allow, in their order."""
    spot, instances = settings.use_spot_instances, settings.instance_count
    return tuple(Machine(name, spot, instances, job) for name in settings.instance_type)


class Market:
    """What a run has learnt of machines."""

    def __init__(self) -> None:
        self._scarce_until: dict[Machine, float] = {}

    def refused(self, machine: Machine, error: SmexecError, now: float) -> None:
        """A flight ended with this error. A quota that is too small stays so; capacity comes again."""
        if isinstance(error, QuotaExceeded):
            self._scarce_until[machine] = math.inf
        elif isinstance(error, CapacityError):
            self._scarce_until[machine] = now + SCARCE

    def best(self, choice: Sequence[Machine], now: float) -> Machine:
        """The one to try first. What is known not to be had comes last, not never: it may have changed."""
        return min(choice, key=lambda machine: self._rank(machine, now))

    def _rank(self, machine: Machine, now: float) -> int:
        until = self._scarce_until.get(machine, now)
        return 0 if until <= now else 1 if until < math.inf else 2


@dataclass(frozen=True)
class Trail:
    """What has become of the jobs of one batch so far.

    :ivar left: machines that it has not been refused
    :ivar repeats: how often the service may still fail a job of it
    :ivar refusals: what was said of the other machines
    """

    left: tuple[Machine, ...]
    repeats: int
    refusals: tuple[str, ...] = ()

    @classmethod
    def begin(cls, settings: Settings, job: JobType = TRAINING) -> Trail:
        """Before the first job. If the service is told to start a job again itself, we do not."""
        return cls(machines(settings, job), repeats=1 if settings.max_retry_attempts is None else 0)

    def after(self, machine: Machine, error: SmexecError) -> Trail | None:
        """Before the next job; None if there is none, after a job on this machine that ended so."""
        if isinstance(error, CapacityError | QuotaExceeded) and self.left != (machine,):
            left = tuple(other for other in self.left if other != machine)
            return replace(self, left=left, refusals=(*self.refusals, _said(machine, error)))
        if isinstance(error, InternalServerError) and self.repeats:
            return replace(self, repeats=self.repeats - 1)
        return None

    def verdict(self, machine: Machine, error: SmexecError) -> SmexecError:
        """The last error, with what was said of all machines if none of several could be had."""
        if not (self.refusals and isinstance(error, CapacityError | QuotaExceeded)):
            return error
        told = copy.copy(error)
        told.__cause__ = error.__cause__
        lines = "".join(f"\n  {said}" for said in (*self.refusals, _said(machine, error)))
        told.args = (f"none of the instance types can be had:{lines}",)
        return told


def _said(machine: Machine, error: SmexecError) -> str:
    return f"{machine.instance_type}: {error.args[0]}"
