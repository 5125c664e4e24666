"""A client of ours, on a loop of its own, led to the session's local service by the environment."""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import aioboto3
import anyio
import pytest
from tenacity import wait_none

import smexec.aws.client
from smexec.aws import jobs
from smexec.aws.client import Client
from smexec.core.jobtype import TRAINING
from smexec.testing import LocalService

T = TypeVar("T")
NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are tried again at once, and nobody waits for rates that are only guessed."""
    monkeypatch.setattr(smexec.aws.client, "_PAUSE", wait_none())
    monkeypatch.setattr(smexec.aws.client, "_GUESS", 1000.0)


@pytest.fixture(scope="package")
def models() -> Any:
    """A session that has read botocore's models, which takes longer than all else here."""
    return aioboto3.Session()


@pytest.fixture
def ask(smexec_service: LocalService, models: Any) -> Callable[..., Any]:
    """Run something with a client: ``ask(identity)``, ``ask(s3.put, uri, parts)``.

    With ``session=None`` in an environment that the test has changed.
    """

    def run(work: Callable[..., Awaitable[T]], *args: Any, session: Any = models, **kwargs: Any) -> T:
        async def main() -> T:
            async with Client(session, None) as aws:
                return await work(aws, *args, **kwargs)

        return anyio.run(main)

    return run


@pytest.fixture
def job(
    smexec_service: LocalService, request: pytest.FixtureRequest, ask: Callable[..., Any]
) -> Iterator[Callable[..., dict[str, Any]]]:
    """A valid request for a job that runs these words, under a new name; none runs on after the test."""
    token = re.sub(r"[^a-z]+", "-", request.node.originalname)[:40].strip("-")

    def members(*command: str, **changes: Any) -> dict[str, Any]:
        return {
            "TrainingJobName": f"{token}-{next(NUMBERS)}",
            "AlgorithmSpecification": {
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": list(command or ["true"]),
            },
            "RoleArn": smexec_service.role,
            "OutputDataConfig": {"S3OutputPath": f"s3://{smexec_service.bucket}/output"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            **changes,
        }

    yield members
    smexec_service.clear_faults()
    running = {"NameContains": token, "StatusEquals": "InProgress", "MaxResults": 100}
    listed = smexec_service.client("sagemaker").list_training_jobs(**running)["TrainingJobSummaries"]
    for name in [summary["TrainingJobName"] for summary in listed]:
        ask(jobs.stop, TRAINING, name)
        smexec_service.wait(name)
