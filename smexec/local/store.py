"""The jobs of the account, and ListTrainingJobs with its oddities."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from smexec.local.jobs import TERMINAL, TrainingJob
from smexec.local.model import ServiceError, invalid

DEFAULT_MAX_RESULTS = 10

_SortKey = tuple[Any, str]


class JobStore:
    """All jobs by name.  Names are taken for ever, until DeleteTrainingJob."""

    def __init__(self) -> None:
        self._jobs: dict[str, TrainingJob] = {}
        self._live: dict[str, TrainingJob] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[TrainingJob]:
        return iter(tuple(self._jobs.values()))

    def require_free(self, name: str, arn: str) -> None:
        """Refuse a name that is taken.

        Raises:
            ServiceError: ResourceInUse.
        """
        if name in self._jobs:
            raise ServiceError(
                "ResourceInUse",
                "Training job names must be unique within an AWS account and region, "
                f"and a training job with this name already exists ({arn})",
            )

    def add(self, job: TrainingJob) -> None:
        """Take a job in, if its name is free."""
        self.require_free(job.name, job.arn)
        self._jobs[job.name] = self._live[job.name] = job

    def get(self, name: str) -> TrainingJob:
        """The job of that name.

        Raises:
            ServiceError: ValidationException, which is what the service says of unknown names.
        """
        job = self._jobs.get(name)
        if job is None:
            raise invalid("Requested resource not found.")
        return job

    def by_arn(self, arn: str) -> TrainingJob:
        """The job that a tag operation names."""
        for job in self._jobs.values():
            if job.arn == arn:
                return job
        raise invalid("Requested resource not found.")

    def delete(self, job: TrainingJob) -> None:
        """Forget an ended job; its name is free again."""
        del self._jobs[job.name]
        self._live.pop(job.name, None)

    def holding(self, still_holds: Callable[[TrainingJob], bool]) -> list[TrainingJob]:
        """The jobs that may hold instances; those for which `still_holds` says no are not looked at again.

        An account has few such jobs however many it has run, so that a create costs the same in a long
        session.
        """
        self._live = {name: job for name, job in self._live.items() if still_holds(job)}
        return list(self._live.values())

    def page(self, query: Mapping[str, Any], now: float) -> dict[str, Any]:
        """One ListTrainingJobs response.

        NameContains, CreationTime* and the pool and plan filters choose the jobs; then the page is cut; then
        StatusEquals and LastModifiedTime* are applied, so that a page can be empty and have a NextToken.
        """
        sort_key = _sort_key(query.get("SortBy", "CreationTime"))
        descending = query.get("SortOrder", "Descending") == "Descending"
        jobs = sorted(
            (job for job in self._jobs.values() if _chosen(job, query, now)), key=sort_key, reverse=descending
        )
        if "NextToken" in query:
            jobs = _after(_read_token(query["NextToken"]), jobs, sort_key, descending)
        size = query.get("MaxResults", DEFAULT_MAX_RESULTS)
        page, rest = jobs[:size], jobs[size:]
        answer: dict[str, Any] = {
            "TrainingJobSummaries": [job.summary(now) for job in page if _shown(job, query)]
        }
        if rest:
            answer["NextToken"] = _token(sort_key(page[-1]))
        return answer


def _chosen(job: TrainingJob, query: Mapping[str, Any], now: float) -> bool:
    """The filters that the service applies before it cuts a page."""
    if query.get("NameContains", "") not in job.name:
        return False
    if not _within(job.created, query, "CreationTime"):
        return False
    if "WarmPoolStatusEquals" in query:
        return job.warm_pool is not None and job.warm_pool.status(now) == query["WarmPoolStatusEquals"]
    plan = query.get("TrainingPlanArnEquals")
    return plan is None or job.request["ResourceConfig"].get("TrainingPlanArn") == plan


def _shown(job: TrainingJob, query: Mapping[str, Any]) -> bool:
    """The filters that the service applies to the page it has cut."""
    return query.get("StatusEquals", job.status) == job.status and _within(
        job.modified, query, "LastModifiedTime"
    )


def _within(moment: float, query: Mapping[str, Any], name: str) -> bool:
    after, before = query.get(f"{name}After"), query.get(f"{name}Before")
    return (after is None or moment > after) and (before is None or moment < before)


_SORT_KEYS: Mapping[str, Callable[[TrainingJob], Any]] = {
    "Name": lambda job: job.name,
    "CreationTime": lambda job: job.created,
    "Status": lambda job: job.status,
}


def _sort_key(sort_by: str) -> Callable[[TrainingJob], _SortKey]:
    """The name breaks ties, so that a token points at one place."""
    key = _SORT_KEYS[sort_by]
    return lambda job: (key(job), job.name)


def _after(
    last: _SortKey, jobs: list[TrainingJob], key: Callable[[TrainingJob], _SortKey], descending: bool
) -> list[TrainingJob]:
    """The jobs behind the last page's end, which is a place in the order: jobs may come or go meanwhile."""
    try:
        return [job for job in jobs if (key(job) < last if descending else key(job) > last)]
    except TypeError:
        raise _bad_token() from None


def _token(last: _SortKey) -> str:
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def _read_token(token: str) -> _SortKey:
    try:
        key, name = json.loads(base64.urlsafe_b64decode(token))
    except (TypeError, ValueError):
        raise _bad_token() from None
    return key, name


def _bad_token() -> ServiceError:
    return invalid(
        "Invalid NextToken. Use the value of NextToken in the previous response with the same parameters."
    )


def require_deletable(job: TrainingJob, pool_available: bool) -> None:
    """DeleteTrainingJob takes ended jobs that keep no warm pool.

    Raises:
        ServiceError: ResourceInUse.
    """
    if job.status not in TERMINAL:
        raise ServiceError(
            "ResourceInUse", f"The training job {job.name} is in status {job.status} and can't be deleted."
        )
    if pool_available:
        raise ServiceError(
            "ResourceInUse",
            f"The training job {job.name} retains an Available warm pool and can't be deleted.",
        )
