"""Tracking under faults: nothing that the service says, or fails to say, makes the loop lose a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec import Future, Processing, SageMakerExecutor, Script, errors
from smexec.engine import statuses, track
from smexec.engine.inquest import Inquest
from smexec.engine.launch import Launcher
from smexec.testing import LocalService


@pytest.fixture(autouse=True)
def service(smexec_service: LocalService) -> Iterator[LocalService]:
    yield smexec_service
    smexec_service.clear_faults()


def test_a_call_may_land_while_its_events_are_listed(service: LocalService) -> None:
    """The statuses of no jobs were asked for then, which ended the loop."""
    service.fault("ListObjectsV2", "delay", seconds=1.2, times=None)
    service.fault("GetObject", "delay", seconds=0.4, times=None)
    with SageMakerExecutor() as executor:
        for number in range(2):
            assert executor.submit(abs, -number).result(60) == number


@pytest.mark.parametrize("fault", ["throttle", "internal", "drop", "drop-before"])
@pytest.mark.parametrize(
    "operation",
    ["CreateTrainingJob", "ListTrainingJobs", "ListObjectsV2", "GetObject", "PutObject"],
)
def test_passing_faults_fail_no_call(service: LocalService, operation: str, fault: str) -> None:
    service.fault(operation, fault, times=2 if operation != "CreateTrainingJob" else 1)
    with SageMakerExecutor() as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]


def test_a_create_whose_answer_was_lost_is_not_a_second_job(service: LocalService) -> None:
    service.fault("CreateTrainingJob", "drop")
    service.reset_requests()
    with SageMakerExecutor() as executor:
        future = executor.submit(abs, -1)
        assert future.result(60) == 1
    assert service.requests()["sagemaker.CreateTrainingJob"] == 2
    listed = service.client("sagemaker").list_training_jobs(NameContains=executor.run_id)
    assert [job["TrainingJobName"] for job in listed["TrainingJobSummaries"]] == [future.job_name]


def test_a_job_whose_answer_was_lost_may_be_what_fills_the_account(service: LocalService) -> None:
    service.fault("CreateTrainingJob", "drop")
    full = "is 1 Instances, with current utilization of 1 Instances and a request delta of 1 Instances."
    service.fault("CreateTrainingJob", "error", code="ResourceLimitExceeded", message=full)
    service.reset_requests()
    with SageMakerExecutor() as executor:
        assert executor.submit(abs, -1).result(60) == 1
    assert service.requests()["sagemaker.CreateTrainingJob"] == 3


def test_throttled_creates_are_repeated_until_they_pass(service: LocalService) -> None:
    service.fault("CreateTrainingJob", "throttle", times=4)
    with SageMakerExecutor() as executor:
        assert executor.submit(abs, -1).result(60) == 1


def test_a_service_that_refuses_to_tell_is_the_futures_error_after_a_while(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track, "TOLERANCE", 1.0)
    monkeypatch.setattr(track, "RETRY", 0.1)
    with SageMakerExecutor() as executor:
        future = executor.submit(time.sleep, 60)
        _until_running(future)
        service.fault("StopTrainingJob", "expired", times=None)
        service.fault("ListObjectsV2", "expired", times=None)
        error = future.exception(60)
        service.clear_faults()
    service.client("sagemaker").stop_training_job(TrainingJobName=future.job_name)
    assert type(error) is errors.CredentialsError
    assert "it may still run" in str(error)
    assert error.job_name == future.job_name


def test_a_service_that_refuses_to_tell_for_a_moment_is_forgiven(
    service: LocalService, monkeypatch: pytest.MonkeyPatch, gate: Path
) -> None:
    monkeypatch.setattr(track, "RETRY", 0.1)
    with SageMakerExecutor() as executor:
        future = executor.submit(gate.read_text)
        _until_running(future)
        service.fault("ListObjectsV2", "denied", times=2)
        gate.write_text("told")
        assert future.result(60) == "told"


@pytest.mark.parametrize("fault", ["throttle", "drop", "denied"])
def test_statuses_that_are_not_told_hold_up_no_outcome(service: LocalService, fault: str) -> None:
    with SageMakerExecutor() as executor:
        service.fault("ListTrainingJobs", fault, times=None)
        try:
            assert executor.submit(abs, -1).result(60) == 1
        finally:
            service.clear_faults()


def test_statuses_that_are_refused_for_long_are_the_futures_error(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track, "TOLERANCE", 1.0)
    monkeypatch.setattr(track, "RETRY", 0.1)
    service.fault("ListTrainingJobs", "denied", times=None)
    with SageMakerExecutor() as executor:
        future = executor.submit(time.sleep, 60)
        assert type(future.exception(60)) is errors.AccessDenied
    assert service.wait(str(future.job_name))["TrainingJobStatus"] == "Stopped"


@pytest.mark.parametrize("fault", ["expired", "denied"])
def test_news_that_may_not_be_read_for_a_moment_are_read_then(
    service: LocalService, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(track, "RETRY", 0.1)
    service.fault("GetObject", fault, times=3, match="/events/")
    with SageMakerExecutor() as executor:
        assert executor.submit(abs, -1).result(60) == 1


def test_a_job_whose_news_may_not_be_read_is_stopped(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track, "TOLERANCE", 0.5)
    monkeypatch.setattr(track, "RETRY", 0.1)
    service.fault("GetObject", "denied", times=None, match="/events/")
    with SageMakerExecutor() as executor:
        future = executor.submit(time.sleep, 600)
        error = future.exception(60)
    assert type(error) is errors.AccessDenied
    assert "it was told to stop" in str(error)
    assert service.wait(str(future.job_name))["TrainingJobStatus"] == "Stopped"


def test_an_end_that_may_not_be_looked_into_for_a_moment_is_looked_into_then(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track, "RETRY", 0.1)
    service.fault("GetObject", "denied", times=3, match="output.tar.gz")
    with SageMakerExecutor(enable_network_isolation=True) as executor:
        assert executor.submit(abs, -1).result(60) == 1


def test_a_job_with_forged_news_is_stopped(service: LocalService) -> None:
    with SageMakerExecutor() as executor:
        future = executor.submit(time.sleep, 600)
        _until_running(future)
        event = f"{int(time.time() * 1000):013d}_{future.job_name}_7"
        key = f"smexec/runs/{executor.run_id}/events/{event}"
        service.client("s3").put_object(Bucket=service.bucket, Key=key, Body=b"forged")
        assert type(future.exception(60)) is errors.SignatureError
    assert service.wait(str(future.job_name))["TrainingJobStatus"] == "Stopped"


def test_an_object_with_a_strange_name_hides_nothing(service: LocalService, gate: Path) -> None:
    with SageMakerExecutor() as executor:
        future = executor.submit(gate.read_text)
        _until_running(future)
        key = f"smexec/runs/{executor.run_id}/events/9999999999999_x_1"
        service.client("s3").put_object(Bucket=service.bucket, Key=key)
        service.wait_for_requests(**{"s3.ListObjectsV2": service.requests()["s3.ListObjectsV2"] + 2})
        gate.write_text("seen")
        assert future.result(60) == "seen"


def test_a_spot_job_that_is_interrupted_runs_again(service: LocalService, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def never_end_the_first_time() -> str:
        if begun.exists():
            return "again"
        begun.touch()
        time.sleep(600)
        return "the first time"

    with SageMakerExecutor(use_spot_instances=True) as executor:
        future = executor.submit(never_end_the_first_time)
        while not begun.exists():
            time.sleep(0.01)
        service.interrupt(str(future.job_name))
        assert future.result(60) == "again"
    description = service.client("sagemaker").describe_training_job(TrainingJobName=future.job_name)
    assert "Interrupted" in [step["Status"] for step in description["SecondaryStatusTransitions"]]


def test_a_job_that_was_deleted_behind_our_back(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statuses, "UNLISTED", 0.0)
    sagemaker = service.client("sagemaker")
    with SageMakerExecutor(enable_network_isolation=True) as executor:
        future = executor.submit(time.sleep, 60)
        _until_running(future)
        service.fault("ListTrainingJobs", "delay", seconds=1, times=None)
        sagemaker.stop_training_job(TrainingJobName=future.job_name)
        service.wait(str(future.job_name))
        sagemaker.delete_training_job(TrainingJobName=future.job_name)
        assert isinstance(future.exception(60), errors.JobError)


def test_a_job_without_network_gives_its_outcome_with_its_output(service: LocalService) -> None:
    settings = {"enable_network_isolation": True}
    with SageMakerExecutor(**settings) as executor:
        assert executor.submit(pow, 2, 3).result(60) == 8
        assert isinstance(executor.submit(divmod, 1, 0).exception(60), ZeroDivisionError)
    with SageMakerExecutor(**settings, disable_output_compression=True) as executor:
        assert executor.submit(pow, 2, 3).result(60) == 8


def encrypted_with(service: LocalService, prefix: str) -> dict[str, str | None]:
    """Key of an object → KMS key."""
    s3 = service.client("s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=service.bucket, Prefix=prefix)["Contents"]]
    return {key: s3.head_object(Bucket=service.bucket, Key=key).get("SSEKMSKeyId") for key in keys}


def test_an_output_that_is_no_archive_is_its_own_calls_error(service: LocalService, gate: Path) -> None:
    """It ended the loop, and every other call with it."""
    with SageMakerExecutor(max_workers=2) as executor:
        neighbour, future = executor.submit(gate.read_text), executor.submit(time.sleep, 600)
        _until_running(future)
        key = f"smexec/runs/{executor.run_id}/output/{future.job_name}/output/output.tar.gz"
        service.client("s3").put_object(Bucket=service.bucket, Key=key, Body=b"no archive")
        service.kill(str(future.job_name))
        assert type(future.exception(60)) is errors.SignatureError
        gate.write_text("goes on")
        assert neighbour.result(60) == "goes on"


@pytest.mark.parametrize("where", [(Launcher, "launch"), (Inquest, "outcomes")])
def test_a_fault_of_ours_fails_the_calls_of_its_job_alone(
    service: LocalService, monkeypatch: pytest.MonkeyPatch, gate: Path, where: tuple[type, str]
) -> None:
    at_work = getattr(*where)
    with SageMakerExecutor(max_workers=2) as executor:
        neighbour = executor.submit(gate.read_text)
        _until_running(neighbour)

        def break_down(*_: object) -> Any:
            monkeypatch.setattr(*where, at_work)
            raise KeyError("ours")

        monkeypatch.setattr(*where, break_down)
        error = executor.submit(abs, -1).exception(60)
        assert isinstance(error, errors.EngineFailed)
        assert isinstance(error.__cause__, KeyError)
        assert error.job_name
        gate.write_text("goes on")
        assert neighbour.result(60) == "goes on"


def test_a_kms_key_encrypts_all_that_is_written(service: LocalService) -> None:
    kms = service.client("kms").create_key()["KeyMetadata"]["Arn"]
    with SageMakerExecutor(s3_kms_key=kms, s3_root_uri=f"s3://{service.bucket}/kms") as executor:
        future = executor.submit(pow, 2, 3)
        assert future.result(60) == 8
    written = encrypted_with(service, "kms/")
    assert set(written.values()) == {kms}, written
    job = service.client("sagemaker").describe_training_job(TrainingJobName=future.job_name)
    assert "smexec-key" not in job["HyperParameters"]


def test_what_was_uploaded_without_a_kms_key_is_uploaded_again_with_one(
    service: LocalService, tmp_path: Path
) -> None:
    kms = service.client("kms").create_key()["KeyMetadata"]["Arn"]
    (tmp_path / "train.sh").write_text("")
    (tmp_path / "data.csv").write_text("1\n")
    script = Script(
        tmp_path / "train.sh",
        inputs={"train": tmp_path / "data.csv"},
        container_entry_point=["sh", "-c", "cat /opt/ml/input/data/train/data.csv"],
    )
    report = Processing(tmp_path / "train.sh", inputs={"data": tmp_path / "data.csv"})
    for key in (None, kms):
        with SageMakerExecutor(2, s3_kms_key=key, s3_root_uri=f"s3://{service.bucket}/later") as executor:
            for future in (executor.submit(abs, -1), executor.submit(script), executor.submit(report)):
                future.result(60)
    layers = encrypted_with(service, "later/layers/")
    names = sorted(name.rpartition("/")[2] for name in layers)
    assert names == sorted(2 * ["worker.pyz", "sourcedir.tar.gz", "data.csv", "train.sh"])
    assert [list(layers.values()).count(key) for key in (None, kms)] == [4, 4], layers


def test_a_call_may_be_stopped_while_it_is_landing(service: LocalService) -> None:
    with SageMakerExecutor(calls_per_job=2, slots=1, enable_network_isolation=True) as executor:
        first, second = executor.submit(abs, -1), executor.submit(abs, -2)
        heard = threading.Event()

        def stop_the_other(_: object) -> None:
            second.stop()
            executor._engine._post(lambda _: heard.set())
            heard.wait(30)

        first.add_done_callback(stop_the_other)
        assert (first.result(60), second.result(60)) == (1, 2)
        assert heard.is_set()


def test_a_finished_run_costs_nothing_more(service: LocalService) -> None:
    with SageMakerExecutor() as executor:
        assert executor.submit(pow, 2, 3).result(60) == 8
        service.reset_requests()
        time.sleep(0.5)
        assert not service.requests()


def test_a_call_costs_a_handful_of_requests(service: LocalService) -> None:
    with SageMakerExecutor() as executor:
        executor.submit(pow, 2, 3).result(60)
        service.reset_requests()
        executor.submit(pow, 2, 3).result(60)
        requests = service.requests()
    assert requests["sagemaker.CreateTrainingJob"] == 1
    assert requests["sagemaker.DescribeTrainingJob"] == 0
    assert requests["s3.PutObject"] == 3  # the call; from the container, its start and its outcome


def _until_running(future: Future[Any]) -> None:
    while not future.running():
        time.sleep(0.01)


def test_what_a_job_wrote_is_read_once(service: LocalService) -> None:
    """A large outcome is still being read when its job's end is seen; it was read again then."""
    with SageMakerExecutor() as executor:
        service.fault("GetObject", "delay", seconds=3, times=None, match="/events/")
        service.reset_requests()
        assert executor.submit(abs, -1).result(60) == 1
    assert service.requests()["sagemaker.ListTrainingJobs"] >= 1
    s3 = service.client("s3")
    listed = s3.list_objects_v2(Bucket=service.bucket, Prefix=f"smexec/runs/{executor.run_id}/events/")
    assert service.requests()["s3.GetObject"] == listed["KeyCount"]


def test_an_upload_that_is_refused_is_the_calls_error(service: LocalService) -> None:
    """It came in a group of errors, which nobody took, and ended the loop."""
    service.fault("PutObject", "denied", match="/batches/", times=1)
    with SageMakerExecutor() as executor:
        assert type(executor.submit(abs, -1).exception(60)) is errors.AccessDenied
        assert executor.submit(abs, -1).result(60) == 1
