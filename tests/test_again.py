"""Jobs that end before their calls do: what has no outcome runs again, and only that."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smexec import Future, SageMakerExecutor, errors
from smexec.testing import LocalService


@pytest.fixture(autouse=True)
def service(smexec_service: LocalService) -> LocalService:
    return smexec_service


class Diary:
    """Calls that note each of their runs in a folder, and may be held up there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = _run_in(folder)

    def submit(self, executor: SageMakerExecutor, count: int) -> list[Future[int]]:
        return [executor.submit(self.run, number) for number in range(count)]

    def hold(self, number: int) -> None:
        """This call waits, once it has begun, until it is let go."""
        (self.folder / f"hold-{number}").touch()

    def let_go(self, number: int) -> None:
        (self.folder / f"hold-{number}").unlink()

    def let_all_go(self) -> None:
        for path in self.folder.glob("hold-*"):
            path.unlink()

    def until_begun(self, number: int, runs: int = 1) -> None:
        while self.runs[number] < runs:
            time.sleep(0.01)

    @property
    def runs(self) -> Counter[int]:
        """How often each call has begun."""
        return Counter(int(path.name.split("-")[1]) for path in self.folder.glob("run-*"))


def _run_in(folder: Path) -> Callable[[int], int]:
    def run(number: int) -> int:
        import os
        import tempfile
        import time

        descriptor, _ = tempfile.mkstemp(prefix=f"run-{number}-", dir=folder)
        os.close(descriptor)
        while (folder / f"hold-{number}").exists():
            time.sleep(0.01)
        return number * number

    return run


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path)


@pytest.fixture
def opened(diary: Diary) -> Iterator[Callable[..., SageMakerExecutor]]:
    """Executors that end with the test, whatever it has held up."""
    made: list[SageMakerExecutor] = []

    def make(max_workers: int | None = None, **settings: Any) -> SageMakerExecutor:
        made.append(SageMakerExecutor(max_workers, **settings))
        return made[-1]

    yield make
    diary.let_all_go()
    for executor in made:
        executor.shutdown(cancel_futures=True)


@pytest.fixture
def packed(opened: Callable[..., SageMakerExecutor], unhurried: None) -> Callable[..., SageMakerExecutor]:
    """Those that put so many submitted calls into one job, where they run one after the other."""
    return lambda calls, **settings: opened(1, calls_per_job=calls, slots=1, **settings)


def described(service: LocalService, future: Future[Any]) -> dict[str, Any]:
    description: dict[str, Any] = service.client("sagemaker").describe_training_job(
        TrainingJobName=future.job_name
    )
    return description


def instance_type(service: LocalService, future: Future[Any]) -> str:
    return str(described(service, future)["ResourceConfig"]["InstanceType"])


def statuses(service: LocalService, future: Future[Any]) -> list[str]:
    return [step["Status"] for step in described(service, future)["SecondaryStatusTransitions"]]


# -- in another job ------------------------------------------------------------------------------------------


def test_what_the_service_broke_runs_once_more_and_only_that(
    service: LocalService, diary: Diary, packed: Callable[..., SageMakerExecutor]
) -> None:
    diary.hold(3)
    futures = diary.submit(packed(6), 6)
    assert futures[2].result(60) == 4
    diary.until_begun(3)
    first = str(futures[3].job_name)
    service.break_down(first)
    diary.until_begun(3, runs=2)
    diary.let_go(3)
    assert [future.result(60) for future in futures] == [0, 1, 4, 9, 16, 25]
    assert diary.runs == {0: 1, 1: 1, 2: 1, 3: 2, 4: 1, 5: 1}
    assert [future.job_name == first for future in futures] == [True] * 3 + [False] * 3
    assert len({future.job_name for future in futures[3:]}) == 1
    assert "RetryStrategy" not in described(service, futures[0])


def test_the_service_may_break_a_job_once(
    service: LocalService, diary: Diary, packed: Callable[..., SageMakerExecutor]
) -> None:
    diary.hold(0)
    (future,) = diary.submit(packed(1), 1)
    for run in (1, 2):
        diary.until_begun(0, run)
        service.break_down(str(future.job_name))
    assert type(future.exception(60)) is errors.InternalServerError
    assert diary.runs == {0: 2}


def test_a_call_that_nobody_waits_for_does_not_come_along(
    service: LocalService, diary: Diary, packed: Callable[..., SageMakerExecutor]
) -> None:
    diary.hold(0)
    futures = diary.submit(packed(4), 4)
    diary.until_begun(0)
    while not futures[0].running():
        time.sleep(0.01)
    futures[0].stop()
    assert type(futures[0].exception(60)) is errors.JobStopped
    futures[1].stop()  # cancels it, unless it is known to be in a job that runs
    with pytest.raises((errors.JobStopped, CancelledError)):
        futures[1].result(60)
    service.break_down(str(futures[2].job_name))
    assert [future.result(60) for future in futures[2:]] == [4, 9]
    assert diary.runs == {0: 1, 2: 1, 3: 1}


