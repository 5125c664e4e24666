"""What tests of images have in common."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec import SageMakerExecutor, images
from smexec.core.request import channel
from smexec.testing import LocalService

NUMBERS = itertools.count()
CLUSTER = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}


class Bench:
    """A local service with an image that ``smexec image init`` wrote, in the words of these tests."""

    image = "image:1"

    def __init__(self, service: LocalService) -> None:
        self.service = service
        self.sagemaker = service.client("sagemaker")
        self.s3 = service.client("s3")

    def put(self, key: str, content: str) -> str:
        self.s3.put_object(Bucket=self.service.bucket, Key=key, Body=content.encode())
        return f"s3://{self.service.bucket}/{key}"

    def unpacked(self, uri: str | None) -> dict[str, bytes]:
        """The files of an archive."""
        assert uri is not None
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        archive = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            members = {entry.name: tar.extractfile(entry) for entry in tar}
            return {name: file.read() for name, file in members.items() if file}

    def train(self, data: str, hyperparameters: dict[str, Any]) -> dict[str, Any]:
        """A training job to its end, as a client of another kind starts it."""
        name = f"training-{next(NUMBERS)}"
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            AlgorithmSpecification={"TrainingImage": self.image, "TrainingInputMode": "File"},
            RoleArn=self.service.role,
            HyperParameters={key: json.dumps(value) for key, value in hyperparameters.items()},
            InputDataConfig=[channel("train", data)],
            OutputDataConfig={"S3OutputPath": f"s3://{self.service.bucket}/trained"},
            ResourceConfig=CLUSTER,
            StoppingCondition={"MaxRuntimeInSeconds": 3600},
        )
        self.service.wait(name)
        described: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
        return described

    def process(self, application: dict[str, Any], code: str, **data: str) -> tuple[dict[str, Any], str]:
        """A processing job to its end, and where its output is."""
        name = f"processing-{next(NUMBERS)}"
        inputs = {"code": code}
        if data:
            for key, content in data.items():
                self.put(f"{name}/data/{key}.csv", content)
            inputs["data"] = f"s3://{self.service.bucket}/{name}/data"
        out = f"s3://{self.service.bucket}/{name}/out"
        self.sagemaker.create_processing_job(
            ProcessingJobName=name,
            AppSpecification={"ImageUri": self.image, **application},
            RoleArn=self.service.role,
            ProcessingInputs=[_input(one, uri) for one, uri in inputs.items()],
            ProcessingOutputConfig={"Outputs": [_output(out)]},
            ProcessingResources={"ClusterConfig": CLUSTER},
        )
        self.service.wait(name)
        described: dict[str, Any] = self.sagemaker.describe_processing_job(ProcessingJobName=name)
        return described, out

    def text(self, uri: str) -> str:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return str(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())


class Endpoint:
    """One in service."""

    def __init__(self, service: LocalService, image: str, model: str) -> None:
        self._sagemaker, self._runtime = service.client("sagemaker"), service.client("sagemaker-runtime")
        self.name = f"endpoint-{next(NUMBERS)}"
        container = {"Image": image, "ModelDataUrl": model}
        self._sagemaker.create_model(
            ModelName=self.name, PrimaryContainer=container, ExecutionRoleArn=service.role
        )
        variant = {
            "VariantName": "all",
            "ModelName": self.name,
            "InstanceType": "ml.t2.medium",
            "InitialInstanceCount": 1,
        }
        self._sagemaker.create_endpoint_config(EndpointConfigName=self.name, ProductionVariants=[variant])
        self._sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=self.name)
        waiter = self._sagemaker.get_waiter("endpoint_in_service")
        waiter.wait(EndpointName=self.name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})

    def predict(self, body: str, kind: str = "application/json", accept: str = "*/*") -> str:
        answer = self._runtime.invoke_endpoint(
            EndpointName=self.name, Body=body, ContentType=kind, Accept=accept
        )
        return str(answer["Body"].read().decode())

    def delete(self) -> None:
        self._sagemaker.delete_endpoint(EndpointName=self.name)
        self._sagemaker.delete_endpoint_config(EndpointConfigName=self.name)
        self._sagemaker.delete_model(ModelName=self.name)


def _input(name: str, uri: str) -> dict[str, Any]:
    path = f"/opt/ml/processing/input/{name}"
    members = {"S3Uri": uri, "LocalPath": path, "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": members}


def _output(uri: str) -> dict[str, Any]:
    members = {"S3Uri": uri, "LocalPath": "/opt/ml/processing/output/out", "S3UploadMode": "EndOfJob"}
    return {"OutputName": "out", "S3Output": members}


@pytest.fixture(scope="module")
def language() -> str:
    """That a module is about."""
    raise NotImplementedError


@pytest.fixture(scope="module")
def directory(language: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's; not to be changed."""
    path = tmp_path_factory.mktemp("image") / language
    images.init(language, path)
    return path


@pytest.fixture
def bench(smexec_service: LocalService, directory: Path) -> Bench:
    smexec_service.configure(image={Bench.image: str(directory)})
    return Bench(smexec_service)


@pytest.fixture
def executor(bench: Bench) -> Iterator[SageMakerExecutor]:
    with SageMakerExecutor(max_workers=3, image_uri=Bench.image) as executor:
        yield executor


@pytest.fixture
def serve(bench: Bench) -> Iterator[Callable[[str], Endpoint]]:
    """Deploys a model; all endpoints are deleted at the end."""
    endpoints: list[Endpoint] = []

    def deploy(model: str) -> Endpoint:
        endpoints.append(Endpoint(bench.service, bench.image, model))
        return endpoints[-1]

    yield deploy
    for endpoint in endpoints:
        endpoint.delete()
