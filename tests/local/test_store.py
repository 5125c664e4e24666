from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.local.model import ServiceError
from smexec.local.store import JobStore, require_deletable
from smexec.local.training import TrainingJob, with_defaults


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


PLACE = "arn:aws:sagemaker:us-east-1:123456789012"
Jobs = JobStore[TrainingJob]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Jobs:
    return JobStore(TrainingJob, PLACE)


def add(store: Jobs, clock: Clock, name: str, **resources: Any) -> TrainingJob:
    request = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::123456789012:role/Execution",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 1,
            **resources,
        },
        "StoppingCondition": {},
    }
    job = TrainingJob(with_defaults(request), f"arn:{name}", clock)
    store.add(job)
    return job


def names(page: dict[str, Any]) -> list[str]:
    return [summary["TrainingJobName"] for summary in page["TrainingJobSummaries"]]


def everything(store: Jobs, **query: Any) -> list[list[str]]:
    """The names on each page."""
    pages: list[list[str]] = []
    token: dict[str, str] = {}
    while True:
        page = store.page({**query, **token}, 1e6)
        pages.append(names(page))
        if "NextToken" not in page:
            return pages
        token = {"NextToken": page["NextToken"]}


@pytest.fixture
def five(store: Jobs, clock: Clock) -> list[TrainingJob]:
    """Jobs a to e, created at 1 to 5."""
    jobs = []
    for name in "abcde":
        clock.now += 1
        jobs.append(add(store, clock, name))
    return jobs


@pytest.mark.usefixtures("five")
def test_the_newest_job_comes_first(store: Jobs) -> None:
    assert everything(store) == [["e", "d", "c", "b", "a"]]


@pytest.mark.usefixtures("five")
def test_pages_follow_each_other(store: Jobs) -> None:
    assert everything(store, MaxResults=2) == [["e", "d"], ["c", "b"], ["a"]]
    assert everything(store, MaxResults=2, SortOrder="Ascending") == [["a", "b"], ["c", "d"], ["e"]]
    assert everything(store, MaxResults=5) == [["e", "d", "c", "b", "a"]]


def test_a_page_has_ten_jobs_unless_told_otherwise(store: Jobs, clock: Clock) -> None:
    for number in range(11):
        add(store, clock, f"job{number}")
    assert [len(page) for page in everything(store)] == [10, 1]


def test_sorting_by_name_and_status(store: Jobs, five: list[TrainingJob]) -> None:
    five[1].complete()
    five[3].fail("x")
    assert everything(store, SortBy="Name", SortOrder="Ascending") == [list("abcde")]
    assert everything(store, SortBy="Status", SortOrder="Ascending", MaxResults=2) == [
        ["b", "d"],
        ["a", "c"],
        ["e"],
    ]


def test_a_status_is_looked_for_only_on_the_page_that_was_cut(store: Jobs, five: list[TrainingJob]) -> None:
    five[0].complete()
    assert everything(store, MaxResults=2, StatusEquals="Completed") == [[], [], ["a"]]


def test_times_of_change_are_looked_at_after_the_cut_as_well(
    store: Jobs, clock: Clock, five: list[TrainingJob]
) -> None:
    clock.now = 10.0
    five[2].enter("Training")
    assert everything(store, MaxResults=2, LastModifiedTimeAfter=9.0) == [[], ["c"], []]
    assert everything(store, MaxResults=2, LastModifiedTimeBefore=9.0) == [["e", "d"], ["b"], ["a"]]
    assert everything(store, MaxResults=2, LastModifiedTimeAfter=1e9) == [[], [], []]


@pytest.mark.usefixtures("five")
def test_names_and_times_of_creation_choose_before_the_cut(store: Jobs, clock: Clock) -> None:
    add(store, clock, "run-7-job")
    assert everything(store, NameContains="run-7", MaxResults=1) == [["run-7-job"]]
    assert everything(store, CreationTimeAfter=2.0, CreationTimeBefore=5.0, MaxResults=1) == [["d"], ["c"]]


