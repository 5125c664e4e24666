from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from smexec.aws import jobs
from smexec.aws.border import LimitReached, NameTaken, NotFound, Unreachable
from smexec.aws.client import Client
from smexec.core.cadence import SKEW
from smexec.core.jobtype import TRAINING
from smexec.core.lifecycle import Phase
from smexec.core.request import Request
from smexec.errors import AccessDenied, InvalidRequest, RoleError
from smexec.testing import LocalService

Ask = Callable[..., Any]
CREATE, LIST = "sagemaker.CreateTrainingJob", "sagemaker.ListTrainingJobs"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_SOONEST", 0.0)


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
    ask(jobs.create, Request("CreateTrainingJob", request))
    assert smexec_service.requests()[CREATE] == asked
    name = request["TrainingJobName"]
    assert ask(jobs.describe, TRAINING, name)["TrainingJobName"] == name


def test_a_name_that_somebody_else_has_taken_is_an_error(ask: Ask, job: Any) -> None:
    request = job()
    ask(jobs.create, Request("CreateTrainingJob", request))
    with pytest.raises(NameTaken, match="must be unique"):
        ask(jobs.create, Request("CreateTrainingJob", request))


def test_a_refusal_is_one_also_after_an_answer_was_lost(
    ask: Ask, smexec_service: LocalService, job: Any
) -> None:
    smexec_service.fault("CreateTrainingJob", "drop-before")
    with pytest.raises(RoleError):
        ask(jobs.create, Request("CreateTrainingJob", job(RoleArn="arn:aws:iam::123456789012:role/nobody")))


def test_patience_ends(
    ask: Ask, smexec_service: LocalService, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", -1.0)
    smexec_service.reset_requests()
    smexec_service.fault("CreateTrainingJob", "drop-before", times=None)
    with pytest.raises(Unreachable):
        ask(jobs.create, Request("CreateTrainingJob", job()))
    assert smexec_service.requests()[CREATE] == 1


def test_a_full_account_is_for_the_caller_to_wait_for(
    ask: Ask, smexec_service: LocalService, job: Any
) -> None:
    smexec_service.configure(quotas={"ml.m5.large": 0})
    with pytest.raises(LimitReached):
        ask(jobs.create, Request("CreateTrainingJob", job()))


def test_a_full_account_does_not_make_a_lost_answer_forgotten(
    ask: Ask, smexec_service: LocalService, job: Any
) -> None:
    """The one instance may be that of the very job whose answer was lost."""
    request, made = Request("CreateTrainingJob", job()), set[str]()
    smexec_service.fault("CreateTrainingJob", "drop")
    smexec_service.fault("CreateTrainingJob", "error", code="ResourceLimitExceeded", message="full")
    with pytest.raises(LimitReached):
        ask(jobs.create, request, made)
    assert made == {"CreateTrainingJob"}
    ask(jobs.create, request, made)


# -- stop ----------------------------------------------------------------------------------------------------


def test_stopping(ask: Ask, smexec_service: LocalService, job: Any) -> None:
    request = job("sleep", "1000")
    name = request["TrainingJobName"]
    ask(jobs.create, Request("CreateTrainingJob", request))
    smexec_service.wait(name, "Training")
    ask(jobs.stop, TRAINING, name)
    assert smexec_service.wait(name)["TrainingJobStatus"] == "Stopped"
    ask(jobs.stop, TRAINING, name)  # it has ended already: so be it


def test_stopping_what_was_never_there(ask: Ask) -> None:
    with pytest.raises(NotFound):
        ask(jobs.stop, TRAINING, "no-such-job")


def test_stopping_what_we_may_not(ask: Ask, smexec_service: LocalService) -> None:
    smexec_service.fault("StopTrainingJob", "denied")
    with pytest.raises(AccessDenied):
        ask(jobs.stop, TRAINING, "job")
    smexec_service.fault("StopTrainingJob", "error", code="ValidationException", message="something else")
    with pytest.raises(InvalidRequest):
        ask(jobs.stop, TRAINING, "job")


# -- statuses ------------------------------------------------------------------------------------------------


async def statuses_by_pages(
    aws: Client, token: str, names: list[str], since: float, size: int
) -> dict[str, Phase]:
    client = await aws._client("sagemaker")
    client.meta.events.register(
        "provide-client-params.sagemaker.ListTrainingJobs", lambda params, **_: {**params, "MaxResults": size}
    )
    return await jobs.phases(aws, TRAINING, token, names, since)


@pytest.fixture
def three(ask: Ask, smexec_service: LocalService, job: Any) -> list[str]:
    """Names of a job that has completed, one that has failed and one that runs."""
    requests = [job("true"), job("false"), job("sleep", "1000")]
    names = [request["TrainingJobName"] for request in requests]
    for request in requests:
        ask(jobs.create, Request("CreateTrainingJob", request))
    for name, status in zip(names, ("Completed", "Failed", "Training"), strict=True):
        smexec_service.wait(name, status)
    return names


ENDS = [Phase.ENDED, Phase.ENDED, Phase.RUNNING]


def common(names: list[str]) -> str:
    return names[0].rpartition("-")[0]


def test_statuses_of_a_run(ask: Ask, three: list[str], smexec_service: LocalService) -> None:
    smexec_service.reset_requests()
    seen = ask(jobs.phases, TRAINING, common(three), three, time.time())
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
    seen = ask(jobs.phases, TRAINING, common(three), [*three, f"{common(three)}-unlisted"], time.time())
    assert set(seen) == set(three)
    assert ask(jobs.phases, TRAINING, "another-run", three, time.time()) == {}


def test_a_clock_may_be_wrong(ask: Ask, three: list[str]) -> None:
    """As wrong as AWS takes requests of it."""
    created = ask(jobs.describe, TRAINING, three[0])["CreationTime"].timestamp()
    assert len(ask(jobs.phases, TRAINING, common(three), three, created + SKEW - 60)) == 3


def test_describing_what_was_never_there(ask: Ask) -> None:
    with pytest.raises(NotFound):
        ask(jobs.describe, TRAINING, "no-such-job")
