"""What jobs wrote to stdout and stderr, from CloudWatch."""

from __future__ import annotations

from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.errors import ServiceError

_MOST_LINES = 10_000  # that GetLogEvents gives at once


async def tail(aws: Client, group: str, prefix: str, lines: int) -> tuple[str, ...]:
    """The last lines that a job wrote; or, in place of them, why there are none to be had."""
    if lines < 1:
        return ()
    try:
        return await _tail(aws, group, prefix, lines)
    except NotFound:
        return ()
    except ServiceError as error:
        return (f"(no log: {error})",)


async def _tail(aws: Client, group: str, prefix: str, lines: int) -> tuple[str, ...]:
    streams = {"logStreamNamePrefix": prefix} if prefix else {}
    answer = await aws.call("logs", "DescribeLogStreams", patience=10, logGroupName=group, **streams)
    written: list[tuple[int, str]] = []
    for stream in answer["logStreams"]:
        page = await aws.call(
            "logs",
            "GetLogEvents",
            patience=10,
            logGroupName=group,
            logStreamName=stream["logStreamName"],
            limit=min(lines, _MOST_LINES),
            startFromHead=False,
        )
        written += [(event["timestamp"], event["message"]) for event in page["events"]]
    written.sort(key=lambda event: event[0])
    return tuple(message.rstrip("\n") for _, message in written[-lines:])
