"""Training Jobs: created, seen, stopped; and the last lines of their logs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

import anyio

from smexec.aws.border import NameTaken, NotFound, Throttled, Unreachable
from smexec.aws.client import PATIENCE, Client
from smexec.core.cadence import SKEW
from smexec.core.lifecycle import StatusSeen
from smexec.errors import InvalidRequest, ServiceError

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_SOONEST, _LATEST = 0.25, 20.0  # seconds until a request is sent again whose answer was lost
_MOST_LINES = 10_000  # that GetLogEvents gives at once


async def create(aws: Client, request: Mapping[str, Any]) -> None:
    """Start a job, once, whatever becomes of the answer.

    The name is the idempotency token: if an answer was lost, the same request is sent again, and a name
    that is taken then means that it worked.

    :raises smexec.aws.border.LimitReached: no instance is free; nothing was started
    """
    lost_at: float | None = None
    pause = _SOONEST
    while True:
        try:
            await aws.call("sagemaker", "CreateTrainingJob", patience=0, **request)
        except Throttled:
            continue  # the bucket has slowed down
        except Unreachable:
            lost_at = lost_at or anyio.current_time()
            if anyio.current_time() - lost_at > PATIENCE:
                raise
            await anyio.sleep(pause)
            pause = min(_LATEST, pause * 2)
        except NameTaken:
            if lost_at is None:
                raise
            return
        else:
            return


async def stop(aws: Client, job: str) -> None:
    """Ask for a job's end. One that has ended already is no error."""
    try:
        await aws.call("sagemaker", "StopTrainingJob", TrainingJobName=job)
    except InvalidRequest as error:
        if "is in status" not in str(error):
            raise


async def statuses(aws: Client, token: str, jobs: Collection[str], since: float) -> dict[str, StatusSeen]:
    """What the service says of those of ``jobs`` that it lists: it may be late, and then leaves one out.

    :param token: part of all their names
    :param since: when the oldest was created, in the client's seconds
    """
    request: dict[str, Any] = {
        "NameContains": token,
        "CreationTimeAfter": dt.datetime.fromtimestamp(since - SKEW, dt.timezone.utc),
        "SortBy": "CreationTime",
        "SortOrder": "Descending",
        "MaxResults": 100,
    }
    found: dict[str, StatusSeen] = {}
    while len(found) < len(jobs):
        page = await aws.call("sagemaker", "ListTrainingJobs", **request)
        for summary in page["TrainingJobSummaries"]:
            name = summary["TrainingJobName"]
            if name in jobs:
                found[name] = StatusSeen(summary["TrainingJobStatus"], summary.get("SecondaryStatus", ""))
        if not page.get("NextToken"):
            break
        request["NextToken"] = page["NextToken"]
    return found


async def describe(aws: Client, job: str) -> dict[str, Any]:
    """:raises smexec.aws.border.NotFound: there is no such job"""
    answer: dict[str, Any] = await aws.call("sagemaker", "DescribeTrainingJob", TrainingJobName=job)
    return answer


async def log_tail(aws: Client, job: str, lines: int) -> tuple[str, ...]:
    """The last lines that a job wrote; or, in place of them, why there are none to be had."""
    if lines < 1:
        return ()
    try:
        return await _tail(aws, job, lines)
    except NotFound:
        return ()
    except ServiceError as error:
        return (f"(no log: {error})",)


async def _tail(aws: Client, job: str, lines: int) -> tuple[str, ...]:
    answer = await aws.call(
        "logs", "DescribeLogStreams", patience=10, logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job}/"
    )
    written: list[tuple[int, str]] = []
    for stream in answer["logStreams"]:
        page = await aws.call(
            "logs",
            "GetLogEvents",
            patience=10,
            logGroupName=LOG_GROUP,
            logStreamName=stream["logStreamName"],
            limit=min(lines, _MOST_LINES),
            startFromHead=False,
        )
        written += [(event["timestamp"], event["message"]) for event in page["events"]]
    written.sort(key=lambda event: event[0])
    return tuple(message.rstrip("\n") for _, message in written[-lines:])
