from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from smexec.aws import training
from smexec.aws.border import LimitReached, NameTaken, NotFound, Unreachable
from smexec.aws.client import Client
from smexec.core.cadence import SKEW
from smexec.core.lifecycle import StatusSeen
from smexec.errors import AccessDenied, InvalidRequest, RoleError
from smexec.testing import LocalService

Ask = Callable[..., Any]
CREATE, LIST = "sagemaker.CreateTrainingJob", "sagemaker.ListTrainingJobs"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_SOONEST", 0.0)


# -- create --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "asked"),
    [
        ([], 1),
        (["drop"], 2),
        (["drop-before"], 2),
        (["internal", "drop", "internal"], 4),
        (["throttle", "throttle"], 3),
        (["drop", "throttle"], 3),
    ],
)
def test_a_job_is_created_once_whatever_becomes_of_the_answer(
    ask: Ask, smexec_service: LocalService, job: Any, faults: list[str], asked: int
) -> None:
    smexec_service.reset_requests()
    for fault in faults:
        smexec_service.fault("CreateTrainingJob", fault)
    request = job()
    ask(training.create, request)
    assert smexec_service.requests()[CREATE] == asked
    assert ask(training.describe, request["TrainingJobName"])["TrainingJobName"] == request["TrainingJobName"]


def test_a_name_that_somebody_else_has_taken_is_an_error(ask: Ask, job: Any) -> None:
    request = job()
    ask(training.create, request)
    with pytest.raises(NameTaken, match="must be unique"):
        ask(training.create, request)


def test_a_refusal_is_one_also_after_an_answer_was_lost(
    ask: Ask, smexec_service: LocalService, job: Any
) -> None:
    smexec_service.fault("CreateTrainingJob", "drop-before")
    with pytest.raises(RoleError):
        ask(training.create, job(RoleArn="arn:aws:iam::123456789012:role/nobody"))


