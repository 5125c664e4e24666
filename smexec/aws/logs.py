"""What jobs and endpoints wrote to stdout and stderr, from CloudWatch."""

from __future__ import annotations

from typing import Any

from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.core.jobtype import JobType
from smexec.errors import ServiceError

_MOST_LINES = 10_000  # that GetLogEvents gives at once
_PATIENCE = 10.0


async def tail_or_why(aws: Client, job: JobType, name: str, lines: int) -> tuple[str, ...]:
    """The last lines that a job wrote, for an error to show; or, in their place, why there are none."""
    try:
        return await tail(aws, job, name, lines)
    except ServiceError as error:
        return (f"(no log: {error})",)


async def tail(aws: Client, job: JobType, name: str, lines: int) -> tuple[str, ...]:
    """The last lines that a job wrote.

    :raises ServiceError: they cannot be had
    """
    try:
        return await _tail(aws, job, name, lines) if lines > 0 else ()
    except NotFound:  # nothing has been written
        return ()


async def _tail(aws: Client, job: JobType, name: str, lines: int) -> tuple[str, ...]:
    group, prefix = job.log(name)
    streams = await (_streams_of(aws, group, prefix) if prefix else _last_streams(aws, group))
    since = await _created(aws, job, name)
    written: list[tuple[int, str]] = []
    for stream in streams:
        if stream["creationTime"] < since:
            continue
        page = await aws.call(
            "logs",
            "GetLogEvents",
            patience=_PATIENCE,
            logGroupName=group,
            logStreamName=stream["logStreamName"],
            limit=min(lines, _MOST_LINES),
            startFromHead=False,
        )
        written += [(event["timestamp"], event["message"]) for event in page["events"]]
    written.sort(key=lambda event: event[0])
    return tuple(message.rstrip("\n") for _, message in written[-lines:])


async def _streams_of(aws: Client, group: str, prefix: str) -> list[dict[str, Any]]:
    """All whose names begin so: one for each instance of a job."""
    request: dict[str, Any] = {"logGroupName": group, "logStreamNamePrefix": prefix}
    found: list[dict[str, Any]] = []
    while True:
        page = await aws.call("logs", "DescribeLogStreams", patience=_PATIENCE, **request)
        found += page["logStreams"]
        if not page.get("nextToken"):
            return found
        request["nextToken"] = page["nextToken"]


async def _last_streams(aws: Client, group: str) -> list[dict[str, Any]]:
    """Those of a group that were last written to, a page of 50: a group keeps those of all its past."""
    order = {"orderBy": "LastEventTime", "descending": True}
    page = await aws.call("logs", "DescribeLogStreams", patience=_PATIENCE, logGroupName=group, **order)
    streams: list[dict[str, Any]] = page["logStreams"]
    return streams


async def _created(aws: Client, job: JobType, name: str) -> int:
    """Epoch milliseconds. Names of jobs are unique for ever, but endpoints may have that of a former one.

    0: that does not matter, or cannot be told
    """
    if not job.lasts:
        return 0
    try:
        described = await aws.call("sagemaker", job.describing, patience=_PATIENCE, **{job.name: name})
    except ServiceError:  # it is gone, or who may ask it may not describe it
        return 0
    return int(described["CreationTime"].timestamp() * 1000)
