from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from smexec.aws import jobs, logs
from smexec.core.jobtype import TRAINING
from smexec.core.request import Request
from smexec.testing import LocalService

Ask = Callable[..., Any]


def test_the_last_lines(ask: Ask, smexec_service: LocalService, job: Any) -> None:
    request = job("seq", "100")
    name = request["TrainingJobName"]
    ask(jobs.create, Request("CreateTrainingJob", request))
    smexec_service.wait(name)
    assert ask(logs.tail, *TRAINING.log(name), 3) == ("98", "99", "100")
    assert ask(logs.tail, *TRAINING.log(name), 20_000) == tuple(map(str, range(1, 101)))
    assert ask(logs.tail, *TRAINING.log(name), 0) == ()


def test_lines_of_several_instances(ask: Ask, smexec_service: LocalService, job: Any) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    request = job("sh", "-c", "echo from $(hostname)", ResourceConfig=resources)
    name = request["TrainingJobName"]
    ask(jobs.create, Request("CreateTrainingJob", request))
    smexec_service.wait(name)
    assert len(ask(logs.tail, *TRAINING.log(name), 10)) == 2
    assert len(ask(logs.tail, *TRAINING.log(name), 1)) == 1


def test_a_job_without_lines(ask: Ask) -> None:
    assert ask(logs.tail, *TRAINING.log("no-such-job"), 3) == ()


def test_another_jobs_lines_are_not_taken_for_its_own(
    ask: Ask, smexec_service: LocalService, job: Any
) -> None:
    request = job("echo", "mine")
    request["TrainingJobName"] += "0"
    name = request["TrainingJobName"]
    ask(jobs.create, Request("CreateTrainingJob", request))
    smexec_service.wait(name)
    assert ask(logs.tail, *TRAINING.log(name[:-1]), 3) == ()


@pytest.mark.parametrize("operation", ["DescribeLogStreams", "GetLogEvents"])
def test_lines_that_we_may_not_read_are_no_reason_to_fail(
    ask: Ask, smexec_service: LocalService, job: Any, operation: str
) -> None:
    request = job("echo", "hello")
    name = request["TrainingJobName"]
    ask(jobs.create, Request("CreateTrainingJob", request))
    smexec_service.wait(name)
    smexec_service.fault(operation, "denied")
    (line,) = ask(logs.tail, *TRAINING.log(name), 3)
    assert line.startswith(f"(no log: {operation}: User: ")


def test_an_account_that_never_had_a_job(ask: Ask, smexec_service: LocalService) -> None:
    text = "The specified log group does not exist."
    smexec_service.fault("DescribeLogStreams", "error", code="ResourceNotFoundException", message=text)
    assert ask(logs.tail, *TRAINING.log("job"), 3) == ()
