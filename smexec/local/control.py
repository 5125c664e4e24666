"""The control API under ``/_smexec/``: what a test can ask of the service beyond what AWS offers.

JSON in and out; what is wrong with a request is said with status 400 or 404.

``GET health``
    Who and where the service is; answered once it is ready.
``GET environment``
    The environment variables that lead any AWS client to the service.
``POST configure``
    New values of live settings (see :meth:`ServiceConfig.configure`); answers with all settings.
``POST faults``, ``GET faults``, ``DELETE faults``
    Order a fault (the fields of :class:`Fault`); the open orders; forget them.
``GET requests``, ``DELETE requests``
    Number of requests by API, as ``{"s3.PutObject": 3}``; count from nothing again.
``POST interrupt``
    ``{"job", "kind"}``: what happens to a job, one of :data:`Interruption`.
``POST wait``
    ``{"job", "statuses", "timeout"}`` waits for a primary or secondary status, answers with the job;
    ``{"endpoint", "statuses", "timeout"}`` for that of an endpoint, which may be Deleted;
    ``{"requests", "timeout"}`` waits until each API was asked that many times.  408 when the time is over.
``POST lease``
    A chunked request whose body does not end: the service is wanted while the connection is open (see
    ``lease_grace``).  The answer begins at once, with the line ``leased``.
``GET credentials``
    What a job's containers find at AWS_CONTAINER_CREDENTIALS_FULL_URI.
``POST keep``
    Go on without leases, until ``shutdown``.
``POST shutdown``
    End the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, get_args

from aiohttp import web

from smexec.local.faults import Fault
from smexec.local.jobs import Interruption, Job
from smexec.local.model import ServiceError
from smexec.local.serving import DELETED, Endpoint

if TYPE_CHECKING:
    from smexec.local.server import Service

PREFIX = "/_smexec/"
_DEFAULT_TIMEOUT = 60.0
_CREDENTIALS_SECONDS = 3600


class ControlApi:
    """Carries out control requests on a :class:`~smexec.local.server.Service`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._plain: Mapping[str, Callable[[], Any]] = {
            "GET health": service.describe,
            "GET environment": lambda: service.environment,
            "GET faults": service.traffic.faults.describe,
            "DELETE faults": service.traffic.faults.clear,
            "GET requests": self._count,
            "DELETE requests": service.traffic.counts.clear,
            "GET credentials": self.credentials,
            "POST keep": service.leases.keep,
            "POST shutdown": service.end.set,
        }
        self._with_order: Mapping[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "POST configure": self.configure,
            "POST faults": self.order_fault,
            "POST interrupt": self.interrupt,
            "POST wait": self.wait,
        }

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one control request."""
        route = f"{request.method} {request.path.removeprefix(PREFIX)}"
        if route == "POST lease":
            return await self.lease(request)
        try:
            if route in self._plain:
                return _json(self._plain[route]())
            if route in self._with_order:
                return _json(await self._with_order[route](_object(await request.json())))
        except TimeoutError as error:
            return _json(error.args[0], 408)
        except (ValueError, TypeError, KeyError, ServiceError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)
        return _json({"error": f"no {route} here"}, 404)

    async def configure(self, changes: dict[str, Any]) -> Any:
        """Change live settings."""
        self._service.config.configure(changes)
        return dataclasses.asdict(self._service.config)

    async def order_fault(self, order: dict[str, Any]) -> Any:
        """Order a fault; answers with all that are open."""
        self._service.traffic.faults.order(Fault(**order))
        return self._service.traffic.faults.describe()

    async def interrupt(self, order: dict[str, Any]) -> Any:
        """Let something happen to a job that has not ended."""
        kind = order.get("kind", "interrupt")
        if kind not in get_args(Interruption):
            raise ValueError(f"kind must be one of {', '.join(get_args(Interruption))}, not {kind!r}")
        job = self._service.account.job(order["job"])
        if job.ended is not None:
            raise ValueError(f"{job.name} has ended as {job.secondary_status}")
        if kind == "interrupt" and not job.spot:
            raise ValueError(f"{job.name} is not on spot instances, so that nobody can reclaim them")
        job.interruptions.put_nowait(kind)
        return job.summary()

    async def wait(self, order: dict[str, Any]) -> Any:
        """Wait for a job's status, or for a number of requests.

        Raises:
            TimeoutError: with the state that there is instead.
        """
        if "job" in order:
            job = self._service.account.job(order["job"])
            reached = self._status(job, set(order["statuses"]))
            state: Callable[[], dict[str, Any]] = job.summary
        elif "endpoint" in order:
            reached, state = self._endpoint(order["endpoint"], set(order["statuses"]))
        else:
            reached, state = self._service.traffic.reached(order["requests"]), self._count
        try:
            await asyncio.wait_for(reached, order.get("timeout", _DEFAULT_TIMEOUT))
        except asyncio.TimeoutError:
            raise TimeoutError(state()) from None
        return state()

    def _count(self) -> dict[str, Any]:
        return dict(self._service.traffic.counts)

    async def _status(self, job: Job, statuses: set[str]) -> None:
        while not statuses & {job.status, job.secondary_status}:
            await job.changed()

    def _endpoint(
        self, name: str, statuses: set[str]
    ) -> tuple[Coroutine[Any, Any, None], Callable[[], dict[str, Any]]]:
        endpoints = self._service.account.endpoints
        if DELETED in statuses and name not in endpoints:
            return asyncio.sleep(0), dict
        endpoint = endpoints.get(name)
        return self._endpoint_status(endpoint, statuses), endpoint.summary

    async def _endpoint_status(self, endpoint: Endpoint, statuses: set[str]) -> None:
        while endpoint.status not in statuses:
            await endpoint.changed()

    async def lease(self, request: web.BaseRequest) -> web.StreamResponse:
        """Hold the service until the client closes the connection, or dies and the kernel closes it."""
        if self._service.end.is_set():
            return _json({"error": "the service is ending"}, 503)
        response = web.StreamResponse()
        with self._service.leases.taken(), contextlib.suppress(ConnectionError, web.RequestPayloadError):
            await response.prepare(request)
            await response.write(b"leased\n")
            await request.content.read()
        return response

    def credentials(self) -> dict[str, str]:
        """The job's role, in the form of the container credentials endpoint; always fresh for an hour."""
        environment = self._service.environment
        expiration = time.gmtime(time.time() + _CREDENTIALS_SECONDS)
        return {
            "AccessKeyId": environment["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": environment["AWS_SECRET_ACCESS_KEY"],
            "Token": "local",
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", expiration),
        }


def _object(order: Any) -> dict[str, Any]:
    if not isinstance(order, dict):
        raise TypeError(f"expected a JSON object, not {order!r}")
    return order


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)
