"""An async service whose heavy work runs on SageMaker: one loop, and any number of requests that wait.

$ pip install smexec starlette uvicorn
$ uvicorn examples.service:app
$ curl -d '{"rows": 3}' localhost:8000/score
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from smexec import Future, SageMakerExecutor


def score(rows: int, seconds: float = 0.0) -> int:
    """Stands for an hour of a model's work."""
    import time

    time.sleep(seconds)
    return sum(range(rows))


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """One executor for as long as the service lives. Requests that come together share a job."""
    async with SageMakerExecutor(max_workers=4, calls_per_job=100) as executor:
        app.state.executor = executor
        yield


async def answer(request: Request) -> Response:
    """Hand the work over, wait for its result, and answer with it."""
    call = await request.json()
    value = await unless_hung_up(request, request.app.state.executor.submit(score, **call))
    return JSONResponse({"score": value})


async def unless_hung_up(request: Request, future: Future[int]) -> int | None:
    """The result; or None if the client has gone, and then the call is cancelled, or stopped if it runs."""
    value = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        value = await future
        tasks.cancel_scope.cancel()
    return value


app = Starlette(routes=[Route("/score", answer, methods=["POST"])], lifespan=lifespan)