def test_patience_ends(
    ask: Ask, smexec_service: LocalService, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PATIENCE", -1.0)
    smexec_service.reset_requests()
    smexec_service.fault("CreateTrainingJob", "drop-before", times=None)
    with pytest.raises(Unreachable):
        ask(training.create, job())
    assert smexec_service.requests()[CREATE] == 1


def test_a_full_account_is_for_the_caller_to_wait_for(
    ask: Ask, smexec_service: LocalService, job: Any
) -> None:
    smexec_service.configure(quotas={"ml.m5.large": 0})
    with pytest.raises(LimitReached):
        ask(training.create, job())


# -- stop ----------------------------------------------------------------------------------------------------


def test_stopping(ask: Ask, smexec_service: LocalService, job: Any) -> None:
    request = job("sleep", "1000")
    name = request["TrainingJobName"]
    ask(training.create, request)
    smexec_service.wait(name, "Training")
    ask(training.stop, name)
    assert smexec_service.wait(name)["TrainingJobStatus"] == "Stopped"
    ask(training.stop, name)  # it has ended already: so be it


def test_stopping_what_was_never_there(ask: Ask) -> None:
    with pytest.raises(NotFound):
        ask(training.stop, "no-such-job")


def test_stopping_what_we_may_not(ask: Ask, smexec_service: LocalService) -> None:
    smexec_service.fault("StopTrainingJob", "denied")
    with pytest.raises(AccessDenied):
        ask(training.stop, "job")
    smexec_service.fault("StopTrainingJob", "error", code="ValidationException", message="something else")
    with pytest.raises(InvalidRequest):
        ask(training.stop, "job")


# -- statuses ------------------------------------------------------------------------------------------------


async def statuses_by_pages(
    aws: Client, token: str, jobs: list[str], since: float, size: int
) -> dict[str, StatusSeen]:
    client = await aws._client("sagemaker")
    client.meta.events.register(
        "provide-client-params.sagemaker.ListTrainingJobs", lambda params, **_: {**params, "MaxResults": size}
    )
    return await training.statuses(aws, token, jobs, since)


@pytest.fixture
def three(ask: Ask, smexec_service: LocalService, job: Any) -> list[str]:
    """Names of a job that has completed, one that has failed and one that runs."""
    requests = [job("true"), job("false"), job("sleep", "1000")]
    names = [request["TrainingJobName"] for request in requests]
    for request in requests:
        ask(training.create, request)
    for name, status in zip(names, ("Completed", "Failed", "Training"), strict=True):
        smexec_service.wait(name, status)
    return names


ENDS = [
    StatusSeen("Completed", "Completed"),
    StatusSeen("Failed", "Failed"),
    StatusSeen("InProgress", "Training"),
]


def common(names: list[str]) -> str:
    return names[0].rpartition("-")[0]


def test_statuses_of_a_run(ask: Ask, three: list[str], smexec_service: LocalService) -> None:
    smexec_service.reset_requests()
    seen = ask(training.statuses, common(three), three, time.time())
    assert seen == dict(zip(three, ENDS, strict=True))
    assert smexec_service.requests()[LIST] == 1
    assert "sagemaker.DescribeTrainingJob" not in smexec_service.requests()


def test_statuses_come_in_pages(ask: Ask, three: list[str], smexec_service: LocalService) -> None:
    smexec_service.reset_requests()
    seen = ask(statuses_by_pages, common(three), three, time.time(), 1)
    assert seen == dict(zip(three, ENDS, strict=True))
    assert smexec_service.requests()[LIST] == 3


def test_no_more_pages_are_asked_for_than_tell_something(
    ask: Ask, three: list[str], smexec_service: LocalService
) -> None:
    smexec_service.reset_requests()
    assert ask(statuses_by_pages, common(three), three[-1:], time.time(), 1) == {three[-1]: ENDS[-1]}
    assert smexec_service.requests()[LIST] == 1


def test_a_job_that_is_not_listed_is_left_out(ask: Ask, three: list[str]) -> None:
    seen = ask(training.statuses, common(three), [*three, f"{common(three)}-unlisted"], time.time())
    assert set(seen) == set(three)
    assert ask(training.statuses, "another-run", three, time.time()) == {}


def test_a_clock_may_be_wrong(ask: Ask, three: list[str]) -> None:
    """As wrong as AWS takes requests of it."""
    assert len(ask(training.statuses, common(three), three, time.time() + SKEW - 60)) == 3


def test_describing_what_was_never_there(ask: Ask) -> None:
    with pytest.raises(NotFound):
        ask(training.describe, "no-such-job")


# -- logs ----------------------------------------------------------------------------------------------------


def test_the_last_lines(ask: Ask, smexec_service: LocalService, job: Any) -> None:
    request = job("seq", "100")
    name = request["TrainingJobName"]
    ask(training.create, request)
    smexec_service.wait(name)
    assert ask(training.log_tail, name, 3) == ("98", "99", "100")
    assert ask(training.log_tail, name, 20_000) == tuple(map(str, range(1, 101)))
    assert ask(training.log_tail, name, 0) == ()


def test_lines_of_several_instances(ask: Ask, smexec_service: LocalService, job: Any) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    request = job("sh", "-c", "echo from $(hostname)", ResourceConfig=resources)
    name = request["TrainingJobName"]
    ask(training.create, request)
    smexec_service.wait(name)
    assert len(ask(training.log_tail, name, 10)) == 2
    assert len(ask(training.log_tail, name, 1)) == 1


def test_a_job_without_lines(ask: Ask) -> None:
    assert ask(training.log_tail, "no-such-job", 3) == ()


def test_another_jobs_lines_are_not_taken_for_its_own(
    ask: Ask, smexec_service: LocalService, job: Any
) -> None:
    request = job("echo", "mine")
    request["TrainingJobName"] += "0"
    name = request["TrainingJobName"]
    ask(training.create, request)
    smexec_service.wait(name)
    assert ask(training.log_tail, name[:-1], 3) == ()


@pytest.mark.parametrize("operation", ["DescribeLogStreams", "GetLogEvents"])
def test_lines_that_we_may_not_read_are_no_reason_to_fail(
    ask: Ask, smexec_service: LocalService, job: Any, operation: str
) -> None:
    request = job("echo", "hello")
    name = request["TrainingJobName"]
    ask(training.create, request)
    smexec_service.wait(name)
    smexec_service.fault(operation, "denied")
    (line,) = ask(training.log_tail, name, 3)
    assert line.startswith(f"(no log: {operation}: User: ")


def test_an_account_that_never_had_a_job(ask: Ask, smexec_service: LocalService) -> None:
    text = "The specified log group does not exist."
    smexec_service.fault("DescribeLogStreams", "error", code="ResourceNotFoundException", message=text)
    assert ask(training.log_tail, "job", 3) == ()
