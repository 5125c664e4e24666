"""The control API under ``/_smexec/``: what a test can ask of the service beyond what AWS offers.  JSON in and out.

===========================  =====================================================================================
``GET health``               the service is up: endpoint, region, account, bucket, role, pid
``GET environment``          the environment variables that lead any AWS client to the service
``POST configure``           new values of the live settings (:meth:`ServiceConfig.configure`); answers with them all
``POST faults``              order a fault (the fields of :class:`Fault`); ``GET`` the open ones; ``DELETE`` them
``GET requests``             number of requests by API, as ``{"s3.PutObject": 3}``; ``DELETE`` starts again from nothing
``POST interrupt``           ``{"job", "kind"}``: a spot interruption, ``kill`` or ``internal-error`` for a job
``POST wait``                ``{"job", "statuses", "timeout"}`` waits for a primary or secondary status and answers
                             with the job's summary; ``{"requests", "timeout"}`` waits until each API has been asked
                             at least that many times.  408 when the time is over
``POST lease``               a chunked request whose body does not end: the service is wanted while the connection
                             is open (see ``lease_grace``).  Answers ``200`` at once
``GET credentials``          what a job's containers find at AWS_CONTAINER_CREDENTIALS_FULL_URI
``POST shutdown``            end the service
===========================  =====================================================================================
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from aiohttp import web

from smexec.local.faults import Fault
from smexec.local.jobs import Interruption
from smexec.local.model import ServiceError

if TYPE_CHECKING:
    from smexec.local.server import Service

PREFIX = "/_smexec/"


class ControlApi:
    """Carries out control requests on a :class:`~smexec.local.server.Service`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._routes: Mapping[tuple[str, str], Callable[[web.BaseRequest], Awaitable[Any]]] = {
            ("GET", "health"): self.health,
            ("GET", "environment"): self.environment,
            ("POST", "configure"): self.configure,
            ("GET", "faults"): self.list_faults,
            ("POST", "faults"): self.order_fault,
            ("DELETE", "faults"): self.clear_faults,
            ("GET", "requests"): self.requests,
            ("DELETE", "requests"): self.reset_requests,
            ("POST", "interrupt"): self.interrupt,
            ("POST", "wait"): self.wait,
            ("POST", "lease"): self.lease,
            ("GET", "credentials"): self.credentials,
            ("POST", "shutdown"): self.shutdown,
        }

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one control request; what is wrong with it is said with status 400 or 404."""
        route = self._routes.get((request.method, request.path.removeprefix(PREFIX)))
        if route is None:
            return _json({"error": f"no {request.method} {request.path} here"}, 404)
        try:
            answer = await route(request)
        except (ValueError, TypeError, KeyError, ServiceError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)
        return answer if isinstance(answer, web.StreamResponse) else _json(answer)

    async def health(self, request: web.BaseRequest) -> Any:
        """Who the service is; it answers only once it is ready."""
        return self._service.describe()

    async def environment(self, request: web.BaseRequest) -> Any:
        """The environment variables of a client."""
        return self._service.environment

    async def configure(self, request: web.BaseRequest) -> Any:
        """Change live settings."""
        self._service.config.configure(await request.json())
        return dataclasses.asdict(self._service.config)

    async def list_faults(self, request: web.BaseRequest) -> Any:
        """The open orders."""
        return self._service.faults.describe()

    async def order_fault(self, request: web.BaseRequest) -> Any:
        """Order a fault."""
        self._service.faults.order(Fault(**await request.json()))
        return self._service.faults.describe()

    async def clear_faults(self, request: web.BaseRequest) -> Any:
        """Forget the open orders."""
        self._service.faults.clear()
        return []

    async def requests(self, request: web.BaseRequest) -> Any:
        """How often each API was asked."""
        return dict(self._service.requests)

    async def reset_requests(self, request: web.BaseRequest) -> Any:
        """Count from nothing again."""
        self._service.requests.clear()
        return {}

    async def interrupt(self, request: web.BaseRequest) -> Any:
        """Let something happen to a job that has not ended."""
        order = await request.json()
        kind = order.get("kind", "interrupt")
        if kind not in get_args(Interruption):
            raise ValueError(f"kind must be one of {', '.join(get_args(Interruption))}, not {kind!r}")
        job = self._service.store.get(order["job"])
        if job.ended is not None:
            raise ValueError(f"{job.name} has ended as {job.secondary_status}")
        job.interruptions.put_nowait(kind)
        return job.summary()

    async def wait(self, request: web.BaseRequest) -> Any:
        """Wait for a job's status, or for a number of requests."""
        order = await request.json()
        condition = self._wait_for_job(order) if "job" in order else self._wait_for_requests(order["requests"])
        try:
            return await asyncio.wait_for(condition, order.get("timeout", 60.0))
        except asyncio.TimeoutError:
            state = self._service.store.get(order["job"]).summary() if "job" in order else dict(self._service.requests)
            return _json(state, 408)

    async def _wait_for_job(self, order: Mapping[str, Any]) -> Any:
        job, statuses = self._service.store.get(order["job"]), set(order["statuses"])
        while not statuses & {job.status, job.secondary_status}:
            await job.changed()
        return job.summary()

    async def _wait_for_requests(self, wanted: Mapping[str, int]) -> Any:
        requests = self._service.requests
        while any(requests[name] < count for name, count in wanted.items()):
            await self._service.requested.wait()
        return dict(requests)

    async def lease(self, request: web.BaseRequest) -> web.StreamResponse:
        """Hold the service until the client closes the connection, or dies, and the kernel closes it."""
        with self._service.leases.taken():
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"leased\n")
            try:
                await request.read()
            except (ConnectionError, asyncio.IncompleteReadError, web.RequestPayloadError):
                pass  # the client has gone, which is what was waited for
        return response

    async def credentials(self, request: web.BaseRequest) -> Any:
        """Credentials of the job's role, in the form of the container credentials endpoint; always fresh for an hour."""
        expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        environment = self._service.environment
        return {
            "AccessKeyId": environment["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": environment["AWS_SECRET_ACCESS_KEY"],
            "Token": "local",
            "Expiration": expiration,
        }

    async def shutdown(self, request: web.BaseRequest) -> Any:
        """End the service; the answer may still arrive."""
        self._service.end.set()
        return {}


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")
