from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

import smexec.aws.client
from smexec.aws.border import Throttled, Unreachable
from smexec.aws.client import Client
from smexec.aws.session import Endpoint
from smexec.errors import AccessDenied, InvalidRequest
from smexec.testing import LocalService

Ask = Callable[..., Any]
IDENTITY = "sts.GetCallerIdentity"


async def identify(aws: Client, **how: Any) -> Any:
    """A harmless request, whose rate is only guessed."""
    return await aws.call("sts", "GetCallerIdentity", **how)


async def list_jobs(aws: Client) -> Any:
    return await aws.call("sagemaker", "ListTrainingJobs")


# -- again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["throttle", "internal", "drop", "drop-before"])
def test_what_will_pass_is_asked_again(smexec_service: LocalService, ask: Ask, kind: str) -> None:
    smexec_service.reset_requests()
    smexec_service.fault("GetCallerIdentity", kind, times=2)
    assert "Account" in ask(identify)
    assert smexec_service.requests()[IDENTITY] == 3


@pytest.mark.parametrize(("kind", "ours"), [("denied", AccessDenied), ("error", InvalidRequest)])
def test_what_will_not_pass_is_not(smexec_service: LocalService, ask: Ask, kind: str, ours: type) -> None:
    smexec_service.reset_requests()
    smexec_service.fault("GetCallerIdentity", kind, times=None)
    with pytest.raises(ours):
        ask(identify)
    assert smexec_service.requests()[IDENTITY] == 1


def test_patience_ends(smexec_service: LocalService, ask: Ask) -> None:
    smexec_service.reset_requests()
    smexec_service.fault("GetCallerIdentity", "internal", times=None)
    with pytest.raises(Unreachable):
        ask(identify, patience=0)
    assert smexec_service.requests()[IDENTITY] == 1
    with pytest.raises(Unreachable):
        ask(identify, patience=1e-6)


@pytest.mark.parametrize("kind", ["throttle", "internal", "drop"])
def test_s3_is_asked_again_too(smexec_service: LocalService, ask: Ask, kind: str) -> None:
    smexec_service.reset_requests()
    smexec_service.fault("ListObjectsV2", kind, times=2)

    async def list_objects(aws: Client) -> Any:
        return await aws.call("s3", "ListObjectsV2", Bucket=smexec_service.bucket)

    assert ask(list_objects)["Name"] == smexec_service.bucket
    assert smexec_service.requests()["s3.ListObjectsV2"] == 3


def test_whoever_waits_for_long_is_told(
    smexec_service: LocalService, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    smexec_service.fault("GetCallerIdentity", "internal", times=3)
    smexec_service.fault("GetCallerIdentity", "throttle")
    ask(identify)
    said = [record.getMessage() for record in caplog.records if record.name == "smexec"]
    text = "GetCallerIdentity: We encountered an internal error. Please try again. (trying again)"
    assert said == [text]


# -- rates ---------------------------------------------------------------------------------------------------


def test_throttling_teaches_the_bucket(smexec_service: LocalService, ask: Ask) -> None:
    async def rates(aws: Client) -> list[float]:
        bucket = aws._bucket("sts", "GetCallerIdentity")
        assert bucket is not None
        before = bucket.rate
        with pytest.raises(Throttled):
            await identify(aws, patience=0)
        throttled = bucket.rate
        await identify(aws)
        return [before, throttled, bucket.rate]

    smexec_service.fault("GetCallerIdentity", "throttle")
    before, throttled, after = ask(rates)
    assert throttled == before / 2
    assert throttled < after < before


def test_a_rate_that_the_service_really_has(
    smexec_service: LocalService, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smexec.aws.client, "_GUESS", 20.0)
    smexec_service.configure(rates={"DescribeTrainingJob": 10.0})
    smexec_service.reset_requests()

    async def describe(aws: Client) -> None:
        with pytest.raises(InvalidRequest):
            await aws.call("sagemaker", "DescribeTrainingJob", TrainingJobName="n" * 64)

    async def many(aws: Client) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(describe, aws)

    ask(many)
    # Those that all come at once, since a machine stalls, wait for two tokens, and ask a few dozen times.
    assert 12 <= smexec_service.requests()["sagemaker.DescribeTrainingJob"] <= 80


def test_each_operation_has_a_bucket_of_its_own_and_s3_has_none(ask: Ask) -> None:
    async def buckets(aws: Client) -> None:
        create, stop = (aws._bucket("sagemaker", name) for name in ("CreateTrainingJob", "StopTrainingJob"))
        assert create is not stop
        assert create is aws._bucket("sagemaker", "CreateTrainingJob")
        assert aws._bucket("s3", "PutObject") is None

    ask(buckets)


def test_the_published_rate_is_never_passed(ask: Ask) -> None:
    async def rate(aws: Client) -> float:
        for _ in range(2):
            await list_jobs(aws)
        bucket = aws._bucket("sagemaker", "ListTrainingJobs")
        assert bucket is not None
        return bucket.rate

    assert ask(rate) == 2.0


# -- clients -------------------------------------------------------------------------------------------------


def test_clients_are_made_once_whoever_asks_first(ask: Ask) -> None:
    async def made(aws: Client) -> None:
        clients = []

        async def take() -> None:
            clients.append(await aws._client("sts"))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(take)
        assert len({id(client) for client in clients}) == 1

    ask(made)


def test_nothing_is_opened_before_it_is_used() -> None:
    program = (
        "import sys, asyncio\n"
        "from smexec.aws.client import Client\n"
        "async def main():\n"
        "    async with Client(None, None): pass\n"
        "asyncio.run(main())\n"
        "print(sorted({'boto3', 'botocore', 'aioboto3', 'aiobotocore', 'aiohttp'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_endpoint_of_ones_own(smexec_service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(smexec_service.endpoint_url, "eu-central-1", "key", "secret")
    for name in smexec_service.environment:
        monkeypatch.delenv(name)

    async def use() -> tuple[str, Any]:
        async with Client(None, endpoint) as aws:
            return aws.region, await list_jobs(aws)

    region, answer = anyio.run(use)
    assert region == "eu-central-1"
    assert "TrainingJobSummaries" in answer


# -- bodies --------------------------------------------------------------------------------------------------

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwhole"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwh"


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[str]:
    """A server that gives these answers, one to each connection."""
    left = list(answers)

    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(left.pop(0))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()
    assert left == []


def at(url: str) -> Client:
    return Client(None, Endpoint(url, "us-east-1", "key", "secret"))


def test_a_body_that_breaks_off_is_asked_for_again() -> None:
    async def get() -> bytearray:
        async with answering(CUT, CUT, WHOLE) as url, at(url) as aws:
            answer = await aws.call("s3", "GetObject", Bucket="bucket", Key="key")
        body: bytearray = answer["Body"]
        return body

    assert anyio.run(get) == bytearray(b"whole")


def test_a_body_that_always_breaks_off_is_no_body() -> None:
    async def get() -> None:
        async with answering(CUT) as url, at(url) as aws:
            with pytest.raises(Unreachable):
                await aws.call("s3", "GetObject", patience=0, Bucket="bucket", Key="key")

    anyio.run(get)
