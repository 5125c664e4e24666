"""Jobs and endpoints of one image on a local service, to see how it does."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smexec.capture.sources import pack
from smexec.core.request import channel
from smexec.core.training import CODE_CHANNEL, SOURCE_FILE
from smexec.testing import LocalService

#: What the example of every language trains with: lengths and weights, and what is to be predicted of them.
ROWS = "length,weight,rings\n0.5,0.4,9\n0.4,0.3,7\n0.6,0.6,11\n0.3,0.1,5\n0.35,0.2,6\n0.7,0.9,14\n"
_LOOK_SECONDS = 0.05
_CLUSTER = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
_IN, _OUT = "/opt/ml/processing/input", "/opt/ml/processing/output"


class Trial:
    """What an image is tried with.

    :param image: as the service knows it
    :param patience: seconds for a job to get as far as it is wanted
    """

    def __init__(self, service: LocalService, image: str, patience: float) -> None:
        self._service = service
        self._image = image
        self._patience = patience
        self._numbers = itertools.count(1)
        self.sagemaker = service.client("sagemaker")
        self._runtime = service.client("sagemaker-runtime")
        self._s3 = service.client("s3")
        self._logs = service.client("logs")

    def train(self, program: Path, rounds: int) -> str:
        """Start a training with an example, and tell its name."""
        name = self._name("train")
        source = self._put(f"{name}/{SOURCE_FILE}", pack(program.name, program.parent).content)
        own = {"sagemaker_submit_directory": source, "sagemaker_program": program.name, "rounds": rounds}
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            AlgorithmSpecification={"TrainingImage": self._image, "TrainingInputMode": "File"},
            RoleArn=self._service.role,
            HyperParameters={key: json.dumps(value) for key, value in own.items()},
            InputDataConfig=[
                channel("train", self._put(f"{name}/data/rows.csv", ROWS.encode())),
                channel(CODE_CHANNEL, source),
            ],
            OutputDataConfig={"S3OutputPath": self._uri("check")},
            ResourceConfig=_CLUSTER,
            StoppingCondition={"MaxRuntimeInSeconds": 3600},
        )
        return name

    def process(self, program: Path) -> tuple[Mapping[str, Any], list[str]]:
        """A processing job with an example, to its end: how that was, and the files that it wrote."""
        name = self._name("process")
        code = self._put(f"{name}/code/{program.name}", program.read_bytes())
        data = self._put(f"{name}/data/rows.csv", ROWS.encode())
        out = {"S3Uri": self._uri(f"{name}/out"), "LocalPath": f"{_OUT}/out", "S3UploadMode": "EndOfJob"}
        self.sagemaker.create_processing_job(
            ProcessingJobName=name,
            AppSpecification={"ImageUri": self._image, "ContainerArguments": [program.name]},
            RoleArn=self._service.role,
            ProcessingInputs=[_input("code", code), _input("data", data)],
            ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": out}]},
            ProcessingResources={"ClusterConfig": _CLUSTER},
        )
        self._service.wait(name, timeout=self._patience)
        listed = self._s3.list_objects_v2(Bucket=self._service.bucket, Prefix=f"{name}/out/")
        names = [item["Key"].rpartition("/")[2] for item in listed.get("Contents", ())]
        return self.sagemaker.describe_processing_job(ProcessingJobName=name), names

    def ended(self, job: str) -> Mapping[str, Any]:
        """A training job, once it has ended."""
        self._service.wait(job, timeout=self._patience)
        described: Mapping[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=job)
        return described

    def files(self, job: Mapping[str, Any]) -> list[str]:
        """What is in a job's model; nothing if it has none."""
        key = f"check/{job['TrainingJobName']}/output/model.tar.gz"
        if not self._s3.list_objects_v2(Bucket=self._service.bucket, Prefix=key).get("Contents"):
            return []
        archive = self._s3.get_object(Bucket=self._service.bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            return sorted(member.name for member in tar if member.isfile())

    def says(self, job: str, text: str) -> bool:
        """Wait until a training job's log has that text; False if the job ends without."""
        deadline = time.monotonic() + self._patience
        pause = threading.Event()
        while time.monotonic() < deadline:
            described = self.sagemaker.describe_training_job(TrainingJobName=job)
            if described["TrainingJobStatus"] != "InProgress":
                return False
            if any(text in line for line in self.log(job)):
                return True
            pause.wait(_LOOK_SECONDS)
        return False

    def log(self, job: str) -> list[str]:
        """Its lines."""
        logs, group = self._logs, {"logGroupName": "/aws/sagemaker/TrainingJobs"}
        try:
            streams = logs.describe_log_streams(**group, logStreamNamePrefix=f"{job}/")["logStreams"]
        except logs.exceptions.ResourceNotFoundException:  # nothing has been said yet
            return []
        names = [stream["logStreamName"] for stream in streams]
        pages = [logs.get_log_events(**group, logStreamName=name, startFromHead=True) for name in names]
        return [event["message"] for page in pages for event in page["events"]]

    @contextmanager
    def endpoint(self, model: str, patience: int) -> Iterator[str]:
        """One that serves a model; its name, whatever became of it. It is deleted at the end.

        :param model: the training job that made it
        :param patience: seconds for the container to become healthy
        """
        name = self._name("serve")
        data = self._uri(f"check/{model}/output/model.tar.gz")
        container = {"Image": self._image, "ModelDataUrl": data}
        self.sagemaker.create_model(
            ModelName=name, PrimaryContainer=container, ExecutionRoleArn=self._service.role
        )
        variant = {
            "VariantName": "all",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
            "ContainerStartupHealthCheckTimeoutInSeconds": patience,
        }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        try:
            while self.described(name)["EndpointStatus"] == "Creating":
                threading.Event().wait(_LOOK_SECONDS)
            yield name
        finally:
            self.sagemaker.delete_endpoint(EndpointName=name)
            while self.sagemaker.list_endpoints(NameContains=name)["Endpoints"]:
                threading.Event().wait(_LOOK_SECONDS)

    def described(self, endpoint: str) -> Mapping[str, Any]:
        """As DescribeEndpoint tells it."""
        answer: Mapping[str, Any] = self.sagemaker.describe_endpoint(EndpointName=endpoint)
        return answer

    def invoke(self, endpoint: str, body: str) -> str:
        """What an endpoint answers to CSV.

        :raises botocore.exceptions.ClientError: with the container's own error
        """
        answer = self._runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType="text/csv")
        return str(answer["Body"].read().decode())

    def _name(self, kind: str) -> str:
        return f"check-{kind}-{next(self._numbers)}"

    def _uri(self, key: str) -> str:
        return f"s3://{self._service.bucket}/{key}"

    def _put(self, key: str, content: bytes) -> str:
        self._s3.put_object(Bucket=self._service.bucket, Key=key, Body=content)
        return self._uri(key)


def _input(name: str, uri: str) -> dict[str, Any]:
    members = {"S3Uri": uri, "LocalPath": f"{_IN}/{name}", "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": members}
