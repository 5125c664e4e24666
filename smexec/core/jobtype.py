"""What the service runs for a call, and what it calls the operations and members of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smexec.core.lifecycle import Phase


@dataclass(frozen=True)
class JobType:
    """One of the kinds of job that SageMaker has; an endpoint's coming into service is one, too.

    Source of the names: botocore's model of the service.

    :ivar noun: in the names of operations and members: ``CreateTrainingJob``, ``TrainingJobName``
    :ivar summaries: the member of List's answer that has them
    :ivar log_group: of CloudWatch, for all of them
    :ivar stopping: the operation that ends it; None: it comes to its end whether that is wanted or not
    :ivar ended: statuses that last
    :ivar lasts: having begun well it goes on until it is deleted, as does the use that it makes of a quota
    """

    noun: str
    summaries: str
    log_group: str
    stopping: str | None
    ended: frozenset[str] = frozenset({"Completed", "Failed", "Stopped"})
    lasts: bool = False

    @property
    def name(self) -> str:
        """The member that has its name."""
        return f"{self.noun}Name"

    @property
    def status(self) -> str:
        """The member that has its status."""
        return f"{self.noun}Status"

    @property
    def describing(self) -> str:
        """The operation that tells all of one."""
        return f"Describe{self.noun}"

    @property
    def listing(self) -> str:
        """The operation that tells a little of many."""
        return f"List{self.noun}s"

    def log(self, name: str) -> tuple[str, str]:
        """Where one writes: the log group, and how names of its streams begin."""
        return self.log_group, f"{name}/"

    def phase(self, answer: Mapping[str, Any]) -> Phase:
        """How far it has come, by a summary or a description."""
        status, secondary = answer[self.status], answer.get("SecondaryStatus")
        if status in self.ended:
            return Phase.ENDED
        if secondary == "Training":
            return Phase.RUNNING
        return Phase.STARTING if status == "InProgress" else Phase.OTHER


def _job(noun: str) -> JobType:
    return JobType(noun, f"{noun}Summaries", f"/aws/sagemaker/{noun}s", f"Stop{noun}")


TRAINING = _job("TrainingJob")
PROCESSING = _job("ProcessingJob")
TRANSFORM = _job("TransformJob")


class _Endpoint(JobType):
    def log(self, name: str) -> tuple[str, str]:
        """Each has a group of its own, with a stream for each instance."""
        return f"{self.log_group}/{name}", ""


ENDPOINT = _Endpoint(
    "Endpoint",
    "Endpoints",
    "/aws/sagemaker/Endpoints",
    "DeleteEndpoint",
    frozenset({"InService", "OutOfService", "Failed", "UpdateRollbackFailed"}),
    lasts=True,
)
#: An endpoint's change, which ends as its creation does. To stop that would be to delete what is in service.
UPDATE = dataclasses.replace(ENDPOINT, stopping=None)
