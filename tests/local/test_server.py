"""The service as a whole: faults and rates on the wire, its beginning and its end."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.exceptions import ConnectionError as BotoConnectionError


def code_of(operation: Callable[..., Any], **members: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        operation(**members)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_throttled_request_was_not_carried_out(aws: Any) -> None:
    aws.control("faults", {"operation": "CreateTrainingJob", "kind": "throttle", "times": 2})
    sagemaker, request = aws.client("sagemaker"), aws.job("true")
    for _ in range(2):
        assert code_of(sagemaker.create_training_job, **request) == ("ThrottlingException", 400)
    sagemaker.create_training_job(**request)


def test_a_client_that_retries_gets_through(aws: Any) -> None:
    aws.control("faults", {"operation": "*", "kind": "throttle", "times": 1})
    aws.client("sagemaker", retries=3).list_training_jobs()
    assert aws.control("requests") == {"sagemaker.ListTrainingJobs": 2}


def test_every_service_speaks_of_throttling_in_its_own_way(aws: Any) -> None:
    aws.control("faults", {"operation": "*", "kind": "throttle", "times": None})
    bucket = aws.info["bucket"]
    assert code_of(aws.client("s3").put_object, Bucket=bucket, Key="a", Body=b"b") == ("SlowDown", 503)
    assert code_of(aws.client("s3").head_object, Bucket=bucket, Key="a") == ("503", 503)
    assert code_of(aws.client("sts").get_caller_identity) == ("Throttling", 400)
    assert code_of(aws.client("logs").describe_log_groups) == ("ThrottlingException", 400)
    assert code_of(aws.client("sagemaker").list_training_jobs) == ("ThrottlingException", 400)


@pytest.mark.parametrize(
    ("kind", "expected"), [("expired", "ExpiredTokenException"), ("denied", "AccessDeniedException")]
)
def test_credentials_can_be_refused(aws: Any, kind: str, expected: str) -> None:
    aws.control("faults", {"operation": "sagemaker.*", "kind": kind})
    assert code_of(aws.client("sagemaker").list_training_jobs) == (expected, 400)


def test_any_error_can_be_ordered(aws: Any) -> None:
    order = {"operation": "DescribeTrainingJob", "kind": "error", "code": "InternalFailure", "status": 500}
    aws.control("faults", order)
    operation = aws.client("sagemaker").describe_training_job
    assert code_of(operation, TrainingJobName="x") == ("InternalFailure", 500)


def test_a_connection_dropped_after_the_work_leaves_the_work_done(aws: Any) -> None:
    aws.control("faults", {"operation": "CreateTrainingJob", "kind": "drop"})
    sagemaker, request = aws.client("sagemaker"), aws.job("true")
    with pytest.raises((ConnectionClosedError, BotoConnectionError)):
        sagemaker.create_training_job(**request)
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        sagemaker.create_training_job(**request)


def test_a_connection_dropped_before_the_work_leaves_it_undone(aws: Any) -> None:
    aws.control("faults", {"operation": "CreateTrainingJob", "kind": "drop-before"})
    sagemaker, request = aws.client("sagemaker"), aws.job("true")
    with pytest.raises((ConnectionClosedError, BotoConnectionError)):
        sagemaker.create_training_job(**request)
    sagemaker.create_training_job(**request)


def test_drops_hit_what_is_passed_on_as_well(aws: Any) -> None:
    s3, bucket = aws.client("s3"), aws.info["bucket"]
    aws.control("faults", {"operation": "PutObject", "kind": "drop-before", "match": "/undone"})
    aws.control("faults", {"operation": "PutObject", "kind": "drop", "match": "/done"})
    for key in ("undone", "done"):
        with pytest.raises((ConnectionClosedError, BotoConnectionError)):
            s3.put_object(Bucket=bucket, Key=f"dropped/{key}", Body=b"x" * 100_000)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="dropped/")["Contents"]
    assert [item["Key"] for item in listed] == ["dropped/done"]


def test_a_delayed_request_is_carried_out_all_the_same(aws: Any) -> None:
    aws.control("faults", {"operation": "ListTrainingJobs", "kind": "delay", "seconds": 0.01})
    assert "TrainingJobSummaries" in aws.client("sagemaker").list_training_jobs()
    assert aws.control("faults") == []


def test_a_fault_can_be_for_one_job(aws: Any) -> None:
    aws.control("faults", {"operation": "DescribeTrainingJob", "kind": "throttle", "match": "unlucky"})
    operation = aws.client("sagemaker").describe_training_job
    assert code_of(operation, TrainingJobName="lucky")[0] == "ValidationException"
    assert code_of(operation, TrainingJobName="unlucky")[0] == "ThrottlingException"


def test_rates_hold_for_all_clients_together(aws: Any) -> None:
    aws.control("configure", {"rates": {"ListTrainingJobs": 0.001, "s3.ListBuckets": 0.001}})
    aws.client("sagemaker").list_training_jobs()
    assert code_of(aws.client("sagemaker").list_training_jobs) == ("ThrottlingException", 400)
    aws.client("s3").list_buckets()
    assert code_of(aws.client("s3").list_buckets) == ("SlowDown", 503)


def children(pid: int) -> dict[int, str]:
    """Pid and command line of the processes that any thread of a process has started."""
    lists = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return {int(child): Path(f"/proc/{child}/cmdline").read_text() for pids in lists for child in pids}


def wait_for_the_end_of(pids: Iterable[int]) -> None:
    """Wait, without asking again and again, until processes that are not ours have ended."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], 20)[0], f"{pid} is still there"
        finally:
            os.close(descriptor)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def start_job(service: Any, directory: Path) -> None:
    """Returns once the job's command runs."""
    fifo = directory / "started"
    os.mkfifo(fifo)
    script = f"trap 'exit 0' TERM; echo > {fifo}; sleep 60 & wait"
    service.client("sagemaker").create_training_job(**service.job("sh", "-c", script))
    fifo.read_bytes()
    fifo.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_with_all_that_it_started(
    start_service: Any, scratch: Path, number: signal.Signals
) -> None:
    with start_service() as service:
        start_job(service, scratch)
        started = children(service.process.pid)
        assert len(started) >= 2  # moto and the job
        assert list(scratch.iterdir())
        service.process.send_signal(number)
        assert service.process.wait(20) == 0
        assert service.end() == ""
    wait_for_the_end_of(started)
    assert list(scratch.iterdir()) == []


