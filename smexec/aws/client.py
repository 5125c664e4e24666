"""One way to call AWS: a client when it is first used, a bucket for each API, retries for what will pass."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from smexec.aws.border import Throttled, Unreachable, border
from smexec.aws.session import Endpoint, open_session, region_of
from smexec.core.rates import Bucket
from smexec.errors import SettingsError

if TYPE_CHECKING:
    from typing_extensions import Self

#: What is known of rates, requests a second; the rest is learnt. facts: ListTrainingJobs 2/s, not adjustable;
#: CreateTrainingJob and CreateProcessingJob about 1/s. The other types' are taken to be like them.
_GUESS = 5.0
_BUCKETS = {
    "ListTrainingJobs": Bucket(2.0, ceiling=2.0),
    "ListProcessingJobs": Bucket(2.0),
    "ListTransformJobs": Bucket(2.0),
    "ListEndpoints": Bucket(2.0),
    "CreateTrainingJob": Bucket(2.0),
    "CreateProcessingJob": Bucket(1.0),
    "CreateTransformJob": Bucket(1.0),
}
#: S3: thousands a second for each prefix; 503 SlowDown is retried like the rest. Endpoints: what they can do.
_UNLIMITED = frozenset({"s3", "sagemaker-runtime"})

PATIENCE = 900.0  # seconds that a throttled or unanswered request is tried again
_PAUSE = wait_random_exponential(multiplier=0.25, max=20)
_UNTOLD = 3  # tries until somebody is told

_log = logging.getLogger("smexec")


class Client:
    """All of AWS that the engine uses. An async context manager, for use on one loop.

    :param session: what the user gave as ``session``, or None
    """

    def __init__(self, session: Any, endpoint: Endpoint | None) -> None:
        self._given = session
        self._endpoint = endpoint
        self._stack = AsyncExitStack()
        self._clients: dict[str, Any] = {}
        self._opening = anyio.Lock()
        self._buckets: dict[str, Bucket] = {}
        self._turns: dict[str, anyio.Lock] = {}
        self._session: Any = None

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def region(self) -> str:
        """:raises SettingsError: nothing says which"""
        region = region_of(self._open_session())
        if not region:
            raise SettingsError("no region: set AWS_REGION, or give a session that has one")
        return region

    async def call(self, service: str, operation: str, patience: float = PATIENCE, **request: Any) -> Any:
        """The answer of ``operation`` (``CreateTrainingJob``), as boto gives it; only that a streamed body
        has been read, and is a ``bytearray``.

        :param patience: seconds for which a throttled or unanswered request is asked again
        :raises smexec.errors.ServiceError: what AWS said, in our words
        """
        client = await self._client(service)
        method = getattr(client, _snake(operation))
        retrying = AsyncRetrying(
            stop=stop_after_delay(patience),
            wait=_PAUSE,
            retry=retry_if_exception_type((Throttled, Unreachable)),
            sleep=anyio.sleep,
            before_sleep=_tell,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await self._attempt(service, operation, method, request)
        raise AssertionError("tenacity ends by returning or raising")

    async def _attempt(self, service: str, operation: str, method: Any, request: dict[str, Any]) -> Any:
        bucket = self._bucket(service, operation)
        if bucket:
            # One at a time: those who slept by an old rate would come too early, and all at once.
            async with self._turns[operation]:
                while delay := bucket.take(anyio.current_time()):  # noqa: ASYNC110  # a time is waited for
                    await anyio.sleep(delay)
        try:
            with border(operation):
                answer = await method(**request)
                if "Body" in answer:  # one that breaks off is asked for again, as a lost answer is
                    answer["Body"] = await _read(answer["Body"], answer.get("ContentLength", 0))
        except Throttled:
            if bucket:
                bucket.throttled(anyio.current_time())
            raise
        if bucket:
            bucket.succeeded()
        return answer

    def _bucket(self, service: str, operation: str) -> Bucket | None:
        if service in _UNLIMITED:
            return None
        if operation not in self._buckets:
            self._buckets[operation] = replace(_BUCKETS.get(operation, Bucket(_GUESS)))
            self._turns[operation] = anyio.Lock()
        return self._buckets[operation]

    async def _client(self, service: str) -> Any:
        async with self._opening:
            if service not in self._clients:
                with border("opening a client"):
                    self._clients[service] = await self._stack.enter_async_context(self._make(service))
        return self._clients[service]

    def _make(self, service: str) -> Any:
        from aiobotocore.config import AioConfig

        config = AioConfig(
            retries={"total_max_attempts": 1},  # they are ours, so that the buckets learn from every refusal
            connect_timeout=10,
            read_timeout=80,  # a model may take 60 seconds to answer
            max_pool_connections=50,
            # Where there is no TLS boto would hash each body, on the loop. Checksums and our signatures hold.
            s3={"payload_signing_enabled": False},
        )
        url = self._endpoint.url if self._endpoint else None
        session = self._open_session()
        return session.client(service, region_name=region_of(session), config=config, endpoint_url=url)

    def _open_session(self) -> Any:
        if self._session is None:
            with border("opening a session"):
                self._session = open_session(self._given, self._endpoint)
        return self._session


def _tell(state: RetryCallState) -> None:
    """Whoever waits shall know for what, unless it passes at once. To be throttled is nothing unusual."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Unreachable) and state.attempt_number >= _UNTOLD:
        _log.warning("%s (trying again)", error)


async def _read(body: Any, size: int) -> bytearray:
    content, end = bytearray(size), 0
    async with body:
        async for chunk in body.content.iter_any():
            content[end : end + len(chunk)] = chunk
            end += len(chunk)
    return content


def _snake(operation: str) -> str:
    """``CreateTrainingJob`` → ``create_training_job``, as boto names its methods."""
    from botocore import xform_name

    return str(xform_name(operation))
