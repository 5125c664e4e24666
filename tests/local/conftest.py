"""A local service of the tests' own, as a process, driven through boto3 and its control API."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

if TYPE_CHECKING:
    from typing_extensions import Self

NUMBERS = itertools.count()


class ServiceProcess:
    """``python -m smexec.local``, ended with the block.

    Attributes:
        info: what it printed when it was ready.
        process: the service's process.
    """

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "smexec.local", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the service did not start: {self.process.communicate()[1]}")
        self.info: dict[str, Any] = json.loads(line)
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def end(self) -> str:
        """Terminate it; what it wrote to stderr."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.communicate(timeout=90)[1]

    def client(self, name: str, *, retries: int = 0, **config: Any) -> Any:
        """A boto3 client, which by default does not retry: a test wants to see each answer."""
        create: Any = boto3.client  # the name is no literal
        return create(
            name,
            endpoint_url=self.info["endpoint_url"],
            region_name=self.info["region"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": retries + 1}, **config),
        )

    def shared_client(self, name: str) -> Any:
        """The one of that name that all tests of the service share."""
        if name not in self._clients:
            self._clients[name] = self.client(name)
        return self._clients[name]

    def control(self, route: str, order: Any = None, method: str | None = None) -> Any:
        """One control request; ValueError with the answer if it is refused."""
        method = method or ("GET" if order is None else "POST")
        data = None if order is None else json.dumps(order).encode()
        url = f"{self.info['endpoint_url']}/_smexec/{route}"
        request = urllib.request.Request(url, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=100) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{error.code} {error.read().decode()}") from None

    def job(self, *entrypoint: str, **changes: Any) -> dict[str, Any]:
        """The members of a valid CreateTrainingJob request, under a new name."""
        algorithm: dict[str, Any] = {"TrainingImage": "image:tag", "TrainingInputMode": "File"}
        if entrypoint:
            algorithm["ContainerEntrypoint"] = list(entrypoint)
        return {
            "TrainingJobName": f"job-{next(NUMBERS)}",
            "AlgorithmSpecification": algorithm,
            "RoleArn": self.info["role"],
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.info['bucket']}/output"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            **changes,
        }

    def wait(self, name: str, *statuses: str) -> Any:
        """Wait for a job's status (by default its end); the job's summary."""
        wanted = statuses or ("Completed", "Failed", "Stopped")
        return self.control("wait", {"job": name, "statuses": wanted, "timeout": 90})


@pytest.fixture(scope="session")
def shared_process() -> Iterator[ServiceProcess]:
    with ServiceProcess("--stop-grace=0.2") as process:
        yield process
        # Whatever a service says on stderr is a defect of it.
        assert process.end() == ""


@pytest.fixture
def aws(shared_process: ServiceProcess) -> Iterator[ServiceProcess]:
    """A service that the tests of this directory share; faults, counts and settings are each test's own."""
    settings = shared_process.control("configure", {})
    shared_process.control("requests", method="DELETE")
    yield shared_process
    shared_process.control("faults", method="DELETE")
    live = {"rates", "quotas", "spot_quotas", "warm_pool_quotas", "processing_quotas", "image"}
    live |= {"transform_quotas", "endpoint_quotas", "delays", "capacity_errors"}
    present = shared_process.control("configure", {})
    back: dict[str, Any] = {name: dict.fromkeys(present[name]) | settings[name] for name in live}
    scalars = {"max_runtime_quota", "release_delay", "cold_start", "warm_start", "stop_grace"}
    scalars |= {"invocation_timeout"}
    shared_process.control("configure", back | {name: settings[name] for name in scalars})


@pytest.fixture
def serving_image(aws: ServiceProcess, tmp_path: Path) -> Path:
    """The image ``server:1``: a directory, which a test may change."""
    directory = tmp_path / "image"
    shutil.copytree(Path(__file__).with_name("image"), directory)
    aws.control("configure", {"image": {"server:1": str(directory)}})
    return directory


@pytest.fixture(scope="session")
def start_service() -> type[ServiceProcess]:
    """For a test that needs a service of its own."""
    return ServiceProcess