def test_warm_pools_can_be_asked_for(store: Jobs, clock: Clock) -> None:
    add(store, clock, "cold")
    warm = add(store, clock, "warm", KeepAlivePeriodInSeconds=60)
    assert everything(store, WarmPoolStatusEquals="InUse") == [["warm"]]
    assert warm.warm_pool is not None
    warm.warm_pool.available_from, warm.warm_pool.available_until = 0.0, 1e9
    assert everything(store, WarmPoolStatusEquals="Available") == [["warm"]]
    assert everything(store, WarmPoolStatusEquals="InUse") == [[]]


@pytest.mark.usefixtures("five")
def test_a_token_keeps_its_place_when_jobs_come_and_go(store: Jobs, clock: Clock) -> None:
    first = store.page({"MaxResults": 2}, 0.0)
    assert names(first) == ["e", "d"]
    clock.now += 1
    add(store, clock, "f")
    store.delete(store.get("d"))
    assert names(store.page({"MaxResults": 2, "NextToken": first["NextToken"]}, 0.0)) == ["c", "b"]


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize("token", ["", "x", "%%%", "e30=", "WzFd", "WyJhIiwgMV0=", "Mw=="])
def test_a_token_that_is_none_is_refused(store: Jobs, token: str) -> None:
    with pytest.raises(ServiceError, match="ValidationException: Invalid NextToken"):
        store.page({"NextToken": token}, 0.0)


@given(
    created=st.lists(st.integers(0, 5), max_size=12),
    size=st.integers(1, 5),
    order=st.sampled_from(["Ascending", "Descending"]),
    by=st.sampled_from(["Name", "CreationTime", "Status"]),
)
def test_the_pages_together_hold_every_job_once(created: list[int], size: int, order: str, by: str) -> None:
    store, clock = JobStore(TrainingJob, PLACE), Clock()
    for number, moment in enumerate(created):
        clock.now = float(moment)
        job = add(store, clock, f"job{number}")
        if moment % 2:
            job.complete()
    pages = everything(store, MaxResults=size, SortOrder=order, SortBy=by)
    assert sorted(name for page in pages for name in page) == sorted(job.name for job in store)
    assert all(len(page) == size for page in pages[:-1])


def test_a_name_is_taken_until_its_job_is_deleted(store: Jobs, clock: Clock) -> None:
    job = add(store, clock, "once")
    with pytest.raises(
        ServiceError, match=r"ResourceInUse: Training job names must be unique .* \(arn:once\)"
    ):
        add(store, clock, "once")
    job.complete()
    with pytest.raises(ServiceError, match="ResourceInUse"):
        add(store, clock, "once")
    store.delete(job)
    assert add(store, clock, "once") is store.get("once")


def test_unknown_names_are_not_found(store: Jobs) -> None:
    with pytest.raises(ServiceError, match="ValidationException: Requested resource not found"):
        store.get("nobody")


def test_only_ended_jobs_without_a_pool_can_be_deleted(store: Jobs, clock: Clock) -> None:
    job = add(store, clock, "job")
    with pytest.raises(ServiceError, match=r"ResourceInUse.*InProgress"):
        require_deletable(job, pool_available=False)
    job.stop()
    with pytest.raises(ServiceError, match=r"ResourceInUse.*Stopping"):
        require_deletable(job, pool_available=False)
    job.stopped()
    with pytest.raises(ServiceError, match=r"ResourceInUse.*warm pool"):
        require_deletable(job, pool_available=True)
    require_deletable(job, pool_available=False)


def test_jobs_that_let_their_instances_go_are_not_asked_again(store: Jobs, clock: Clock) -> None:
    asked: list[str] = []

    def still_holds(job: TrainingJob) -> bool:
        asked.append(job.name)
        return job.ended is None

    add(store, clock, "ended").complete()
    live = add(store, clock, "live")
    assert store.holding(still_holds) == [live]
    assert store.holding(still_holds) == [live]
    assert asked == ["ended", "live", "live"]
