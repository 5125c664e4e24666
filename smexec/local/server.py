"""The service: one HTTP endpoint for all AWS clients, SageMaker answered here, the rest handed on to moto.

A request's way: recognise the operation → count it → an ordered fault, or the rate, may answer instead → the
operation itself (control API, SageMaker, or the proxy).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiobotocore.session import get_session
from aiohttp import web

from smexec.local.api import TrainingApi
from smexec.local.checks import PRINCIPAL, Preconditions
from smexec.local.config import ServiceConfig
from smexec.local.control import PREFIX, ControlApi
from smexec.local.faults import Fault, Faults
from smexec.local.jobs import TrainingJob
from smexec.local.limits import Rates, WarmPools
from smexec.local.model import ServiceError, service_model
from smexec.local.moto_server import MotoServer
from smexec.local.proxy import Proxy
from smexec.local.run import Platform, run_job, running_platform
from smexec.local.store import JobStore
from smexec.local.wire import FORM, Operation, identify, named_error, render_error

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "local-service-checks-no-signatures"  # noqa: S105 - a dummy that is printed to everyone
ROLE_NAME = "smexec-local"

_MAX_BODY = 64 * 1024 * 1024
_MAX_HEADER = 64 * 1024
_FIRST_LEASE_SECONDS = 15.0
_SHUTDOWN_SECONDS = 0.25
_log = logging.getLogger("smexec.local")


class Leases:
    """Counts the clients that hold the service, and tells when it is no longer wanted."""

    def __init__(self, grace: float | None, end: Callable[[], None]) -> None:
        self._grace = grace
        self._end = end
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        # A client that starts the service and dies before it takes its lease leaves nothing behind.
        self._start_timer(_FIRST_LEASE_SECONDS)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a lease."""
        self._count += 1
        self.cancel()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._start_timer(0.0)

    def keep(self) -> None:
        """Go on without leases, until told to end."""
        self.cancel()
        self._grace = None

    def cancel(self) -> None:
        """Stop the countdown."""
        if self._timer is not None:
            self._timer.cancel()

    def _start_timer(self, least: float) -> None:
        if self._grace is not None:
            self._timer = asyncio.get_running_loop().call_later(max(least, self._grace), self._end)


