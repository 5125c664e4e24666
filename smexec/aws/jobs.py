"""Jobs of every type: created, seen, stopped."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Collection
from typing import Any

import anyio

from smexec.aws.border import Busy, NameTaken, NotFound, Throttled, Unreachable
from smexec.aws.client import PATIENCE, Client
from smexec.core.cadence import SKEW
from smexec.core.jobtype import JobType
from smexec.core.lifecycle import Phase
from smexec.core.request import Request
from smexec.errors import InvalidRequest

_SOONEST, _LATEST = 0.25, 20.0  # seconds until a request is sent again whose answer was lost
_SELDOM = 5.0  # the longest pause between two looks at what will change


async def create(aws: Client, request: Request, made: set[str] | None = None) -> None:
    """Have something made, once, whatever becomes of the answer.

    The name is the idempotency token: if an answer was lost, the same request is sent again, and a name
    that is taken then means that it worked.

    :param made: operations that have made something of this name, or may have; this one is added when it may
    :raises smexec.aws.border.LimitReached: no instance is free, or what has the last one is the job whose
        answer was lost: to be asked again with the same ``made``
    """
    made = set() if made is None else made
    lost_at: float | None = None
    pause = _SOONEST
    while True:
        try:
            await aws.call(request.service, request.operation, patience=0, **request.members)
        except Throttled:
            continue  # the bucket has slowed down
        except Unreachable:
            made.add(request.operation)
            lost_at = lost_at or anyio.current_time()
            if anyio.current_time() - lost_at > PATIENCE:
                raise
            await anyio.sleep(pause)
            pause = min(_LATEST, pause * 2)
        except NameTaken:
            if request.operation not in made:
                raise
            return
        else:
            made.add(request.operation)
            return


async def stop(aws: Client, job: JobType, name: str, patience: float = PATIENCE) -> None:
    """Ask for a job's end, if it can be stopped. One that has ended already is no error.

    What lasts is deleted, and gone when this returns.
    """
    if job.stopping is None:
        return
    if job.lasts:
        await delete(aws, Request(job.stopping, _named(job, name)))
        await _gone(aws, job, name)
        return
    try:
        await aws.call("sagemaker", job.stopping, patience, **_named(job, name))
    except InvalidRequest as error:
        if "is in status" not in str(error):
            raise


async def delete(aws: Client, request: Request) -> None:
    """Have something deleted, as soon as that can be. What is not there is no error."""
    pause = _SOONEST
    while True:
        try:
            await aws.call(request.service, request.operation, **request.members)
        except NotFound:
            return
        except Busy:
            await anyio.sleep(pause)
            pause = min(_SELDOM, pause * 2)
        else:
            return


async def settled(aws: Client, job: JobType, name: str) -> dict[str, Any]:
    """The description once it does not change any more.

    :raises smexec.aws.border.NotFound: there is none, or none any more
    """
    pause = _SOONEST
    while True:
        description = await describe(aws, job, name)
        if job.phase(description) is Phase.ENDED:
            return description
        await anyio.sleep(pause)
        pause = min(_SELDOM, pause * 2)


async def _gone(aws: Client, job: JobType, name: str) -> None:
    with contextlib.suppress(NotFound):
        await settled(aws, job, name)  # at most one that somebody has made since


async def phases(
    aws: Client, job: JobType, token: str, names: Collection[str], since: float
) -> dict[str, Phase]:
    """How far those of ``names`` have come that the service lists: it may be late, and then leaves one out.

    It is asked once: what is throttled or unanswered is for the caller to ask again.

    :param token: part of all names that it is to list
    :param since: when the oldest was created, in the client's seconds
    """
    request: dict[str, Any] = {
        "NameContains": token,
        "CreationTimeAfter": dt.datetime.fromtimestamp(since - SKEW, dt.timezone.utc),
        "SortBy": "CreationTime",
        "SortOrder": "Descending",
        "MaxResults": 100,
    }
    found: dict[str, Phase] = {}
    while len(found) < len(names):
        page = await aws.call("sagemaker", job.listing, patience=0, **request)
        for summary in page[job.summaries]:
            if summary[job.name] in names:
                found[summary[job.name]] = job.phase(summary)
        if not page.get("NextToken"):
            break
        request["NextToken"] = page["NextToken"]
    return found


async def describe(aws: Client, job: JobType, name: str, patience: float = PATIENCE) -> dict[str, Any]:
    """:raises smexec.aws.border.NotFound: there is no such job"""
    answer: dict[str, Any] = await aws.call("sagemaker", job.describing, patience, **_named(job, name))
    return answer


def _named(job: JobType, name: str) -> dict[str, Any]:
    return {job.name: name}
