"""Hands requests on to moto and its answers back, streaming both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

if TYPE_CHECKING:
    from typing_extensions import Self

# RFC 9110, section 7.6.1; Expect is answered by whoever received it.
_HOP_BY_HOP = frozenset(
    {"connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_SMALL = 256 * 1024
"""Answers up to this many bytes are sent in one write."""


def _end_to_end(headers: Any) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP)


class Proxy:
    """A reverse proxy for one upstream; keeps connections to it alive. An async context manager."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    async def send(self, request: web.BaseRequest, body: bytes | None) -> aiohttp.ClientResponse:
        """Send `request` on; `body` when it has been read already, else it is streamed.

        The Host header stays the client's, so that addresses in answers (SQS queue URLs) lead back to the
        service.
        """
        # The path as it came: decoding and encoding it again would change keys that contain "%2F" or "+".
        url = URL(self._upstream + request.raw_path, encoded=True)
        data: Any = body
        if body is None and request.body_exists:
            data = _stream(request)
        return await self._session.request(
            request.method, url, headers=_end_to_end(request.headers), data=data, allow_redirects=False
        )

    async def answer(self, request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Hand the upstream's answer to the client."""
        headers = _end_to_end(upstream.headers)
        length = upstream.content_length
        bodiless = request.method == "HEAD" or upstream.status in {204, 304}
        if bodiless or (length is not None and length <= _SMALL):
            # Of HEAD and 304 the headers are all there is, the length of the object included.
            body = None if bodiless else await upstream.read()
            return web.Response(body=body, status=upstream.status, reason=upstream.reason, headers=headers)
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
        if length is None:
            response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        except (ConnectionError, aiohttp.ClientError):
            # One side has gone in the middle of a body; the other must not take what there is for the whole.
            if request.transport is not None:
                request.transport.abort()
        return response


async def _stream(request: web.BaseRequest) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk
