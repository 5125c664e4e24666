"""Faults and rates on the wire, as boto3 sees them."""

from __future__ import annotations

from collections.abc import Callable
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


def test_of_an_answer_that_is_lost_nothing_is_seen(aws: Any) -> None:
    s3, bucket = aws.client("s3"), aws.info["bucket"]
    s3.put_object(Bucket=bucket, Key="lost", Body=b"x" * 1_000_000)
    aws.control("faults", {"operation": "GetObject", "kind": "drop"})
    with pytest.raises((ConnectionClosedError, BotoConnectionError)):
        s3.get_object(Bucket=bucket, Key="lost")
    assert s3.get_object(Bucket=bucket, Key="lost")["ContentLength"] == 1_000_000
