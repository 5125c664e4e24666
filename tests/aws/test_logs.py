from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from smexec.aws import jobs, logs
from smexec.core.jobtype import ENDPOINT, TRAINING
from smexec.core.request import Request
from smexec.errors import AccessDenied
from smexec.testing import LocalService

Ask = Callable[..., Any]


def test_the_last_lines(ask: Ask, smexec_service: LocalService, job: Any) -> None:
    request = job("seq", "100")
    name = request["TrainingJobName"]
    ask(jobs.create, Request("CreateTrainingJob", request))
    smexec_service.wait(name)
    assert ask(logs.tail, TRAINING, name, 3) == ("98", "99", "100")
    assert ask(logs.tail, TRAINING, name, 20_000) == tuple(map(str, range(1, 101)))
    assert ask(logs.tail, TRAINING, name, 0) == ()


def test_lines_of_several_instances(ask: Ask, smexec_service: LocalService, job: Any) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    request = job("sh", "-c", "echo from $(hostname)", ResourceConfig=resources)
    name = request["TrainingJobName"]
    ask(jobs.create, Request("CreateTrainingJob", request))
    smexec_service.wait(name)
    assert len(ask(logs.tail, TRAINING, name, 10)) == 2
    assert len(ask(logs.tail, TRAINING, name, 1)) == 1


def write(service: LocalService, group: str, streams: list[str]) -> None:
    """A line in each stream, which is its name; later ones a second later."""
    client = service.client("logs")
    with contextlib.suppress(client.exceptions.ResourceAlreadyExistsException):
        client.create_log_group(logGroupName=group)
    begin = int(time.time() - len(streams)) * 1000
    for second, name in enumerate(streams):
        client.create_log_stream(logGroupName=group, logStreamName=name)
        event = {"timestamp": begin + second * 1000, "message": name}
        client.put_log_events(logGroupName=group, logStreamName=name, logEvents=[event])


def test_a_job_may_have_more_instances_than_a_page_has_streams(
    ask: Ask, smexec_service: LocalService
) -> None:
    names = [f"many/algo-{number}" for number in range(1, 61)]
    write(smexec_service, "/aws/sagemaker/TrainingJobs", names)
    assert ask(logs.tail, TRAINING, "many", 100) == tuple(names)


def test_of_an_endpoint_with_a_long_past_the_last_lines_are_read(
    ask: Ask, smexec_service: LocalService
) -> None:
    names = [f"AllTraffic/i-{number}" for number in range(160, 100, -1)]
    write(smexec_service, "/aws/sagemaker/Endpoints/old", names)
    assert ask(logs.tail, ENDPOINT, "old", 3) == tuple(names[-3:])


def test_a_job_without_lines(ask: Ask) -> None:
    assert ask(logs.tail, TRAINING, "no-such-job", 3) == ()


def test_another_jobs_lines_are_not_taken_for_its_own(
    ask: Ask, smexec_service: LocalService, job: Any
) -> None:
    request = job("echo", "mine")
    request["TrainingJobName"] += "0"
    name = request["TrainingJobName"]
    ask(jobs.create, Request("CreateTrainingJob", request))
    smexec_service.wait(name)
    assert ask(logs.tail, TRAINING, name[:-1], 3) == ()


@pytest.mark.parametrize("operation", ["DescribeLogStreams", "GetLogEvents"])
def test_lines_that_we_may_not_read_are_no_reason_to_fail(
    ask: Ask, smexec_service: LocalService, job: Any, operation: str
) -> None:
    request = job("echo", "hello")
    name = request["TrainingJobName"]
    ask(jobs.create, Request("CreateTrainingJob", request))
    smexec_service.wait(name)
    smexec_service.fault(operation, "denied", times=2)
    with pytest.raises(AccessDenied):
        ask(logs.tail, TRAINING, name, 3)
    (line,) = ask(logs.tail_or_why, TRAINING, name, 3)
    assert line.startswith(f"(no log: {operation}: User: ")


def test_an_account_that_never_had_a_job(ask: Ask, smexec_service: LocalService) -> None:
    text = "The specified log group does not exist."
    smexec_service.fault("DescribeLogStreams", "error", code="ResourceNotFoundException", message=text)
    assert ask(logs.tail, TRAINING, "job", 3) == ()
