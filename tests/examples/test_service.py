"""The example service, over HTTP: what waits in it holds nobody up, and who hangs up ends his call."""

from __future__ import annotations

import asyncio
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
# uvicorn with a loop that logs every step which took more than 50 ms. A full garbage collection takes longer,
# with all of boto loaded, and happens within whatever step it likes: it is not what is measured.
SERVE = """
import asyncio, gc, logging, sys, uvicorn
logging.basicConfig(filename=sys.argv[2])
config = uvicorn.Config("examples.service:app", fd=int(sys.argv[1]), log_level="warning")
async def serve():
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.05
    await uvicorn.Server(config).serve()
gc.disable()
asyncio.run(serve())
"""


class Service:
    """The example service in a process of its own.

    :ivar log: what its loop complained of
    """

    def __init__(self, aws: LocalService, log: Path) -> None:
        self.log = log
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/score"
            command = [sys.executable, "-W", "error", "-c", SERVE, str(listening.fileno()), str(log)]
            environment = {**os.environ, **aws.environment}
            self.process = subprocess.Popen(command, env=environment, cwd=ROOT, pass_fds=[listening.fileno()])

    async def score(self, client: httpx.AsyncClient, rows: int, seconds: float = 0.0) -> Any:
        answer = await client.post(self.url, json={"rows": rows, "seconds": seconds})
        return answer.raise_for_status().json()["score"]

    def slow_steps(self) -> list[str]:
        """What asyncio's log of slow callbacks says."""
        return [line for line in self.log.read_text().splitlines() if "Executing" in line]

    def forget(self) -> None:
        self.log.write_text("")


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalService]:
    with local_service() as aws:
        yield aws


@pytest.fixture
def service(aws: LocalService, tmp_path: Path) -> Iterator[Service]:
    service = Service(aws, tmp_path / "log")
    yield service
    service.process.terminate()
    assert service.process.wait(60) in (0, -15)


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None))


def test_no_step_of_the_loop_takes_long_while_many_requests_wait(aws: LocalService, service: Service) -> None:
    async def ask(aws: LocalService) -> list[int]:
        async with client() as asking:
            assert await service.score(asking, 3) == 3  # imports, and the first connections
            service.forget()
            aws.configure(delays={"Starting": 2.0})
            try:
                return list(await asyncio.gather(*(service.score(asking, rows) for rows in range(REQUESTS))))
            finally:
                aws.configure(delays={"Starting": 0.0})

    # A machine with other work may hold up any step; that it does so each time is our doing.
    for _ in range(3):
        assert asyncio.run(ask(aws)) == [sum(range(rows)) for rows in range(REQUESTS)]
        if not service.slow_steps():
            break
    assert service.slow_steps() == []


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
