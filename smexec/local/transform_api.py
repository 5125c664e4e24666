"""The operations on transform jobs."""

from __future__ import annotations

from smexec.local.api import Desk, JobApi, Members, tags_of
from smexec.local.checks import refuse_first
from smexec.local.transform import TransformJob, model_problems, problems, with_defaults


class TransformApi(JobApi[TransformJob]):
    """The operations on transform jobs."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, TransformJob, desk.account.transform)

    def check(self, members: Members) -> list[str]:
        """See :class:`JobApi`."""
        refuse_first(problems(members))
        refuse_first(model_problems(self._desk.account.models.get(members["ModelName"])))
        return [members["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]]

    def role(self, members: Members) -> str:
        """The model's."""
        role: str = self._desk.account.models.get(members["ModelName"]).request["ExecutionRoleArn"]
        return role

    def make(self, members: Members, arn: str) -> TransformJob:
        """See :class:`JobApi`."""
        model = self._desk.account.models.get(members["ModelName"])
        return TransformJob(with_defaults(members), arn, self._desk.clock, tags=tags_of(members), model=model)