class Service:
    """The running service; made by :func:`running_service`.

    Attributes:
        config: its settings; the live ones may change at any time.
        store: the training jobs.
        faults: the faults that were ordered.
        requests: number of requests by API, ``service.Operation``.
        requested: set, and replaced by a new event, whenever `requests` grows.
        leases: who holds the service.
        end: set to end it.
        bucket: name of the account's default bucket.
        role: ARN of a role that SageMaker may assume.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.store = JobStore()
        self.faults = Faults()
        self.requests: Counter[str] = Counter()
        self.requested = asyncio.Event()
        self.end = asyncio.Event()
        self.leases = Leases(config.lease_grace, self.end.set)
        self.bucket = f"sagemaker-{config.region}-{config.account}"
        self.role = ""
        self.endpoint_url = ""
        self._rates = Rates(config)
        self._control = ControlApi(self)
        self._runs: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()
        self._api: TrainingApi
        self._proxy: Proxy
        self._platform: Platform

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead any AWS client, and smexec, to the service."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.config.region,
            "AWS_DEFAULT_REGION": self.config.region,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SMEXEC_S3_ROOT_URI": f"s3://{self.bucket}/smexec",
            "SMEXEC_ROLE": self.role,
        }

    def describe(self) -> dict[str, Any]:
        """What a client has to know; printed once when the service is ready."""
        return {
            "endpoint_url": self.endpoint_url,
            "region": self.config.region,
            "account": self.config.account,
            "bucket": self.bucket,
            "role": self.role,
            "pid": os.getpid(),
            "environment": self.environment,
        }

    async def start(self, stack: AsyncExitStack) -> None:
        """Start all parts; `stack` ends them in reverse order."""
        scratch = tempfile.TemporaryDirectory(prefix="smexec-local-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(scratch))
        moto = await stack.enter_async_context(MotoServer(directory, self.config.account))
        stack.push_async_callback(self._watch(moto))
        self._proxy = Proxy(moto.url)
        stack.push_async_callback(self._proxy.close)
        await self._listen(stack)
        s3, iam = await self._clients(stack, moto.url)
        await self._furnish(s3, iam)
        warm_pools = WarmPools(self.config)
        self._platform = await stack.enter_async_context(
            running_platform(self.config, directory, self.endpoint_url, moto.url, warm_pools)
        )
        preconditions = Preconditions(s3, iam, self.config.region, self.config.account)
        self._api = TrainingApi(
            config=self.config,
            store=self.store,
            warm_pools=warm_pools,
            preconditions=preconditions,
            launch=self._launch,
            clock=time.time,
        )
        stack.push_async_callback(self._end_jobs)
        stack.callback(self.leases.cancel)
        self._ready.set()

    def _watch(self, moto: MotoServer) -> Callable[[], Any]:
        """End the service if moto dies under it; returns what stops the watch."""

        async def watch() -> None:
            code = await moto.died()
            _log.error("the moto server has died with exit code %s", code)
            self.end.set()

        task = asyncio.create_task(watch())

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        return stop

    async def _listen(self, stack: AsyncExitStack) -> None:
        server = web.Server(
            self.handle,
            request_factory=_request,
            auto_decompress=False,
            access_log=None,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            keepalive_timeout=300.0,
        )
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(server, self.config.host, self.config.port, backlog=1024)
        stack.push_async_callback(server.shutdown, _SHUTDOWN_SECONDS)
        # Idle connections have nothing to finish.
        stack.callback(server.pre_shutdown)
        stack.callback(listener.close)
        host, port = listener.sockets[0].getsockname()[:2]
        self.endpoint_url = f"http://{host}:{port}"

    async def _clients(self, stack: AsyncExitStack, url: str) -> tuple[Any, Any]:
        session = get_session()
        clients = [
            session.create_client(
                service,
                region_name=self.config.region,
                endpoint_url=url,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
            )
            for service in ("s3", "iam")
        ]
        s3, iam = [await stack.enter_async_context(client) for client in clients]
        service_model()
        return s3, iam

    async def _furnish(self, s3: Any, iam: Any) -> None:
        """Give the account what a SageMaker user has: a default bucket and an execution role."""
        place = {"CreateBucketConfiguration": {"LocationConstraint": self.config.region}}
        await s3.create_bucket(Bucket=self.bucket, **(place if self.config.region != "us-east-1" else {}))
        trust = {"Effect": "Allow", "Principal": {"Service": PRINCIPAL}, "Action": "sts:AssumeRole"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = await iam.create_role(RoleName=ROLE_NAME, AssumeRolePolicyDocument=policy)
        self.role = role["Role"]["Arn"]

    def _launch(self, job: TrainingJob) -> None:
        task = asyncio.create_task(run_job(job, self._platform), name=f"job {job.name}")
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    async def _end_jobs(self) -> None:
        runs = tuple(self._runs)
        for task in runs:
            task.cancel()
        for outcome in await asyncio.gather(*runs, return_exceptions=True):
            if isinstance(outcome, Exception):
                _log.error("a job's run raised at the end of the service", exc_info=outcome)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        # Connections are accepted while moto is still being imported: they wait instead of being refused.
        await self._ready.wait()
        if request.path.startswith(PREFIX):
            return await self._control(request)
        body = await _small_body(request)
        form = body if body and request.content_type == FORM else b""
        operation = identify(request.method, request.raw_path, request.headers, form)
        self._count(operation)
        fault = self.faults.take(
            operation, lambda: f"{request.raw_path} {(body or b'').decode('utf-8', 'replace')}"
        )
        try:
            if fault is not None:
                await self._before(fault, operation, request)
            self._check_rate(operation)
            response = await self._perform(operation, request, body)
        except ServiceError as error:
            response = _error_response(error, operation)
        except aiohttp.ClientError as error:
            _log.warning("%s: %r", operation, error)
            response = _error_response(named_error("internal", operation, self.config.account), operation)
        if fault is not None and fault.kind == "drop":
            _drop(request)
        if body is None and (not request.content.is_eof() or _unasked(request)):
            # The client may or may not send the body that nobody has asked for: what follows on this
            # connection cannot be told from it.
            response.force_close()
        return response

    def _count(self, operation: Operation) -> None:
        self.requests[str(operation)] += 1
        self.requested.set()
        self.requested = asyncio.Event()

    async def _before(self, fault: Fault, operation: Operation, request: web.BaseRequest) -> None:
        """The part of a fault that comes before the work."""
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        if fault.kind == "drop-before":
            _drop(request)
            raise ServiceError("Dropped", "the connection was closed")
        error = fault.error(operation, self.config.account)
        if error is not None:
            raise error

    def _check_rate(self, operation: Operation) -> None:
        now = time.monotonic()
        if not all(self._rates.allow(name, now) for name in (operation.name, str(operation))):
            raise named_error("throttle", operation, self.config.account)

    async def _perform(
        self, operation: Operation, request: web.BaseRequest, body: bytes | None
    ) -> web.StreamResponse:
        if operation.service == "sagemaker":
            return await self._sagemaker(operation, body or b"")
        await _continue(request)
        upstream = await self._proxy.send(request, body)
        try:
            return await self._proxy.answer(request, upstream)
        finally:
            upstream.release()

    async def _sagemaker(self, operation: Operation, body: bytes) -> web.StreamResponse:
        try:
            members = await self._api(operation.name, body)
        except ServiceError:
            raise
        except Exception:
            # A defect of this service: say so to the client, as the real one does, and to whoever runs it.
            _log.exception("%s failed", operation)
            raise named_error("internal", operation, self.config.account) from None
        text = "" if members is None else json.dumps(members)
        return web.Response(body=text.encode(), headers=_headers("application/x-amz-json-1.1"))


def _request(*parts: Any) -> web.BaseRequest:
    """Aiohttp's request, with room for the largest body that is read at once."""
    message, payload, protocol, writer, task = parts
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY)