def test_a_job_that_was_stopped_is_not_followed_by_another(
    service: LocalService, diary: Diary, packed: Callable[..., SageMakerExecutor]
) -> None:
    diary.hold(0)
    (future,) = diary.submit(packed(1), 1)
    diary.until_begun(0)
    service.fault("StopTrainingJob", "denied")
    while not future.running():
        time.sleep(0.01)
    future.stop()
    service.wait_for_requests(**{"sagemaker.StopTrainingJob": 1})
    service.break_down(str(future.job_name))
    assert type(future.exception(60)) is errors.InternalServerError
    assert service.requests()["sagemaker.CreateTrainingJob"] == 1


@pytest.mark.parametrize("encrypted", [False, True])
def test_shared_sections_are_those_of_the_first_job(
    service: LocalService, diary: Diary, opened: Callable[..., SageMakerExecutor], encrypted: bool
) -> None:
    table, run = np.ones(300_000), diary.run
    key = service.client("kms").create_key()["KeyMetadata"]["Arn"] if encrypted else None

    def total(table: Any, number: int) -> float:
        run(number)
        return float(table.sum())

    diary.hold(0)
    future = opened(s3_kms_key=key).submit(total, table, 0)
    diary.until_begun(0)
    for folder in ("batches", "shared", "layers"):  # nothing can be uploaded for the second job
        service.fault("PutObject", "denied", match=f"/{folder}/", times=None)
    service.break_down(str(future.job_name))
    diary.until_begun(0, runs=2)
    diary.let_go(0)
    assert future.result(60) == table.sum()


@pytest.mark.parametrize("settings", [{"enable_network_isolation": True}, {"use_spot_instances": True}])
def test_what_never_left_the_container_runs_again(
    service: LocalService,
    diary: Diary,
    packed: Callable[..., SageMakerExecutor],
    settings: dict[str, Any],
) -> None:
    diary.hold(1)
    futures = diary.submit(packed(2, **settings), 2)
    diary.until_begun(1)
    service.break_down(str(futures[0].job_name))
    diary.until_begun(1, runs=2)
    diary.let_go(1)
    assert [future.result(60) for future in futures] == [0, 1]
    assert diary.runs[1] == 2


# -- in the same job, started again --------------------------------------------------------------------------


def test_a_spot_job_that_was_interrupted_goes_on_where_it_was(
    service: LocalService, diary: Diary, packed: Callable[..., SageMakerExecutor]
) -> None:
    diary.hold(3)
    futures = diary.submit(packed(6, use_spot_instances=True), 6)
    assert futures[2].result(60) == 4
    diary.until_begun(3)
    service.interrupt(str(futures[0].job_name))
    diary.until_begun(3, runs=2)
    diary.let_go(3)
    assert [future.result(60) for future in futures] == [0, 1, 4, 9, 16, 25]
    assert len({future.job_name for future in futures}) == 1
    assert "Interrupted" in statuses(service, futures[0])
    runs = diary.runs
    assert [runs.pop(number) for number in (0, 1, 2, 4, 5)] == [1] * 5
    assert runs == {3: 2}


def test_each_instance_goes_on_where_it_was(
    service: LocalService, diary: Diary, packed: Callable[..., SageMakerExecutor]
) -> None:
    for number in (2, 3):  # one on each
        diary.hold(number)
    futures = diary.submit(packed(6, use_spot_instances=True, instance_count=2), 6)
    assert [future.result(60) for future in futures[:2]] == [0, 1]
    for number in (2, 3):
        diary.until_begun(number)
    service.interrupt(str(futures[0].job_name))
    for number in (2, 3):
        diary.until_begun(number, runs=2)
        diary.let_go(number)
    assert [future.result(60) for future in futures] == [0, 1, 4, 9, 16, 25]
    assert diary.runs == {0: 1, 1: 1, 2: 2, 3: 2, 4: 1, 5: 1}


def test_the_service_starts_a_job_again_if_it_is_told_to(
    service: LocalService, diary: Diary, packed: Callable[..., SageMakerExecutor]
) -> None:
    diary.hold(2)
    futures = diary.submit(packed(3, max_retry_attempts=1), 3)
    assert futures[1].result(60) == 1
    diary.until_begun(2)
    until_kept(service, futures[0], calls=2)
    service.break_down(str(futures[0].job_name))
    diary.until_begun(2, runs=2)
    assert diary.runs == {0: 1, 1: 1, 2: 2}
    service.break_down(str(futures[0].job_name))
    assert type(futures[2].exception(60)) is errors.InternalServerError
    assert service.requests()["sagemaker.CreateTrainingJob"] == 1


def until_kept(service: LocalService, future: Future[Any], calls: int) -> None:
    """The platform has what the worker notes for a job's next start."""
    uri = described(service, future)["CheckpointConfig"]["S3Uri"]
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    s3, noted = service.client("s3"), 0
    while noted < calls:
        time.sleep(0.05)
        keys = [
            entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())
        ]
        bodies = [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]
        noted = sum(line.count(b",") + 1 for body in bodies for line in body.splitlines())


