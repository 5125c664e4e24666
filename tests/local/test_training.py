from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.local.jobs import LAUNCHING, PREPARING, TERMINAL, instances_of
from smexec.local.model import service_model
from smexec.local.training import TrainingJob, WarmPool, with_defaults

ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/job"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def request(**changes: Any) -> dict[str, Any]:
    return with_defaults(
        {
            "TrainingJobName": "job",
            "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
            "RoleArn": "arn:aws:iam::123456789012:role/Execution",
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/output/"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {},
            **changes,
        }
    )


def make(clock: Clock, **changes: Any) -> TrainingJob:
    return TrainingJob(request(**changes), ARN, clock)


def lived(clock: Clock, job: TrainingJob, *steps: tuple[str, float]) -> None:
    for status, seconds in steps:
        job.enter(status)
        clock.now += seconds


def transitions(job: TrainingJob) -> list[tuple[str, str]]:
    return [(transition.status, transition.message) for transition in job.transitions]


def test_a_new_job_is_starting(clock: Clock) -> None:
    job = make(clock)
    assert (job.status, job.secondary_status) == ("InProgress", "Starting")
    assert transitions(job) == [("Starting", "Starting the training job")]


def test_a_whole_life_shows_the_real_messages_and_times(clock: Clock) -> None:
    job = make(clock)
    for message in (LAUNCHING, PREPARING):
        clock.now += 10
        job.enter("Starting", message)
    clock.now += 10
    lived(clock, job, ("Downloading", 5), ("Training", 60.5), ("Uploading", 3))
    job.complete()
    assert transitions(job) == [
        ("Starting", "Preparing the instances for training"),
        ("Downloading", "Downloading input data"),
        ("Training", "Training image download completed. Training in progress."),
        ("Uploading", "Uploading generated training model"),
        ("Completed", "Training job completed"),
    ]
    description = job.describe()
    assert description["TrainingJobStatus"] == description["SecondaryStatus"] == "Completed"
    assert description["CreationTime"] == 1000
    assert description["TrainingStartTime"] == 1030
    assert description["TrainingEndTime"] == description["LastModifiedTime"] == 1098.5
    assert description["TrainingTimeInSeconds"] == description["BillableTimeInSeconds"] == 69
    last = description["SecondaryStatusTransitions"][-1]
    assert (last["StartTime"], last["EndTime"]) == (1098.5, 1098.5)


def test_each_transition_ends_where_the_next_begins(clock: Clock) -> None:
    job = make(clock)
    lived(clock, job, ("Downloading", 1), ("Training", 2), ("Uploading", 3))
    shown = job.describe()["SecondaryStatusTransitions"]
    assert [entry.get("EndTime") for entry in shown[:-1]] == [entry["StartTime"] for entry in shown[1:]]
    assert "EndTime" not in shown[-1]


def test_the_same_status_again_changes_the_message_only(clock: Clock) -> None:
    job = make(clock)
    job.enter("Starting", LAUNCHING)
    clock.now += 1
    job.enter("Starting", PREPARING)
    assert transitions(job) == [("Starting", PREPARING)]
    assert job.modified == 1001


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped", "MaxRuntimeExceeded", "Nonsense"])
def test_ends_and_nonsense_cannot_be_entered(clock: Clock, status: str) -> None:
    with pytest.raises(ValueError, match=status):
        make(clock).enter(status)


def test_a_failure_keeps_1024_characters_of_its_reason(clock: Clock) -> None:
    job = make(clock)
    lived(clock, job, ("Training", 1))
    job.fail("AlgorithmError: " + "x" * 2000)
    description = job.describe()
    assert description["TrainingJobStatus"] == description["SecondaryStatus"] == "Failed"
    assert description["FailureReason"] == ("AlgorithmError: " + "x" * 2000)[:1024]
    assert description["SecondaryStatusTransitions"][-1]["StatusMessage"] == description["FailureReason"]


