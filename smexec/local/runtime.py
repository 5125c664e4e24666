"""InvokeEndpoint: a request goes to a container, and its answer, or what went wrong with it, comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web

from smexec.local.account import partition
from smexec.local.config import ServiceConfig
from smexec.local.data_capture import Exchange, Payload
from smexec.local.hosting import Deployment, Hosting, Variant
from smexec.local.logs import ENDPOINTS
from smexec.local.model import ServiceError
from smexec.local.serving_host import Answer

MAX_BODY = 6_291_456
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency "
    "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)
NO_RESPONSE = (
    "Amazon SageMaker could not get a response from the {endpoint} endpoint. This can occur when CPU or "
    "memory utilization is high. To check your utilization, see Amazon CloudWatch. To fix this problem, use "
    "an instance type with more CPU capacity or memory."
)

_PREFIX = "X-Amzn-SageMaker-"
_PASSED_ON = ("Content-Type", "Accept", f"{_PREFIX}Custom-Attributes", f"{_PREFIX}Inference-Id")
_HANDED_BACK = ("Content-Type", f"{_PREFIX}Custom-Attributes")


class Runtime:
    """Answers InvokeEndpoint requests."""

    def __init__(self, config: ServiceConfig, hosting: Hosting) -> None:
        self._config = config
        self._hosting = hosting

    async def invoke(self, endpoint: str, headers: Mapping[str, str], body: bytes) -> web.Response:
        """One request.

        Raises:
            ServiceError: ValidationError, ModelError, or that the body is too large.
        """
        if len(body) > MAX_BODY:
            raise ServiceError("413", f"HTTP content length exceeded {MAX_BODY} bytes.", 413)
        deployment = self._deployment(endpoint)
        variant = _variant(deployment, endpoint, headers.get(f"{_PREFIX}Target-Variant"))
        passed = {name: headers[name] for name in _PASSED_ON if name in headers}
        at = time.time()
        answer = await self._asked(endpoint, variant, passed, body)
        if answer.status >= 400:  # noqa: PLR2004  (of HTTP)
            raise self._model_error(endpoint, answer.status, answer.content.decode("utf-8", "replace"))
        if deployment.capture:
            deployment.capture.take(_exchange(variant.name, passed, body, answer, at))
        back = {name: answer.headers[name] for name in _HANDED_BACK if name in answer.headers}
        back["x-Amzn-Invoked-Production-Variant"] = variant.name
        return web.Response(body=answer.content, headers=back)

    async def _asked(
        self, endpoint: str, variant: Variant, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        try:
            seconds = self._config.invocation_timeout
            return await variant.server.ask("/invocations", body, headers, seconds=seconds)
        except asyncio.TimeoutError:
            raise self._model_error(endpoint, 0, TIMED_OUT) from None
        except aiohttp.ClientError:
            raise self._model_error(endpoint, 0, NO_RESPONSE.format(endpoint=endpoint)) from None

    def _deployment(self, endpoint: str) -> Deployment:
        deployment = self._hosting.serving(endpoint)
        if deployment is None:
            raise _invalid(f"Endpoint {endpoint} of account {self._config.account} not found.")
        return deployment

    def _model_error(self, endpoint: str, status: int, said: str) -> ServiceError:
        """What a container's own error becomes."""
        region, account = self._config.region, self._config.account
        side = "client" if 400 <= status < 500 else "server"  # noqa: PLR2004  (of HTTP)
        group = f"{ENDPOINTS}/{endpoint}"
        message = (
            f'Received {side} error ({status}) from primary with message "{said}". See '
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
            f"#logEventViewer:group={group} in account {account} for more information."
        )
        members = {
            "OriginalStatusCode": status,
            "OriginalMessage": said,
            "LogStreamArn": f"arn:{partition(region)}:logs:{region}:{account}:log-group:{group}",
        }
        return ServiceError("ModelError", message, 424, members)


def _variant(deployment: Deployment, endpoint: str, name: str | None) -> Variant:
    variant = deployment.choose(name)
    if variant is None:
        raise _invalid(f"Variant {name} of endpoint {endpoint} not found.")
    return variant


def _exchange(variant: str, headers: Mapping[str, str], body: bytes, answer: Answer, at: float) -> Exchange:
    """For data capture."""
    metadata: dict[str, Any] = {}
    if attributes := answer.headers.get(f"{_PREFIX}Custom-Attributes"):
        metadata["customAttributes"] = [attributes]
    if inference := headers.get(f"{_PREFIX}Inference-Id"):
        metadata["inferenceId"] = inference
    sent = Payload(headers.get("Content-Type", ""), body)
    answered = Payload(answer.headers.get("Content-Type", ""), answer.content)
    return Exchange(variant, sent, answered, at, metadata)


def _invalid(message: str) -> ServiceError:
    """As the runtime calls it."""
    return ServiceError("ValidationError", message)
