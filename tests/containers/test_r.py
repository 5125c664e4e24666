"""R in a container of its own: processed, trained, served, stopped."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec import SageMakerExecutor, Script
from smexec.errors import JobFailed, JobStopped
from smexec.testing import LocalService

CODE = Path(__file__).with_name("r")


@pytest.fixture
def data(service: LocalService) -> str:
    """Where the numbers 1, 2 and 6 lie."""
    s3 = service.client("s3")
    s3.put_object(Bucket=service.bucket, Key="numbers/values.csv", Body=b"x\n1\n2\n6\n")
    return f"s3://{service.bucket}/numbers/"


@pytest.fixture
def train(r_image: str, data: str) -> Script:
    return Script("train.R", source_dir=CODE, image_uri=r_image, inputs={"train": data})


@pytest.fixture
def executor(service: LocalService) -> Iterator[SageMakerExecutor]:
    with SageMakerExecutor(2, instance_type="ml.m5.large") as executor:
        yield executor


def members(service: LocalService, uri: str) -> list[str]:
    """Names in a model.tar.gz."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    archive = service.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return sorted(member.name for member in tar if member.isfile())


def test_processed(service: LocalService, r_image: str, data: str) -> None:
    s3, sagemaker = service.client("s3"), service.client("sagemaker")
    s3.upload_file(str(CODE / "report.R"), service.bucket, "code/report.R")

    def fetched(name: str, uri: str) -> dict[str, Any]:
        path = f"/opt/ml/processing/input/{name}"
        source = {"S3Uri": uri, "LocalPath": path, "S3DataType": "S3Prefix", "S3InputMode": "File"}
        return {"InputName": name, "S3Input": source}

    report = {"S3Uri": f"s3://{service.bucket}/report", "LocalPath": "/opt/ml/processing/output"}
    sagemaker.create_processing_job(
        ProcessingJobName="report",
        RoleArn=service.role,
        AppSpecification={
            "ImageUri": r_image,
            "ContainerArguments": ["/opt/ml/processing/input/code/report.R", "the sum:"],
        },
        ProcessingInputs=[fetched("data", data), fetched("code", f"s3://{service.bucket}/code/report.R")],
        ProcessingOutputConfig={
            "Outputs": [{"OutputName": "report", "S3Output": {**report, "S3UploadMode": "EndOfJob"}}]
        },
        ProcessingResources={
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
        },
    )
    assert service.wait("report")["ProcessingJobStatus"] == "Completed"
    answer = s3.get_object(Bucket=service.bucket, Key="report/report.txt")
    assert answer["Body"].read() == b"the sum: 9\n"


def test_trained_and_served(
    service: LocalService, executor: SageMakerExecutor, train: Script, r_image: str
) -> None:
    results = list(executor.map(train, [{"rounds": 1}, {"rounds": 3}]))
    model = results[1].model
    assert model is not None
    assert members(service, model) == ["code/deploy.R", "code/report.R", "code/train.R", "model.rds"]
    sagemaker = service.client("sagemaker")
    container = {"Image": r_image, "ModelDataUrl": model}
    sagemaker.create_model(ModelName="r", PrimaryContainer=container, ExecutionRoleArn=service.role)
    variant = {"VariantName": "all", "ModelName": "r", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="r", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    sagemaker.create_endpoint(EndpointName="r", EndpointConfigName="r")
    try:
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="r", WaiterConfig={"Delay": 1})
        answer = service.client("sagemaker-runtime").invoke_endpoint(
            EndpointName="r", ContentType="application/json", Body=json.dumps({"factor": 2})
        )
        assert json.loads(answer["Body"].read()) == {"output": 6, "rounds": 3}
    finally:
        sagemaker.delete_endpoint(EndpointName="r")


def test_stopped_in_the_middle_with_its_model_kept(
    service: LocalService, executor: SageMakerExecutor, train: Script
) -> None:
    future = executor.submit(train, rounds=100_000)
    assert any("round 2:" in line for line in lines(future))
    future.stop()
    error = future.exception(60)
    assert isinstance(error, JobStopped)
    assert error.model is not None
    assert "model.rds" in members(service, error.model)


def test_what_r_says_of_its_error_is_in_the_exception(executor: SageMakerExecutor, train: Script) -> None:
    with pytest.raises(JobFailed, match="rounds must be a number"):
        executor.submit(train, rounds="many").result()


def lines(future: Any) -> Iterator[str]:
    """What a job writes, as it comes; some of it more than once."""
    for _ in itertools.takewhile(lambda _: not future.done(), itertools.count()):
        yield from future.logs()