async def _small_body(request: web.BaseRequest) -> bytes | None:
    """The body of JSON and form requests, which are small; None for those that are streamed."""
    if "X-Amz-Target" in request.headers or request.content_type == FORM:
        await _continue(request)
        return await request.read()
    return None


async def _continue(request: web.BaseRequest) -> None:
    """Ask for the body of a client that waits to be asked."""
    if request.headers.get("Expect", "").lower() == "100-continue" and not request.content.total_bytes:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
        request["continued"] = True


def _unasked(request: web.BaseRequest) -> bool:
    """Whether the client waits to be asked for the body, and was not."""
    return "Expect" in request.headers and "continued" not in request


def _drop(request: web.BaseRequest) -> None:
    """Close the connection as a broken network would: the client sees it reset."""
    if request.transport is not None:
        request.transport.abort()


def _headers(content_type: str, request_id: str | None = None) -> dict[str, str]:
    request_id = request_id or str(uuid.uuid4())
    return {"Content-Type": content_type, "x-amzn-RequestId": request_id, "x-amz-request-id": request_id}


def _error_response(error: ServiceError, operation: Operation) -> web.Response:
    request_id = str(uuid.uuid4())
    body, content_type = render_error(error, operation, request_id)
    return web.Response(body=body, status=error.status, headers=_headers(content_type, request_id))


@asynccontextmanager
async def running_service(config: ServiceConfig) -> AsyncIterator[Service]:
    """A service that is ready to use, ended with the block together with its jobs, moto and scratch
    directory.
    """
    async with AsyncExitStack() as stack:
        service = Service(config)
        await service.start(stack)
        yield service


async def serve(config: ServiceConfig, ready: Callable[[Service], None]) -> None:
    """Run a service until SIGTERM, SIGINT, a control request or the last lease ends it; `ready` is called
    once.
    """
    loop = asyncio.get_running_loop()
    async with running_service(config) as service:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, service.end.set)
        ready(service)
        await service.end.wait()