def test_a_job_that_found_no_capacity_has_no_start_and_no_bill(clock: Clock) -> None:
    job = make(clock)
    clock.now += 100
    job.fail("CapacityError: Unable to provision requested ML compute capacity.")
    shown = job.describe()
    assert not {"TrainingStartTime", "TrainingTimeInSeconds", "BillableTimeInSeconds"} & set(shown)
    assert shown["TrainingEndTime"] == 1100


def test_stopping_lasts_until_the_end_and_may_upload(clock: Clock) -> None:
    job = make(clock)
    lived(clock, job, ("Training", 1))
    job.stop()
    assert (job.status, job.secondary_status) == ("Stopping", "Stopping")
    assert job.stop_requested.is_set()
    lived(clock, job, ("Uploading", 1))
    assert (job.status, job.secondary_status) == ("Stopping", "Uploading")
    job.stopped()
    assert (job.status, job.secondary_status) == ("Stopped", "Stopped")
    assert [status for status, _ in transitions(job)] == [
        "Starting",
        "Training",
        "Stopping",
        "Uploading",
        "Stopped",
    ]


def test_a_job_that_is_stopping_does_not_go_back_to_work(clock: Clock) -> None:
    job = make(clock)
    job.stop()
    job.enter("Training")
    assert job.secondary_status == "Stopping"


def test_stopping_twice_is_once(clock: Clock) -> None:
    job = make(clock)
    job.stop()
    job.stop()
    assert [status for status, _ in transitions(job)] == ["Starting", "Stopping"]


@pytest.mark.parametrize("secondary", ["MaxRuntimeExceeded", "MaxWaitTimeExceeded"])
def test_running_out_of_time_is_a_way_of_being_stopped(clock: Clock, secondary: str) -> None:
    job = make(clock)
    job.stop()
    job.stopped(secondary)
    assert (job.status, job.secondary_status) == ("Stopped", secondary)


def test_completing_is_no_way_of_being_stopped(clock: Clock) -> None:
    with pytest.raises(ValueError, match="Completed"):
        make(clock).stopped("Completed")


END = {
    "complete": lambda job: job.complete(),
    "fail": lambda job: job.fail("x"),
    "stopped": lambda job: job.stopped(),
}
AFTERWARDS = {**END, "enter": lambda job: job.enter("Training"), "stop": lambda job: job.stop()}


@pytest.mark.parametrize("end", END)
@pytest.mark.parametrize("afterwards", AFTERWARDS)
def test_an_end_is_final(clock: Clock, end: str, afterwards: str) -> None:
    job = make(clock)
    END[end](job)
    before = job.describe(2000.0)
    with pytest.raises(RuntimeError, match="has already ended"):
        AFTERWARDS[afterwards](job)
    assert job.describe(2000.0) == before
    assert job.status in TERMINAL


def test_waiting_for_spot_capacity_is_not_billed(clock: Clock) -> None:
    job = make(clock, EnableManagedSpotTraining=True, StoppingCondition={"MaxWaitTimeInSeconds": 90_000})
    lived(clock, job, ("Downloading", 10), ("Training", 100), ("Interrupted", 500), ("Starting", 50))
    lived(clock, job, ("Downloading", 10), ("Training", 100), ("Uploading", 5))
    job.complete()
    description = job.describe()
    assert description["TrainingTimeInSeconds"] == 775
    assert description["BillableTimeInSeconds"] == 225
    assert [status for status, _ in transitions(job)][3:5] == ["Interrupted", "Starting"]


def test_a_stop_before_there_were_instances_is_free(clock: Clock) -> None:
    job = make(clock)
    clock.now += 5
    job.stop()
    clock.now += 5
    job.stopped()
    assert "BillableTimeInSeconds" not in job.describe()


STEPS = st.sampled_from(["Starting", "Downloading", "Training", "Interrupted", "Uploading", "stop"])


