"""The HTTP side of the service.

A request's way: recognise the operation → count it → an ordered fault, or the rate, may answer instead → the
operation itself: the control API, SageMaker, CodeBuild, or whatever moto answers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from smexec.local.api import Api
from smexec.local.control import PREFIX
from smexec.local.faults import Fault
from smexec.local.model import ServiceError
from smexec.local.proxy import Proxy
from smexec.local.runtime import Runtime
from smexec.local.traffic import Traffic
from smexec.local.wire import FORM, Operation, identify, invoked_endpoint, named_error, render_error

_MAX_BODY = 64 * 1024 * 1024
_MAX_HEADER = 64 * 1024
_KEEPALIVE_SECONDS = 300.0
_SHUTDOWN_SECONDS = 0.25
_log = logging.getLogger("smexec.local")


class Front:
    """Answers HTTP requests.

    Args:
        control: answers those under :data:`~smexec.local.control.PREFIX`.
        apis: carry out the requests for these services; moto does the others.
        account: id of the AWS account, for error texts.
    """

    def __init__(
        self,
        *,
        control: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        apis: Mapping[str, Api],
        proxy: Proxy,
        runtime: Runtime,
        traffic: Traffic,
        account: str,
    ) -> None:
        self._control = control
        self._apis = apis
        self._proxy = proxy
        self._runtime = runtime
        self._traffic = traffic
        self._account = account

    @asynccontextmanager
    async def serving(self, *listeners: socket.socket) -> AsyncIterator[None]:
        """Serve on listening sockets for the block; requests that came before it wait in their backlogs."""
        server = web.Server(
            self.handle,
            request_factory=_request,
            auto_decompress=False,
            access_log=None,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            keepalive_timeout=_KEEPALIVE_SECONDS,
        )
        loop = asyncio.get_running_loop()
        listening = [await loop.create_server(server, sock=listener) for listener in listeners]
        try:
            yield
        finally:
            for one in listening:
                one.close()
            # Idle connections have nothing to finish.
            server.pre_shutdown()
            await server.shutdown(_SHUTDOWN_SECONDS)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path.startswith(PREFIX):
            return await self._control(request)
        body = await _small_body(request)
        form = body if body and request.content_type == FORM else b""
        operation = identify(request.method, request.raw_path, request.headers, form)
        fault = self._traffic.arrived(operation, lambda: f"{request.raw_path} {_text(body)}")
        try:
            response = await self._answer(operation, request, body, fault)
        except ServiceError as error:
            response = _error_response(error, operation)
        except aiohttp.ClientError as error:
            _log.warning("%s: %r", operation, error)
            response = _error_response(named_error("internal", operation, self._account), operation)
        if fault is not None and fault.kind in {"drop", "drop-before"}:
            _drop(request)
        if body is None and (not request.content.is_eof() or _unasked(request)):
            # The client may or may not send the body that nobody has asked for: what follows on this
            # connection cannot be told from it.
            response.force_close()
        return response

    async def _answer(
        self, operation: Operation, request: web.BaseRequest, body: bytes | None, fault: Fault | None
    ) -> web.StreamResponse:
        if fault is not None:
            if fault.kind == "drop-before":
                return web.Response()
            if error := fault.error(operation, self._account):
                raise error
            await asyncio.sleep(fault.seconds)
        self._traffic.check_rate(operation, time.monotonic())
        if api := self._apis.get(operation.service):
            return await self._carried_out(api, operation, body or b"")
        if (endpoint := invoked_endpoint(request.path)) and operation.name == "InvokeEndpoint":
            return await self._runtime.invoke(endpoint, request.headers, body or b"")
        return await self._passed_on(request, body, answered=fault is None or fault.kind != "drop")

    async def _passed_on(
        self, request: web.BaseRequest, body: bytes | None, *, answered: bool
    ) -> web.StreamResponse:
        await _continue(request)
        upstream = await self._proxy.send(request, body)
        try:
            # Of an answer that is to be lost, the client must not see the beginning either.
            return await self._proxy.answer(request, upstream) if answered else web.Response()
        finally:
            upstream.release()

    async def _carried_out(self, api: Api, operation: Operation, body: bytes) -> web.StreamResponse:
        try:
            members = await api(operation.name, body)
        except ServiceError:
            raise
        except Exception:
            # A defect of this service: say so to the client, as the real one does, and to whoever runs it.
            _log.exception("%s failed", operation)
            raise named_error("internal", operation, self._account) from None
        text = "" if members is None else json.dumps(members)
        return web.Response(body=text.encode(), headers=_headers("application/x-amz-json-1.1"))


def _request(*parts: Any) -> web.BaseRequest:
    """aiohttp's request, with room for the largest body that is read at once."""  # noqa: D403 - its name
    message, payload, protocol, writer, task = parts
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY)


async def _small_body(request: web.BaseRequest) -> bytes | None:
    """The body of JSON and form requests and of invocations, which are small; None for what is streamed."""
    whole = "X-Amz-Target" in request.headers or request.content_type == FORM
    if whole or invoked_endpoint(request.path):
        await _continue(request)
        return await request.read()
    return None


def _text(body: bytes | None) -> str:
    return (body or b"").decode("utf-8", "replace")


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
