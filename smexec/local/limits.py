"""What an account may do: rates per API, instances per type, and the warm pools it keeps.

All of it is pure: the time comes in, decisions and errors come out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from smexec.local.config import UNLIMITED, ServiceConfig
from smexec.local.jobs import Job
from smexec.local.model import ServiceError
from smexec.local.training import TrainingJob


@dataclass
class TokenBucket:
    """`rate` requests a second on average, `burst` at once; the common form of AWS's throttling."""

    rate: float
    burst: float
    tokens: float
    filled: float

    @classmethod
    def full(cls, rate: float, now: float) -> TokenBucket:
        """A bucket that has been idle: it holds a second's worth of requests, and one at the least."""
        burst = max(1.0, rate)
        return cls(rate, burst, burst, now)

    def take(self, now: float) -> bool:
        """Whether a request at `now` is allowed; one that is refused costs nothing."""
        elapsed = max(0.0, now - self.filled)
        self.tokens = min(self.burst, self.tokens + elapsed * self.rate)
        self.filled = max(now, self.filled)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Rates:
    """A bucket for each API that has a rate, over all clients of the account."""

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._buckets: dict[str, TokenBucket] = {}

    def allow(self, name: str, now: float) -> bool:
        """Whether the API `name` takes a request now; `now` in seconds of any steady clock."""
        rate = self._config.rates.get(name)
        if rate is None or rate < 0:
            return True
        bucket = self._buckets.get(name)
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[name] = TokenBucket.full(rate, now)
        return bucket.take(now)


def _limit(quotas: Mapping[str, int], instance_type: str) -> int:
    return quotas.get(instance_type, quotas.get("*", UNLIMITED))


def _limit_exceeded(name: str, limit: int, used: int, delta: int, unit: str = "Instances") -> ServiceError:
    return ServiceError(
        "ResourceLimitExceeded",
        f"The account-level service limit '{name}' is {limit} {unit}, "
        f"with current utilization of {used} {unit} and a request delta of {delta} {unit}. "
        "Please use AWS Service Quotas to request an increase for this quota. "
        "If AWS Service Quotas is not available, contact AWS support to request an increase for this quota.",
    )


def check_quotas(job: Job, others: Iterable[Job], config: ServiceConfig, now: float) -> None:
    """Refuse a job that the account has no quota for; `others` are those that may still hold instances.

    Raises:
        ServiceError: ResourceLimitExceeded, at once: the service does not queue.
    """
    _check_runtime(job, config)
    quotas: Mapping[str, int] = getattr(config, job.quotas)
    holding = [other for other in others if holds_instances(other, config, now)]
    alike = [other.instances for other in holding if other.spot == job.spot]
    usage = f"{'spot ' if job.spot else ''}{job.noun} usage"
    _check_types(job.instances, total(alike), config.spot_quotas if job.spot else quotas, usage)
    everything = total(other.instances for other in holding)
    _check_total(job.instances, everything, quotas, f"Number of instances across all {job.noun}s")


def check_endpoint_quotas(wanted: Mapping[str, int], used: Mapping[str, int], config: ServiceConfig) -> None:
    """Refuse instances of endpoints, by type, that the account has no quota for beside those in use.

    Raises:
        ServiceError: ResourceLimitExceeded.
    """
    _check_types(wanted, used, config.endpoint_quotas, "endpoint usage")
    _check_total(wanted, used, config.endpoint_quotas, "Number of instances across active endpoints")


def total(instances: Iterable[Mapping[str, int]]) -> Counter[str]:
    """All of them together, by type."""
    return sum(map(Counter, instances), Counter())


def _check_types(
    wanted: Mapping[str, int], used: Mapping[str, int], quotas: Mapping[str, int], usage: str
) -> None:
    for instance_type, delta in wanted.items():
        limit, present = _limit(quotas, instance_type), used.get(instance_type, 0)
        if limit != UNLIMITED and present + delta > limit:
            raise _limit_exceeded(f"{instance_type} for {usage}", limit, present, delta)


