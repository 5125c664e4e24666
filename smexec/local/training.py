"""A training job's record: what CreateTrainingJob fills in, and what Describe and List show."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from smexec.local.jobs import BILLED, Job
from smexec.local.metrics import Metrics
from smexec.local.model import ServiceError
from smexec.local.resources import without_nulls


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
class TrainingJob(Job):
    """One CreateTrainingJob request and all that has happened to it; see also :func:`with_defaults`.

    Attributes:
        warm_pool: None unless the job asked for a warm pool.
        reuses: the job whose warm instances this one runs on.
        metrics: what its definitions have found in the log.
    """

    kind: ClassVar[str] = "TrainingJob"
    noun: ClassVar[str] = "training job"
    unknown: ClassVar[str] = "Requested resource not found."

    warm_pool: WarmPool | None = None
    reuses: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metrics = Metrics(self.request["AlgorithmSpecification"].get("MetricDefinitions", ()))
        if self.resources.get("KeepAlivePeriodInSeconds"):
            self.warm_pool = WarmPool()

    def taken(self) -> ServiceError:
        """See :class:`~smexec.local.resources.Resource`."""
        return ServiceError(
            "ResourceInUse",
            "Training job names must be unique within an AWS account and region, "
            f"and a training job with this name already exists ({self.arn})",
        )

    def matches(self, query: Mapping[str, Any], now: float) -> bool:
        """Warm pools and training plans."""
        if "WarmPoolStatusEquals" in query:
            return self.warm_pool is not None and self.warm_pool.status(now) == query["WarmPoolStatusEquals"]
        plan = query.get("TrainingPlanArnEquals")
        return plan is None or self.resources.get("TrainingPlanArn") == plan

    @property
    def resources(self) -> Mapping[str, Any]:
        """ResourceConfig."""
        resources: Mapping[str, Any] = self.request["ResourceConfig"]
        return resources

    @property
    def spot(self) -> bool:
        """Whether it runs on spot instances."""
        return bool(self.request["EnableManagedSpotTraining"])

    def describe(self, now: float | None = None) -> dict[str, Any]:
        """The DescribeTrainingJob response."""
        now = self.clock() if now is None else now
        members = {
            **super().describe(now),
            "ModelArtifacts": {"S3ModelArtifacts": self.model_artifacts},
            "SecondaryStatusTransitions": [transition.describe() for transition in self.transitions],
            "FinalMetricDataList": self.metrics.final() or None,
            "ProfilingStatus": _profiling_status(self.request),
            **self._times(now),
        }
        return without_nulls(members)

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """The job's entry in ListTrainingJobs."""
        now = self.clock() if now is None else now
        members = {
            **super().summary(now),
            "SecondaryStatus": self.secondary_status,
            "WarmPoolStatus": self.warm_pool and self.warm_pool.describe(now),
            "TrainingPlanArn": self.resources.get("TrainingPlanArn"),
        }
        return without_nulls(members)

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
        if self.started is None:
            return None
        since = self.started
        return sum(t.seconds(now) for t in self.transitions if t.status in BILLED and t.start >= since)

    def _times(self, now: float) -> dict[str, Any]:
        """TrainingTimeInSeconds and BillableTimeInSeconds: whole seconds, begun ones counted; only after the
        end.
        """
        billable = self.billable_seconds(now)
        if self.ended is None or billable is None or self.started is None:
            return {}
        training = self.ended - self.started
        return {"TrainingTimeInSeconds": math.ceil(training), "BillableTimeInSeconds": math.ceil(billable)}


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


def _profiling_status(request: Mapping[str, Any]) -> str:
    profiler = request.get("ProfilerConfig")
    return "Enabled" if profiler and not profiler.get("DisableProfiler") else "Disabled"
