"""What goes through to moto arrives there, and back, as it was sent."""

from __future__ import annotations

import http.client
import io
import os
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def s3(aws: Any) -> Any:
    return aws.client("s3")


@pytest.fixture
def bucket(aws: Any) -> str:
    name: str = aws.info["bucket"]
    return name


@pytest.mark.parametrize("key", ["a b", "a+b", "a%2Fb", "a/b//c", "ümlaut", "q?x=1&y", "#", "tilde~'()*!"])
def test_keys_arrive_as_they_are(s3: Any, bucket: str, key: str) -> None:
    key = f"keys/{key}"
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert key in [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]]


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
def test_bodies_of_every_size_go_both_ways(s3: Any, bucket: str, size: int) -> None:
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="size", Body=io.BytesIO(body))
    answer = s3.get_object(Bucket=bucket, Key="size")
    assert answer["ContentLength"] == size
    assert answer["Body"].read() == body
    assert s3.head_object(Bucket=bucket, Key="size")["ContentLength"] == size


def test_parts_of_a_large_upload_are_put_together(s3: Any, bucket: str) -> None:
    body = os.urandom(12_000_000)
    s3.upload_fileobj(io.BytesIO(body), bucket, "large")
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == body


def test_ranges_and_conditions(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="range", Body=b"0123456789")
    answer = s3.get_object(Bucket=bucket, Key="range", Range="bytes=2-5")
    assert (answer["Body"].read(), answer["ContentRange"]) == (b"2345", "bytes 2-5/10")
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="range", IfNoneMatch=answer["ETag"])
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="range", Body=b"", IfNoneMatch="*")
    assert caught.value.response["Error"]["Code"] == "PreconditionFailed"


def test_metadata_and_encodings_are_left_alone(s3: Any, bucket: str) -> None:
    # The body is not gzip: whoever unpacked it on the way would fail, or change it.
    s3.put_object(
        Bucket=bucket,
        Key="meta",
        Body=b"plain",
        ContentEncoding="gzip",
        ContentType="text/x",
        Metadata={"a_b": "c"},
    )
    answer = s3.get_object(Bucket=bucket, Key="meta")
    assert (answer["Body"].read(), answer["ContentEncoding"], answer["ContentType"]) == (
        b"plain",
        "gzip",
        "text/x",
    )
    assert answer["Metadata"] == {"a_b": "c"}


def test_a_missing_object_is_missing(s3: Any, bucket: str) -> None:
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="nothing")
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket=bucket, Key="nothing")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_presigned_urls_work_without_a_client(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="signed", Body=b"content")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "signed"})
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.read() == b"content"


@pytest.fixture
def connection(aws: Any) -> Any:
    connection = http.client.HTTPConnection(urlsplit(aws.info["endpoint_url"]).netloc, timeout=60)
    yield connection
    connection.close()


def test_a_client_that_waits_to_be_asked_for_the_body_is_asked(
    connection: http.client.HTTPConnection, s3: Any, bucket: str
) -> None:
    connection.putrequest("PUT", f"/{bucket}/expected")
    for header in ("Content-Length: 4", "Expect: 100-continue"):
        connection.putheader(*header.split(": "))
    connection.endheaders()
    assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(b"body")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert s3.get_object(Bucket=bucket, Key="expected")["Body"].read() == b"body"


def test_chunked_bodies_arrive_and_the_connection_stays_open(
    connection: http.client.HTTPConnection, s3: Any, bucket: str
) -> None:
    for key in ("one", "two"):
        connection.request("PUT", f"/{bucket}/{key}", body=iter([b"a" * 70_000, b"b"]), encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.will_close) == (200, b"", False)
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"a" * 70_000 + b"b"


def test_the_other_services_are_there(aws: Any) -> None:
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName="queue")["QueueUrl"]
    # The address leads back to the service, not to what is behind it.
    assert url.startswith(aws.info["endpoint_url"])
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "hello"
    logs = aws.client("logs")
    logs.create_log_group(logGroupName="group")
    assert [
        group["logGroupName"] for group in logs.describe_log_groups(logGroupNamePrefix="group")["logGroups"]
    ]
    ecr = aws.client("ecr")
    assert ecr.create_repository(repositoryName="images")["repository"]["repositoryName"] == "images"
    assert aws.client("iam").get_role(RoleName="smexec-local")["Role"]["Arn"] == aws.info["role"]


def test_a_client_that_leaves_in_the_middle_of_an_answer_is_no_error(
    connection: http.client.HTTPConnection, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="left", Body=bytes(20_000_000), ACL="public-read")
    connection.request("GET", f"/{bucket}/left")
    assert connection.getresponse().read(1000) == bytes(1000)
    connection.close()
    # The service's stderr is looked at when all tests are done.
    assert s3.head_object(Bucket=bucket, Key="left")["ContentLength"] == 20_000_000
