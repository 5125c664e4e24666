"""What the operations on training jobs have beyond those on other jobs: warm pools, and UpdateTrainingJob."""

from __future__ import annotations

from smexec.local.api import Desk, JobApi, Members, Operations, require_in_progress, tags_of
from smexec.local.checks import check_consistency
from smexec.local.limits import WarmPools
from smexec.local.model import invalid
from smexec.local.store import require_deletable
from smexec.local.training import TrainingJob, WarmPool, with_defaults


class TrainingApi(JobApi[TrainingJob]):
    """The operations on training jobs."""

    def __init__(self, desk: Desk, warm_pools: WarmPools) -> None:
        super().__init__(desk, TrainingJob, desk.account.training)
        self._warm_pools = warm_pools

    @property
    def operations(self) -> Operations:
        """See :class:`JobApi`."""
        return {**super().operations, "UpdateTrainingJob": self.update}

    def check(self, members: Members) -> list[str]:
        """See :class:`JobApi`."""
        check_consistency(members)
        sources = [channel["DataSource"] for channel in members.get("InputDataConfig", ())]
        return [source["S3DataSource"]["S3Uri"] for source in sources if "S3DataSource" in source]

    def make(self, members: Members, arn: str) -> TrainingJob:
        """See :class:`JobApi`."""
        clock = self._desk.clock
        return TrainingJob(with_defaults(members), arn, clock, tags=tags_of(members), on_end=self._ended)

    async def update(self, members: Members) -> Members:
        """UpdateTrainingJob: profiling and remote debugging of a running job, retention of a warm pool."""
        job = self.get(members)
        if set(members) - {"TrainingJobName", "ResourceConfig"}:
            require_in_progress(job)
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
        job = self.get(members)
        require_deletable(job, self._warm_pools.has(job, self._desk.clock()))
        self._store.delete(job)

    def _set_keep_alive(self, job: TrainingJob, seconds: int) -> None:
        if job.ended is not None and not self._warm_pools.has(job, self._desk.clock()):
            raise invalid(
                f"The training job {job.name} has no warm pool that could be kept longer or shorter."
            )
        if job.warm_pool is None:
            job.warm_pool = WarmPool()
        self._warm_pools.set_keep_alive(job, seconds)

    def _ended(self, job: TrainingJob) -> None:
        self._warm_pools.keep(job, self._desk.clock())
