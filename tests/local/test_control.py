from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

SLEEP = ("sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait")


def test_the_service_tells_who_it_is(aws: Any) -> None:
    health = aws.control("health")
    assert health == aws.info
    assert health["pid"] == aws.process.pid
    assert health["environment"] == aws.control("environment")


def test_the_environment_leads_clients_to_the_service(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.control("environment").items():
        monkeypatch.setenv(name, value)
    session = boto3.Session()
    assert session.client("sts").get_caller_identity()["Account"] == aws.info["account"]
    assert session.client("s3").list_buckets()["Buckets"][0]["Name"] == aws.info["bucket"]


def test_requests_are_counted_by_api(aws: Any) -> None:
    sagemaker, s3 = aws.client("sagemaker"), aws.client("s3")
    sagemaker.list_training_jobs()
    sagemaker.list_training_jobs()
    s3.put_object(Bucket=aws.info["bucket"], Key="a", Body=b"")
    with pytest.raises(ClientError):
        sagemaker.describe_training_job(TrainingJobName="nobody")
    aws.client("sts").get_caller_identity()
    assert aws.control("requests") == {
        "sagemaker.ListTrainingJobs": 2,
        "sagemaker.DescribeTrainingJob": 1,
        "s3.PutObject": 1,
        "sts.GetCallerIdentity": 1,
    }
    aws.control("requests", method="DELETE")
    assert aws.control("requests") == {}


def test_what_the_platform_does_itself_is_not_counted(aws: Any) -> None:
    s3, sagemaker = aws.client("s3"), aws.client("sagemaker")
    uri = f"s3://{aws.info['bucket']}/counted/"
    s3.put_object(Bucket=aws.info["bucket"], Key="counted/one", Body=b"1")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
    request = aws.job("true", InputDataConfig=[{"ChannelName": "train", "DataSource": source}])
    sagemaker.create_training_job(**request)
    aws.wait(request["TrainingJobName"])
    assert aws.control("requests") == {"s3.PutObject": 1, "sagemaker.CreateTrainingJob": 1}


def test_settings_change_while_the_service_runs(aws: Any) -> None:
    settings = aws.control("configure", {"quotas": {"ml.m5.large": 0}, "stop_grace": 2})
    assert (settings["quotas"], settings["stop_grace"]) == ({"ml.m5.large": 0}, 2.0)
    with pytest.raises(ClientError, match="ResourceLimitExceeded"):
        aws.client("sagemaker").create_training_job(**aws.job("true"))
    aws.control("configure", {"quotas": {"ml.m5.large": None}})
    aws.client("sagemaker").create_training_job(**aws.job("true"))


@pytest.mark.parametrize(
    ("route", "order"),
    [
        ("configure", {"port": 1}),
        ("configure", {"rates": {"x": "y"}}),
        ("configure", [1]),
        ("faults", {"operation": "*", "kind": "explode"}),
        ("faults", {"operation": "*"}),
        ("faults", {"operation": "*", "kind": "drop", "tims": 3}),
        ("interrupt", {"job": "nobody"}),
        ("interrupt", {}),
        ("wait", {"job": "nobody", "statuses": ["Completed"]}),
        ("wait", {}),
    ],
)
def test_orders_that_cannot_be_carried_out_are_refused(aws: Any, route: str, order: Any) -> None:
    with pytest.raises(ValueError, match=r"^400 "):
        aws.control(route, order)


@pytest.mark.parametrize(("method", "route"), [("GET", "coffee"), ("DELETE", "health"), ("GET", "")])
def test_other_routes_are_not_there(aws: Any, method: str, route: str) -> None:
    with pytest.raises(ValueError, match=r"^404 "):
        aws.control(route, method=method)


def test_a_body_that_is_no_json_is_refused(aws: Any) -> None:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"{aws.info['endpoint_url']}/_smexec/faults", data=b"{", method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    with caught.value as error:
        assert error.code == 400


def test_waiting_ends_with_the_status_or_with_the_time(aws: Any) -> None:
    sagemaker = aws.client("sagemaker")
    request = aws.job(*SLEEP)
    name = request["TrainingJobName"]
    sagemaker.create_training_job(**request)
    assert aws.wait(name, "Training", "Failed")["SecondaryStatus"] == "Training"
    with pytest.raises(ValueError, match=f'^408 .*"{name}".*"InProgress"'):
        aws.control("wait", {"job": name, "statuses": ["Completed"], "timeout": 0.01})
    sagemaker.stop_training_job(TrainingJobName=name)
    aws.wait(name)


def test_waiting_for_requests(aws: Any) -> None:
    with pytest.raises(ValueError, match=r"^408 \{\}"):
        aws.control("wait", {"requests": {"s3.ListBuckets": 1}, "timeout": 0.01})
    aws.client("s3").list_buckets()
    assert aws.control("wait", {"requests": {"s3.ListBuckets": 1}, "timeout": 60}) == {"s3.ListBuckets": 1}


def test_a_killed_container_is_a_failed_job(aws: Any) -> None:
    sagemaker = aws.client("sagemaker")
    request = aws.job(*SLEEP)
    name = request["TrainingJobName"]
    sagemaker.create_training_job(**request)
    aws.wait(name, "Training")
    assert aws.control("interrupt", {"job": name, "kind": "kill"})["TrainingJobName"] == name
    assert aws.wait(name)["TrainingJobStatus"] == "Failed"
    assert "exit code: 137" in sagemaker.describe_training_job(TrainingJobName=name)["FailureReason"]
    with pytest.raises(ValueError, match="has ended as Failed"):
        aws.control("interrupt", {"job": name, "kind": "kill"})
    with pytest.raises(ValueError, match="kind must be one of interrupt, kill, internal-error"):
        aws.control("interrupt", {"job": name, "kind": "hurt"})


def test_containers_find_credentials_that_botocore_accepts(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):  # of the session's service, if there is one
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{aws.info['endpoint_url']}/_smexec/credentials"
    )
    credentials = boto3.Session().get_credentials()
    assert credentials is not None
    assert credentials.method == "container-role"
    assert credentials.token
    client = boto3.client(
        "sts",
        endpoint_url=aws.info["endpoint_url"],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )
    assert client.get_caller_identity()["Account"] == aws.info["account"]


def take_lease(url: str) -> socket.socket:
    """A lease, held until the connection is closed."""
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    connection.sendall(b"POST /_smexec/lease HTTP/1.1\r\nHost: local\r\nTransfer-Encoding: chunked\r\n\r\n")
    received = b""
    while b"leased" not in received:
        part = connection.recv(4096)
        assert part, received
        received += part
    return connection


def test_a_service_ends_with_its_last_lease(start_service: Any) -> None:
    with start_service("--lease-grace=0") as service:
        first, second = take_lease(service.info["endpoint_url"]), take_lease(service.info["endpoint_url"])
        with first, second:
            first.close()
            assert service.control("health")["pid"] == service.process.pid
            second.close()
            assert service.process.wait(60) == 0
        assert service.end() == ""


def test_a_service_without_grace_does_not_care_for_leases(aws: Any) -> None:
    take_lease(aws.info["endpoint_url"]).close()
    assert aws.control("health")["pid"] == aws.process.pid


def test_a_service_can_be_told_to_end(start_service: Any) -> None:
    with start_service() as service:
        service.control("shutdown", {})
        assert service.process.wait(60) == 0
        assert service.end() == ""