# -- on another machine --------------------------------------------------------------------------------------

TYPES = ["ml.c5.xlarge", "ml.c5.2xlarge", "ml.m5.xlarge"]


def test_the_next_type_is_tried_where_there_is_no_capacity(service: LocalService) -> None:
    service.configure(capacity_errors={"ml.c5.xlarge": -1, "ml.c5.2xlarge": 1})
    with SageMakerExecutor(instance_type=TYPES) as executor:
        future = executor.submit(pow, 2, 3)
        assert future.result(60) == 8
        assert instance_type(service, future) == "ml.m5.xlarge"
        assert service.requests()["sagemaker.CreateTrainingJob"] == 3
        another = executor.submit(pow, 3, 2)  # which need not learn the same
        assert another.result(60) == 9
        assert instance_type(service, another) == "ml.m5.xlarge"
    assert service.requests()["sagemaker.CreateTrainingJob"] == 4


def test_the_next_type_is_tried_where_there_is_no_quota(service: LocalService) -> None:
    service.configure(quotas={"ml.c5.xlarge": 0})
    with SageMakerExecutor(instance_type=TYPES) as executor:
        future = executor.submit(pow, 2, 3)
        assert future.result(60) == 8
        assert instance_type(service, future) == "ml.c5.2xlarge"
        assert executor.submit(pow, 2, 3).result(60) == 8
    assert service.requests()["sagemaker.CreateTrainingJob"] == 3


def test_a_quota_in_use_is_no_reason_for_another_type(service: LocalService, diary: Diary) -> None:
    service.configure(quotas={"ml.c5.xlarge": 1})
    with SageMakerExecutor(instance_type=TYPES) as executor:
        futures = diary.submit(executor, 2)
        assert [future.result(60) for future in futures] == [0, 1]
        assert {instance_type(service, future) for future in futures} == {"ml.c5.xlarge"}


def test_if_none_can_be_had_the_error_says_what_was_tried(service: LocalService) -> None:
    service.configure(quotas={"ml.c5.xlarge": 0}, capacity_errors={"ml.c5.2xlarge": 1, "ml.m5.xlarge": 1})
    with SageMakerExecutor(instance_type=TYPES) as executor:
        future = executor.submit(pow, 2, 3)
        error = future.exception(60)
    assert type(error) is errors.CapacityError
    assert error.job_name == future.job_name
    text = str(error)
    assert "ml.c5.xlarge: the account's quota for ml.c5.xlarge is too small" in text
    assert "ml.c5.2xlarge: AWS has no such instance" in text
    assert "ml.m5.xlarge: AWS has no such instance" in text


# -- at the gate ---------------------------------------------------------------------------------------------

NONE_FREE = {"code": "ResourceLimitExceeded", "message": "none is free"}


def test_a_full_account_is_asked_by_one_job_for_all(service: LocalService) -> None:
    service.configure(quotas={"ml.m5.4xlarge": 2})
    with SageMakerExecutor(max_workers=12, instance_type="ml.m5.4xlarge") as executor:
        for number in range(1, 13):
            name = f"-{executor.run_id}-{number:05d}"
            service.fault("CreateTrainingJob", "error", match=name, times=1_000, **NONE_FREE)
        results = executor.map(abs, range(12), chunksize=1)
        service.wait_for_requests(**{"sagemaker.CreateTrainingJob": 3})
        left = [fault["times"] for fault in service._control("GET", "faults")]
        service.clear_faults()
        assert list(results) == list(range(12))
    asked, *others = sorted(left)
    assert asked <= 1_000 - 3
    assert others == [1_000] * 11


def test_a_job_that_is_not_wanted_any_more_waits_for_no_instance(
    service: LocalService, diary: Diary, opened: Callable[..., SageMakerExecutor]
) -> None:
    service.configure(quotas={"ml.m5.4xlarge": 1})
    diary.hold(0)
    executor = opened(2, instance_type="ml.m5.4xlarge")
    first = executor.submit(diary.run, 0)
    diary.until_begun(0)
    second, third = executor.submit(diary.run, 1), executor.submit(diary.run, 2)
    service.wait_for_requests(**{"sagemaker.CreateTrainingJob": 2})
    assert second.cancel()
    diary.let_go(0)
    assert [first.result(60), third.result(60)] == [0, 4]
    assert diary.runs == {0: 1, 2: 1}


def test_a_call_that_waits_to_run_again_can_be_stopped(
    service: LocalService, diary: Diary, opened: Callable[..., SageMakerExecutor]
) -> None:
    diary.hold(0)
    (future,) = diary.submit(opened(), 1)
    diary.until_begun(0)
    while not future.running():
        time.sleep(0.01)
    service.fault("CreateTrainingJob", "error", times=None, **NONE_FREE)
    service.break_down(str(future.job_name))
    service.wait_for_requests(**{"sagemaker.CreateTrainingJob": 2})
    assert not future.cancel()  # it runs, as far as the standard library can tell
    future.stop()
    assert type(future.exception(60)) is errors.JobStopped
    assert diary.runs == {0: 1}
