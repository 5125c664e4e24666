"""SageMaker's operations on training jobs: members in, members out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from smexec.local.checks import Preconditions, check_consistency
from smexec.local.config import ServiceConfig
from smexec.local.jobs import Clock, TrainingJob, WarmPool, with_defaults
from smexec.local.limits import WarmPools, check_quotas, holds_instances
from smexec.local.model import ServiceError, invalid, operation_model, parse_request
from smexec.local.store import JobStore, require_deletable

Members = dict[str, Any]
_MAX_TAGS = 50


class TrainingApi:
    """The operations, over the jobs of one account and region.

    Args:
        launch: starts a job that was accepted; returns at once.
        clock: the time, in epoch seconds.
    """

    def __init__(
        self,
        *,
        config: ServiceConfig,
        store: JobStore,
        warm_pools: WarmPools,
        preconditions: Preconditions,
        launch: Callable[[TrainingJob], None],
        clock: Clock,
    ) -> None:
        self._config = config
        self._store = store
        self._warm_pools = warm_pools
        self._preconditions = preconditions
        self._launch = launch
        self._clock = clock
        self._operations: Mapping[str, Callable[[Members], Awaitable[Members | None]]] = {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "ListTrainingJobs": self.list_jobs,
            "StopTrainingJob": self.stop,
            "UpdateTrainingJob": self.update,
            "DeleteTrainingJob": self.delete,
            "AddTags": self.add_tags,
            "ListTags": self.list_tags,
            "DeleteTags": self.delete_tags,
        }

    async def __call__(self, operation: str, body: bytes) -> Members | None:
        """Carry out one request; None where the operation answers nothing.

        Raises:
            ServiceError: what the service answers instead.
        """
        handler = self._operations.get(operation)
        if handler is None:
            operation_model(operation)
            raise ServiceError("NotImplemented", f"The local service has no {operation}.", 501)
        return await handler(parse_request(operation, body))

    async def create(self, members: Members) -> Members:
        """CreateTrainingJob: checks from the cheapest to the dearest, then takes name and quota at once."""
        check_consistency(members)
        arn = training_job_arn(self._config, members["TrainingJobName"])
        self._store.require_free(members["TrainingJobName"], arn)
        await self._preconditions.check(members)
        # Nothing is awaited from here on: of two creates that race for a name or for the last instance, one
        # loses.
        job = TrainingJob(with_defaults(members), arn, self._clock, tags=_tags(members), on_end=self._ended)
        self._store.require_free(job.name, arn)
        check_quotas(job, self._holding(), self._config, job.created)
        self._store.add(job)
        self._launch(job)
        return {"TrainingJobArn": arn}

    async def describe(self, members: Members) -> Members:
        """DescribeTrainingJob."""
        return self._store.get(members["TrainingJobName"]).describe(self._clock())

    async def list_jobs(self, members: Members) -> Members:
        """ListTrainingJobs."""
        return self._store.page(members, self._clock())

    async def stop(self, members: Members) -> None:
        """StopTrainingJob: answers at once; the job is Stopping until it has ended."""
        job = self._store.get(members["TrainingJobName"])
        _require_in_progress(job)
        job.stop()

    async def update(self, members: Members) -> Members:
        """UpdateTrainingJob: profiling and remote debugging of a running job, retention of a warm pool."""
        job = self._store.get(members["TrainingJobName"])
        if set(members) - {"TrainingJobName", "ResourceConfig"}:
            _require_in_progress(job)
        if "ResourceConfig" in members:
            self._set_keep_alive(job, members["ResourceConfig"]["KeepAlivePeriodInSeconds"])
        for name in ("ProfilerConfig", "RemoteDebugConfig"):
            if name in members:
                job.request[name] = {**job.request.get(name, {}), **members[name]}
        if "ProfilerRuleConfigurations" in members:
            job.request["ProfilerRuleConfigurations"] = members["ProfilerRuleConfigurations"]
        return {"TrainingJobArn": job.arn}

    async def delete(self, members: Members) -> None:
        """DeleteTrainingJob."""
        job = self._store.get(members["TrainingJobName"])
        require_deletable(job, self._warm_pools.has(job, self._clock()))
        self._store.delete(job)

    async def add_tags(self, members: Members) -> Members:
        """AddTags: a key that is there gets the new value; answers with the tags that were added."""
        job = self._store.by_arn(members["ResourceArn"])
        tags = {**job.tags, **_tags(members)}
        if len(tags) > _MAX_TAGS:
            raise invalid(f"The resource {job.arn} can have at most {_MAX_TAGS} tags.")
        job.tags = tags
        return {"Tags": members["Tags"]}

    async def list_tags(self, members: Members) -> Members:
        """ListTags: all of them at once, since a page holds 50 and a job has no more."""
        job = self._store.by_arn(members["ResourceArn"])
        return {"Tags": [{"Key": key, "Value": value} for key, value in job.tags.items()]}

    async def delete_tags(self, members: Members) -> Members:
        """DeleteTags: keys that are not there are no error."""
        job = self._store.by_arn(members["ResourceArn"])
        job.tags = {key: value for key, value in job.tags.items() if key not in members["TagKeys"]}
        return {}

    def _set_keep_alive(self, job: TrainingJob, seconds: int) -> None:
        if job.ended is not None and not self._warm_pools.has(job, self._clock()):
            raise invalid(
                f"The training job {job.name} has no warm pool that could be kept longer or shorter."
            )
        if job.warm_pool is None:
            job.warm_pool = WarmPool()
        self._warm_pools.set_keep_alive(job, seconds)

    def _holding(self) -> list[TrainingJob]:
        now = self._clock()
        return self._store.holding(lambda job: holds_instances(job, self._config, now))

    def _ended(self, job: TrainingJob) -> None:
        self._warm_pools.keep(job, self._clock())


def training_job_arn(config: ServiceConfig, name: str) -> str:
    """The ARN of a job; the service writes names in lower case there."""
    place = f"arn:{partition(config.region)}:sagemaker:{config.region}:{config.account}"
    return f"{place}:training-job/{name.lower()}"


def partition(region: str) -> str:
    """The AWS partition that a region is in."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _require_in_progress(job: TrainingJob) -> None:
    if job.status != "InProgress":
        raise invalid(f"The request was rejected because the training job is in status {job.status}.")


def _tags(members: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in members.get("Tags", ())}
