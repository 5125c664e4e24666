"""Transform jobs, seen as any client of AWS sees them, and how they cut what they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from smexec.local import transform
from smexec.local.transform import assembled, payloads, with_defaults
from tests.local.client import NUMBERS, Client

SPLIT = {"SplitType": "Line", "ContentType": "text/csv"}
SOURCE = {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in"}}}


def request(strategy: str = "MultiRecord", **given: Any) -> dict[str, Any]:
    output = {"S3OutputPath": "s3://bucket/out", "AssembleWith": "Line"}
    members = {"TransformInput": {**SOURCE, **given}, "TransformOutput": output, "MaxPayloadInMB": 1}
    return with_defaults({**members, "BatchStrategy": strategy})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of eight bytes."""
    monkeypatch.setattr(transform, "MEGABYTE", 8)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("strategy", "found"),
    [("MultiRecord", [b"1\n22\n", b"333333\n4"]), ("SingleRecord", [b"1\n", b"22\n", b"333333\n", b"4"])],
)
def test_lines_share_a_request_as_far_as_they_may(strategy: str, found: list[bytes]) -> None:
    assert payloads(b"1\n22\n333333\n4", request(strategy, **SPLIT)) == found


@pytest.mark.usefixtures("small")
def test_a_record_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="a record has 9 bytes, more than MaxPayloadInMB"):
        payloads(b"x" * 9, request())


@given(st.lists(st.binary(max_size=6)), st.sampled_from(["MultiRecord", "SingleRecord"]))
def test_nothing_is_lost(lines: list[bytes], strategy: str) -> None:
    content = b"\n".join(lines)
    assert b"".join(payloads(content, request(strategy, **SPLIT))) == content


def test_answers_are_lines_once_assembled() -> None:
    assert assembled([b"a", b"b\n"], request()) == b"a\nb\n"
    plain = request()
    plain["TransformOutput"]["AssembleWith"] = "None"
    assert assembled([b"a", b"b\n"], plain) == b"ab\n"


class Transform(Client):
    """Transform jobs, in the words of these tests."""

    def run(self, *, model: str = "", instances: int = 1, **objects: str) -> dict[str, Any]:
        """Describe a job that has ended; the objects are its input, line by line."""
        name = f"transform-{next(NUMBERS)}"
        for key, content in objects.items():
            self.s3.put_object(Bucket=self.bucket, Key=f"{name}/in/{key}", Body=content.encode())
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{self.bucket}/{name}/in/"}
        self.sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName=model or self.model(),
            BatchStrategy="SingleRecord",
            MaxConcurrentTransforms=2,
            TransformInput={"DataSource": {"S3DataSource": source}, **SPLIT},
            TransformOutput={
                "S3OutputPath": f"s3://{self.bucket}/{name}/out",
                "AssembleWith": "Line",
                "Accept": "text/plain",
            },
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": instances},
        )
        self.service.wait(name)
        described: dict[str, Any] = self.sagemaker.describe_transform_job(TransformJobName=name)
        return described

    def output(self, job: dict[str, Any]) -> dict[str, list[str]]:
        stored = self.stored(f"s3://{self.bucket}/{job['TransformJobName']}/out/")
        return {name: content.decode().split("\n") for name, content in stored.items()}


@pytest.fixture
def client(aws: Any, serving_image: Path) -> Transform:
    return Transform(aws)


def test_each_object_gets_its_answers(client: Transform) -> None:
    job = client.run(a="1\n2", b="3", instances=2)
    assert job["TransformJobStatus"] == "Completed"
    assert job["TransformJobArn"].endswith(f":transform-job/{job['TransformJobName']}")
    assert job["TransformStartTime"] <= job["TransformEndTime"]
    found = client.output(job)
    assert list(found) == ["a.out", "b.out"]
    assert found["a.out"] == ["iris 1", " text/csv text/plain", "iris 2 text/csv text/plain", ""]
    assert found["b.out"] == ["iris 3 text/csv text/plain", ""]


def test_what_the_container_refuses_fails_the_job(client: Transform) -> None:
    job = client.run(a="fail415")
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"] == "ClientError: the container answered 415: no such column"


def test_a_model_in_a_folder_cannot_be_asked(client: Transform) -> None:
    folder = client.put(**{"model.txt": "iris"})
    source = {"S3Uri": folder, "S3DataType": "S3Prefix", "CompressionType": "None"}
    client.sagemaker.create_model(
        ModelName=(name := f"folder-{next(NUMBERS)}"),
        PrimaryContainer={"Image": "server:1", "ModelDataSource": {"S3DataSource": source}},
        ExecutionRoleArn=client.role,
    )
    with pytest.raises(ClientError, match=r"Batch currently doesn't support .* ModelDataSource"):
        client.run(model=name, a="1")


def test_a_model_must_be_there(client: Transform) -> None:
    with pytest.raises(ClientError, match=r"Could not find model \"arn:.*:model/nobody\""):
        client.run(model="nobody", a="1")
