"""The local service as tests have it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

import smexec.testing
from smexec.testing import LocalService, local_service

ONCE = Config(retries={"total_max_attempts": 1})


@pytest.fixture(scope="module")
def module_service() -> Iterator[LocalService]:
    with local_service(quotas={"ml.m5.large": 5}, stop_grace=1.0) as service:
        yield service


@pytest.fixture
def service(module_service: LocalService) -> Iterator[LocalService]:
    with module_service.restored():
        yield module_service


def job(service: LocalService, name: str, script: str, **changes: Any) -> str:
    """Create a job; its name."""
    algorithm = {
        "TrainingImage": "image:tag",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["sh", "-c", script],
    }
    request = {
        "TrainingJobName": name,
        "AlgorithmSpecification": algorithm,
        "RoleArn": service.role,
        "OutputDataConfig": {"S3OutputPath": f"s3://{service.bucket}/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        **changes,
    }
    service.client("sagemaker", config=ONCE).create_training_job(**request)
    return name


def test_clients_and_counts(service: LocalService) -> None:
    s3 = service.client("s3")
    s3.put_object(Bucket=service.bucket, Key="greeting", Body=b"hello")
    assert service.requests() == {"s3.PutObject": 1}
    assert service.requests()["s3.GetObject"] == 0
    service.reset_requests()
    assert not service.requests()


def test_a_job_to_its_end(service: LocalService) -> None:
    summary = service.wait(job(service, "to-its-end", "exit 1"))
    assert summary["TrainingJobStatus"] == "Failed"


def test_what_does_not_come_is_told(service: LocalService) -> None:
    service.configure(delays={"Training": 3600.0})
    name = job(service, "not-soon", "true")
    with pytest.raises(ValueError, match="Training"):
        service.wait(name, "Completed", timeout=0.2)
    with pytest.raises(ValueError, match="CreateTrainingJob"):
        service.wait_for_requests(timeout=0.01, **{"sagemaker.CreateTrainingJob": 2})
    service.wait_for_requests(**{"sagemaker.CreateTrainingJob": 1})
    service.configure(delays={"Training": None})
    service.client("sagemaker").stop_training_job(TrainingJobName=name)
    service.wait(name, "Stopped")


def test_settings_can_be_changed(service: LocalService) -> None:
    service.configure(quotas={"ml.m5.large": 0})
    with pytest.raises(ClientError, match="ResourceLimitExceeded"):
        job(service, "too-many", "true")
    service.configure(quotas={"ml.m5.large": None})
    service.wait(job(service, "not-too-many", "true"))


def test_but_not_all_of_them(service: LocalService) -> None:
    with pytest.raises(ValueError, match="'region' cannot be set on a running service"):
        service.configure(region="eu-west-1")


def test_restored(module_service: LocalService) -> None:
    with module_service.restored():
        module_service.configure(
            quotas={"ml.m5.large": 0, "ml.c5.large": 3}, rates={"*": 1.0}, stop_grace=9.0
        )
        module_service.fault("ListBuckets", "denied", times=None)
    settings = module_service._control("POST", "configure", {})
    assert settings["quotas"] == {"ml.m5.large": 5}
    assert settings["rates"] == {}
    assert settings["stop_grace"] == 1.0
    module_service.client("s3").list_buckets()


@pytest.mark.parametrize(
    ("kind", "details", "message"),
    [
        ("throttle", {}, "SlowDown"),
        ("error", {"code": "Nope", "message": "not today", "status": 403}, "Nope.*not today"),
        ("denied", {}, "AccessDenied"),
        ("expired", {}, "ExpiredToken"),
        ("internal", {}, "InternalError"),
    ],
)
def test_faults(service: LocalService, kind: str, details: dict[str, Any], message: str) -> None:
    s3 = service.client("s3", config=ONCE)
    service.fault("ListBuckets", kind, times=2, **details)
    for _ in range(2):
        with pytest.raises(ClientError, match=message):
            s3.list_buckets()
    s3.list_buckets()


def test_a_lost_answer(service: LocalService) -> None:
    s3 = service.client("s3", config=ONCE)
    service.fault("PutObject", "drop")
    with pytest.raises(ConnectionClosedError):
        s3.put_object(Bucket=service.bucket, Key="lost", Body=b"but written")
    assert s3.get_object(Bucket=service.bucket, Key="lost")["Body"].read() == b"but written"


def test_faults_can_be_forgotten(service: LocalService) -> None:
    service.fault("ListBuckets", "denied", times=None)
    service.clear_faults()
    service.client("s3", config=ONCE).list_buckets()


def test_a_fault_that_there_is_not(service: LocalService) -> None:
    with pytest.raises(ValueError, match="'explode' is none of"):
        service.fault("ListBuckets", "explode")


WAIT = "while :; do sleep 0.01; done"


def test_kill(service: LocalService) -> None:
    name = job(service, "killed", WAIT)
    service.wait(name, "Training")
    service.kill(name)
    service.wait(name, "Failed")


def test_break_down(service: LocalService) -> None:
    name = job(service, "broken", WAIT)
    service.wait(name, "Training")
    service.break_down(name)
    service.wait(name)
    described = service.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert described["FailureReason"].startswith("InternalServerError")


def test_interrupt(service: LocalService) -> None:
    limits = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600}
    name = job(service, "spot", WAIT, EnableManagedSpotTraining=True, StoppingCondition=limits)
    service.wait(name, "Training")
    service.configure(delays={"Starting": 3600.0})
    service.interrupt(name)
    service.wait(name, "Starting")
    service.client("sagemaker").stop_training_job(TrainingJobName=name)
    service.configure(delays={"Starting": None})
    service.wait(name, "Stopped")


def test_only_spot_instances_are_reclaimed(service: LocalService) -> None:
    name = job(service, "on-demand", WAIT)
    with pytest.raises(ValueError, match="not on spot instances"):
        service.interrupt(name)
    service.client("sagemaker").stop_training_job(TrainingJobName=name)
    service.wait(name)


class TestEnvironment:
    def test_it_leads_to_the_service(self, service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        monkeypatch.setenv("SMEXEC_ROLE", "mine")
        before = dict(os.environ)
        with service.environ():
            assert boto3.Session().client("s3").list_buckets()["Buckets"][0]["Name"] == service.bucket
            assert os.environ["SMEXEC_ROLE"] == service.role
        assert dict(os.environ) == before

    def test_the_fixture(self, smexec_service: LocalService) -> None:
        assert os.environ["AWS_ENDPOINT_URL"] == smexec_service.endpoint_url
        smexec_service.fault("ListBuckets", "denied", times=None)

    def test_what_a_test_has_done_is_undone(self, smexec_session: LocalService) -> None:
        assert "AWS_ENDPOINT_URL" not in os.environ
        smexec_session.client("s3").list_buckets()


class TestTheEnd:
    def test_a_service_of_ones_own(self, service: LocalService) -> None:
        with local_service(region="eu-west-1") as own:
            assert own.endpoint_url != service.endpoint_url
            assert own.region == own.client("s3").meta.region_name == "eu-west-1"
            assert own.endpoint_url in repr(own)
            name = job(own, "still-running", WAIT)
            own.wait(name, "Training")
        with pytest.raises(ProcessLookupError):
            os.kill(own.pid, 0)

    def test_a_test_that_is_killed_takes_its_service_along(self) -> None:
        code = "import smexec.testing as t\nwith t.local_service() as s: print(s.pid, flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as test:
            assert test.stdout is not None
            service = os.pidfd_open(int(test.stdout.readline()))
            test.send_signal(signal.SIGKILL)
        with os.fdopen(service):
            ended, _, _ = select.select([service], [], [], 60)
        assert ended

    @pytest.mark.parametrize(
        ("settings", "error"), [({"engine": "rocket"}, ValueError), ({"nonsense": 1}, TypeError)]
    )
    def test_settings_that_cannot_be(self, settings: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error), local_service(**settings):
            raise AssertionError("it has started")


def test_importing_it_is_light() -> None:
    heavy = "{'boto3', 'botocore', 'aiohttp', 'moto', 'pytest', 'asyncio'}"
    code = f"import sys, smexec.testing; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
    assert smexec.testing.__doc__
