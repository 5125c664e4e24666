from __future__ import annotations

from typing import Any

import pytest

from smexec import errors
from smexec.core.postmortem import why


def described(status: str, secondary: str | None = None, **members: Any) -> dict[str, Any]:
    description = {
        "TrainingJobName": "job",
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary or status,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
    }
    return {**description, **members}


def failed(reason: str) -> errors.SmexecError:
    return why(described("Failed", FailureReason=reason))


INTERNAL = "InternalServerError: We encountered an internal error. Please try again."
CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. "
    "Please retry using a different ML instance type."
)
TOO_OLD = (
    "AlgorithmError: smexec: Python mismatch: the image's python is 3.6, and smexec needs 3.8 or later there "
    "(and the client's own major.minor). Choose another image_uri., exit code: 3"
)
MEMORY = (
    "ClientError: Please use an instance type with more memory, or reduce the size of training data "
    "processed on an instance."
)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (CAPACITY, errors.CapacityError),
        (INTERNAL, errors.InternalServerError),
        (TOO_OLD, errors.PythonMismatch),
        (MEMORY, errors.OutOfMemory),
        ("AlgorithmError: , exit code: 137", errors.CallKilled),
        ("AlgorithmError: the last words, exit code: 137", errors.CallKilled),
        ("AlgorithmError: ValueError: no, exit code: 1", errors.JobFailed),
        ("AlgorithmError: , exit code: 1370", errors.JobFailed),
        ("ClientError: Data download failed: Access Denied", errors.JobFailed),
        ("something of a later version", errors.JobFailed),
        ("", errors.JobFailed),
    ],
)
def test_reasons(reason: str, kind: type[errors.SmexecError]) -> None:
    error = failed(reason)
    assert type(error) is kind
    assert reason in str(error)
    assert error.failure_reason == reason


@pytest.mark.parametrize(
    "words",
    [
        INTERNAL,
        CAPACITY,
        TOO_OLD,
        MEMORY,
        "CUDA OutOfMemoryError: use more memory",
        "smexec: Python mismatch",
    ],
)
def test_what_the_users_code_says_is_not_taken_for_the_platforms_words(words: str) -> None:
    assert type(failed(f"AlgorithmError: RuntimeError: {words}, exit code: 1")) is errors.JobFailed


def test_a_failure_without_a_reason() -> None:
    error = why(described("Failed"))
    assert type(error) is errors.JobFailed
    assert "the service gives no reason" in str(error)


@pytest.mark.parametrize(
    ("status", "secondary", "kind", "text"),
    [
        ("Stopped", "Stopped", errors.JobStopped, "stopped before its call had an outcome"),
        ("Stopped", "MaxRuntimeExceeded", errors.MaxRuntimeExceeded, "max_runtime_in_seconds=60"),
        ("Stopped", "MaxWaitTimeExceeded", errors.MaxWaitTimeExceeded, "max_wait_time_in_seconds=90"),
        ("Completed", "Completed", errors.OutcomeMissing, "its image did not run our worker"),
    ],
)
def test_other_ends(status: str, secondary: str, kind: type[errors.JobError], text: str) -> None:
    error = why(described(status, secondary))
    assert type(error) is kind
    assert text in str(error)
    assert (error.status, error.secondary_status) == (status, secondary)


def test_where_it_happened_is_told() -> None:
    error = failed(INTERNAL)
    assert isinstance(error, errors.JobError)
    assert (error.job_name, error.status, error.secondary_status) == ("job", "Failed", "Failed")
    assert str(error).endswith("\n  job: job")  # the reason stands in the text already


def test_little_is_needed_of_the_description() -> None:
    error = why({"TrainingJobName": "job", "TrainingJobStatus": "Failed"})
    assert type(error) is errors.JobFailed
    assert error.secondary_status is None