def _check_total(
    wanted: Mapping[str, int], used: Mapping[str, int], quotas: Mapping[str, int], name: str
) -> None:
    limit, present, delta = quotas.get("total", UNLIMITED), sum(used.values()), sum(wanted.values())
    if limit != UNLIMITED and present + delta > limit:
        raise _limit_exceeded(name, limit, present, delta)


def holds_instances(job: Job, config: ServiceConfig, now: float) -> bool:
    """Whether the job's instances count: while it lives, and for a while after it was stopped."""
    if job.ended is None:
        return True
    return job.status == "Stopped" and now < job.ended + config.release_delay


def _check_runtime(job: Job, config: ServiceConfig) -> None:
    wanted, limit = job.max_runtime, config.max_runtime_quota
    if limit != UNLIMITED and wanted > limit:
        raise _limit_exceeded(f"Longest run time for a {job.noun}", limit, 0, wanted, "Seconds")


class WarmPools:
    """The instances that ended jobs have left for the next that fits, oldest pool first."""

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._kept: list[TrainingJob] = []

    def keep(self, job: TrainingJob, now: float) -> None:
        """A job has ended: keep its instances if it asked for that and the quota has room, else let them go.

        The quota missing is no error: the pool is then silently not kept.  Jobs that never got instances
        leave none.
        """
        if job.warm_pool is None or job.warm_pool.available_from is not None:
            return
        keep_alive = job.request["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
        fits = job.started is not None and self._has_room(job, now)
        job.warm_pool.available_from = now
        job.warm_pool.available_until = now + (keep_alive if fits else 0)
        if fits:
            self._kept.append(job)

    def take(self, job: TrainingJob, now: float) -> TrainingJob | None:
        """The ended job whose instances `job` takes over, now marked as reused; None when it has to start
        cold.
        """
        fitting = _pool_key(job)
        for former in self._available(now):
            if fitting is not None and _pool_key(former) == fitting and former.warm_pool is not None:
                former.warm_pool.available_until = now
                former.warm_pool.reused_by = job.name
                job.reuses = former.name
                return former
        return None

    def has(self, job: TrainingJob, now: float) -> bool:
        """Whether the job's instances are waiting for another job."""
        return any(former is job for former in self._available(now))

    def set_keep_alive(self, job: TrainingJob, seconds: int) -> None:
        """UpdateTrainingJob: a new retention, which counts from the end of the job."""
        job.request["ResourceConfig"]["KeepAlivePeriodInSeconds"] = seconds
        if job.warm_pool is not None and job.warm_pool.available_from is not None:
            job.warm_pool.available_until = job.warm_pool.available_from + seconds

    def _available(self, now: float) -> Iterator[TrainingJob]:
        self._kept = [job for job in self._kept if job.warm_pool and job.warm_pool.status(now) == "Available"]
        yield from tuple(self._kept)

    def _has_room(self, job: TrainingJob, now: float) -> bool:
        for instance_type, wanted in job.instances.items():
            limit = _limit(self._config.warm_pool_quotas, instance_type)
            used = sum(former.instances.get(instance_type, 0) for former in self._available(now))
            if limit != UNLIMITED and used + wanted > limit:
                return False
        return True


def _pool_key(job: TrainingJob) -> object | None:
    """What two jobs must agree in to share a pool; None for jobs that never can (spot, instance groups).

    Source: the developer guide on warm pools.  The image is not in the list.
    """
    request, resources = job.request, job.request["ResourceConfig"]
    if job.spot or resources.get("InstanceGroups"):
        return None
    vpc = request.get("VpcConfig", {})
    return (
        request["RoleArn"],
        job.instances,
        resources["VolumeSizeInGB"],
        resources.get("VolumeKmsKeyId"),
        sorted(vpc.get("SecurityGroupIds", ())),
        sorted(vpc.get("Subnets", ())),
        request["EnableInterContainerTrafficEncryption"],
        request["EnableNetworkIsolation"],
    )


def take_capacity_error(job: Job, config: ServiceConfig) -> bool:
    """Whether there is no capacity for this job; uses up one of the ordered capacity errors of its instance
    types.
    """
    for instance_type in job.instances:
        left = config.capacity_errors.get(instance_type, 0)
        if left:
            if left != UNLIMITED:
                config.capacity_errors[instance_type] = left - 1
            return True
    return False
