"""The example service, over HTTP: what waits in it holds nobody up, and who hangs up ends his call."""

from __future__ import annotations

import asyncio
import http
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from smexec.testing import LocalService, local_service

ROOT = Path(__file__).parents[2]
REQUESTS = 200


class Service:
    """The example service in a process of its own."""

    def __init__(self, aws: LocalService) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/score"
            uvicorn = [sys.executable, "-W", "error", "-m", "uvicorn", "--log-level", "warning"]
            command = [*uvicorn, "--fd", str(listening.fileno()), "examples.service:app"]
            environment = {**os.environ, **aws.environment}
            self.process = subprocess.Popen(command, env=environment, cwd=ROOT, pass_fds=[listening.fileno()])

    async def score(self, client: httpx.AsyncClient, rows: int, seconds: float = 0.0) -> Any:
        answer = await client.post(self.url, json={"rows": rows, "seconds": seconds})
        return answer.raise_for_status().json()["score"]


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalService]:
    with local_service() as aws:
        yield aws


@pytest.fixture
def service(aws: LocalService) -> Iterator[Service]:
    service = Service(aws)
    yield service
    service.process.terminate()
    assert service.process.wait(60) in (0, -15)


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))


def test_many_requests_wait_and_hold_nobody_up(aws: LocalService, service: Service) -> None:
    async def ask() -> list[int]:
        async with client() as asking:
            aws.fault("CreateTrainingJob", "error", code="ResourceLimitExceeded", times=None)
            waiting = [asyncio.create_task(service.score(asking, rows)) for rows in range(REQUESTS)]
            await asyncio.to_thread(aws.wait_for_requests, **{"sagemaker.CreateTrainingJob": 1})
            answer = await asking.get(service.url)
            assert answer.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED
            assert not any(one.done() for one in waiting)
            aws.clear_faults()
            return list(await asyncio.gather(*waiting))

    with aws.restored():
        assert asyncio.run(ask()) == [sum(range(rows)) for rows in range(REQUESTS)]


def test_a_client_that_hangs_up_ends_its_call(aws: LocalService, service: Service) -> None:
    async def ask() -> None:
        async with client() as asking:
            assert await service.score(asking, 3) == 3
            aws.reset_requests()
            waiting = asyncio.create_task(service.score(asking, 3, seconds=60))
            await asyncio.to_thread(aws.wait_for_requests, **{"s3.GetObject": 1})  # it has started
            waiting.cancel()
            await asyncio.wait([waiting])
            await asyncio.to_thread(aws.wait_for_requests, **{"sagemaker.StopTrainingJob": 1})

    asyncio.run(ask())
