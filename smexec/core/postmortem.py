"""Why a job ended without an outcome: what Describe answers → the exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smexec import errors
from smexec.core.jobtype import TRAINING, JobType


def why(description: Mapping[str, Any], job: JobType = TRAINING) -> errors.SmexecError:
    """The exception for a job that has ended.

    Source of the texts that are looked for: facts on FailureReason, reported by users; none of them is a
    documented interface, so what is not recognised is a plain :class:`~smexec.errors.JobFailed`.
    """
    error = _classify(description, description[job.status], job)
    error.locate(description[job.name], description.get("FailureReason"))
    if isinstance(error, errors.JobError):
        error.status = description[job.status]
        error.secondary_status = description.get("SecondaryStatus")
        error.exit_message = exit_message(description)
    return error


def exit_message(description: Mapping[str, Any]) -> str | None:
    """What a processing wrote for us to read, without the end of its last line."""
    return description.get("ExitMessage", "").rstrip() or None


def _classify(description: Mapping[str, Any], status: str, job: JobType) -> errors.SmexecError:
    secondary = description.get("SecondaryStatus")
    limits = description.get("StoppingCondition", {})
    if secondary == "MaxRuntimeExceeded" or (status == "Stopped" and _took_all(description, limits, job)):
        return errors.MaxRuntimeExceeded(
            f"the job ran into max_runtime_in_seconds={limits.get('MaxRuntimeInSeconds')}"
        )
    if secondary == "MaxWaitTimeExceeded":
        return errors.MaxWaitTimeExceeded(
            "spot capacity did not suffice within "
            f"max_wait_time_in_seconds={limits.get('MaxWaitTimeInSeconds')}"
        )
    if status == "Stopped":
        return errors.JobStopped("the job was stopped before its call had an outcome")
    if status == "Completed":
        return errors.OutcomeMissing(
            "the job is Completed, yet it left no outcome: its image did not run our worker"
        )
    return _failed(description.get("FailureReason") or "the service gives no reason")


def _took_all(description: Mapping[str, Any], limits: Mapping[str, Any], job: JobType) -> bool:
    """Whether a job of a type that has no secondary status was stopped because its time was over."""
    began, ended = (description.get(f"{job.noun.removesuffix('Job')}{end}Time") for end in ("Start", "End"))
    if not (began and ended and "MaxRuntimeInSeconds" in limits) or "SecondaryStatus" in description:
        return False
    return bool((ended - began).total_seconds() >= limits["MaxRuntimeInSeconds"])


def _failed(reason: str) -> errors.SmexecError:
    # An AlgorithmError is in the words of what ran in the container, which may name anything.
    kind, _, words = reason.partition(":")
    if words.startswith(
        " smexec: Python mismatch"
    ):  # an image too old for the worker to say it in an outcome
        return errors.PythonMismatch(reason)
    if kind == "CapacityError":
        return errors.CapacityError(f"AWS has no such instance to give at present: {reason}")
    if kind == "InternalServerError":
        return errors.InternalServerError(f"the service failed the job: {reason}")
    if kind == "ClientError" and "more memory" in words:
        return errors.OutOfMemory(9)
    if words.rstrip(". ").endswith("exit code: 137"):  # 128 + SIGKILL, and nobody lived to say why
        return errors.CallKilled(9)
    return errors.JobFailed(f"the job failed: {reason}")
