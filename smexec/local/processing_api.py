"""The operations on processing jobs."""

from __future__ import annotations

from smexec.local.api import Desk, JobApi, Members, tags_of
from smexec.local.checks import refuse_first
from smexec.local.processing import ProcessingJob, problems, with_defaults


class ProcessingApi(JobApi[ProcessingJob]):
    """The operations on processing jobs."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, ProcessingJob, desk.account.processing)

    def check(self, members: Members) -> list[str]:
        """See :class:`JobApi`."""
        refuse_first(problems(members))
        inputs = [one for one in members.get("ProcessingInputs", ()) if not one.get("AppManaged")]
        return [one["S3Input"]["S3Uri"] for one in inputs]

    def make(self, members: Members, arn: str) -> ProcessingJob:
        """See :class:`JobApi`."""
        return ProcessingJob(with_defaults(members), arn, self._desk.clock, tags=tags_of(members))