@given(st.lists(st.tuples(STEPS, st.floats(0, 1000)), max_size=12))
def test_no_job_is_billed_for_longer_than_it_trained(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    job = make(clock)
    for step, seconds in steps:
        clock.now += seconds
        job.stop() if step == "stop" else job.enter(step)
    job.complete()
    shown = job.describe()
    assert shown.get("BillableTimeInSeconds", 0) <= shown.get("TrainingTimeInSeconds", 0)
    times = [transition.start for transition in job.transitions]
    assert times == sorted(times)


def test_describe_has_only_what_the_model_knows_and_all_that_it_requires(clock: Clock) -> None:
    job = make(
        clock,
        Tags=[{"Key": "k", "Value": "v"}],
        ResourceConfig={
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 1,
            "KeepAlivePeriodInSeconds": 60,
        },
    )
    lived(clock, job, ("Downloading", 1), ("Training", 1))
    job.fail("ClientError: x")
    for response, description in (
        ("DescribeTrainingJobResponse", job.describe()),
        ("TrainingJobSummary", job.summary()),
    ):
        shape: Any = service_model().shape_for(response)
        assert set(description) <= set(shape.members)
        assert set(shape.required_members) <= set(description)


def test_artifacts_are_named_after_the_job(clock: Clock) -> None:
    assert make(clock).model_artifacts == "s3://bucket/output/job/output/model.tar.gz"
    output = {"S3OutputPath": "s3://bucket", "CompressionType": "NONE"}
    assert make(clock, OutputDataConfig=output).model_artifacts == "s3://bucket/job/output/model/"


def test_defaults_are_filled_in_and_the_request_is_left_alone() -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/input"}}
    members = {
        **request(),
        "StoppingCondition": {},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": source}],
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
    }
    full = with_defaults(members)
    assert full["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400}
    channel = full["InputDataConfig"][0]
    assert channel["DataSource"]["S3DataSource"]["S3DataDistributionType"] == "FullyReplicated"
    assert (channel["CompressionType"], channel["RecordWrapperType"]) == ("None", "None")
    assert full["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints/"
    assert "S3DataDistributionType" not in source["S3DataSource"]
    assert members["StoppingCondition"] == {}


def test_instances_are_counted_over_groups() -> None:
    groups = [
        {"InstanceType": "ml.m5.large", "InstanceCount": 2, "InstanceGroupName": "a"},
        {"InstanceType": "ml.c5.xlarge", "InstanceCount": 1, "InstanceGroupName": "b"},
        {"InstanceType": "ml.m5.large", "InstanceCount": 3, "InstanceGroupName": "c"},
    ]
    assert instances_of({"InstanceGroups": groups}) == {
        "ml.m5.large": 5,
        "ml.c5.xlarge": 1,
    }


def test_the_end_is_told_in_the_same_instant(clock: Clock) -> None:
    ended: list[str] = []
    job = TrainingJob(request(), ARN, clock, on_end=lambda job: ended.append(job.status))
    job.enter("Training")
    job.complete()
    assert ended == ["Completed"]


def test_whoever_waits_for_a_change_sees_every_one(clock: Clock) -> None:
    seen: list[str] = []

    async def watch(job: TrainingJob) -> None:
        while job.ended is None:
            await job.changed()
            seen.append(job.secondary_status)

    async def live() -> None:
        job = make(clock)
        watcher = asyncio.create_task(watch(job))
        for status in ("Downloading", "Training"):
            await asyncio.sleep(0)
            job.enter(status)
        await asyncio.sleep(0)
        job.complete()
        await watcher

    asyncio.run(live())
    assert seen == ["Downloading", "Training", "Completed"]


def test_a_warm_pool_goes_through_its_states() -> None:
    pool = WarmPool()
    assert pool.describe(0) == {"Status": "InUse"}
    pool.available_from, pool.available_until = 100.0, 160.0
    assert pool.describe(130.5) == {"Status": "Available", "ResourceRetainedBillableTimeInSeconds": 31}
    assert pool.describe(160) == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 60}
    pool.available_until, pool.reused_by = 140.0, "next"
    assert pool.describe(500) == {
        "Status": "Reused",
        "ResourceRetainedBillableTimeInSeconds": 40,
        "ReusedByJob": "next",
    }