def test_a_killed_service_leaves_nothing_either(start_service: Any, scratch: Path) -> None:
    with start_service() as service:
        start_job(service, scratch)
        started = children(service.process.pid)
        service.process.kill()
        service.process.wait(20)
    wait_for_the_end_of(started)
    assert list(scratch.iterdir()) == []


def test_a_service_whose_moto_has_died_ends_and_says_why(start_service: Any) -> None:
    with start_service() as service:
        (moto,) = [pid for pid, command in children(service.process.pid).items() if "moto_server" in command]
        os.kill(moto, signal.SIGKILL)
        service.process.wait(20)
        assert "the moto server has died" in service.end()


def test_a_port_that_is_taken_is_an_error(aws: Any, start_service: Any) -> None:
    port = aws.info["endpoint_url"].rpartition(":")[2]
    with pytest.raises(RuntimeError, match="address already in use"):
        start_service(f"--port={port}")


def test_a_setting_that_cannot_be_is_an_error(start_service: Any) -> None:
    with pytest.raises(RuntimeError, match="rates takes numbers"):
        start_service("--rates=CreateTrainingJob=nan")


def test_another_region_and_account(start_service: Any) -> None:
    with start_service("--region=cn-north-1", "--account=210987654321") as service:
        assert service.info["bucket"] == "sagemaker-cn-north-1-210987654321"
        assert service.client("sts").get_caller_identity()["Account"] == "210987654321"
        arn = service.client("sagemaker").create_training_job(**service.job("true"))["TrainingJobArn"]
        assert arn.startswith("arn:aws-cn:sagemaker:cn-north-1:210987654321:training-job/job-")
        assert service.info["role"].startswith("arn:aws-cn:iam::")
