"""Endpoints that there are: asked for predictions, described, deleted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from smexec.aws import jobs, logs, multipart
from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.core.formats import Body
from smexec.core.jobtype import ENDPOINT
from smexec.core.model import delete_model
from smexec.core.serving import VARIANT, Former, delete_config, unscaled
from smexec.errors import AccessDenied, ModelError, ServiceUnavailable

_PATIENCE = 60.0  # seconds that a throttled or unanswered invocation is tried again
_SCALING_PATIENCE = 30.0  # the same for the end of a scaling
_LOG_LINES = 10
_LARGE = 1 << 20  # bytes that aiohttp does not send at once

_log = logging.getLogger("smexec")


class Log:
    """The last lines of an endpoint's log. Those who ask while they are being read have the same ones.

    For use on one loop.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._reading: asyncio.Future[tuple[str, ...]] | None = None

    async def read(self, aws: Client) -> tuple[str, ...]:
        """The lines."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(logs.tail_or_why(aws, ENDPOINT, self._name, _LOG_LINES))
            self._reading.add_done_callback(self._read)
        return await asyncio.shield(self._reading)

    def _read(self, _: object) -> None:
        self._reading = None


async def invoke(aws: Client, name: str, body: Body, members: dict[str, Any], log: Log) -> Body:
    """What a model answers.

    :param members: of the request, beside those that every one has
    :raises smexec.errors.ModelError: that was an error; with the last lines of the log
    """
    try:
        answer = await aws.call(
            "sagemaker-runtime",
            "InvokeEndpoint",
            patience=_PATIENCE,
            EndpointName=name,
            Body=body.content if len(body.content) < _LARGE else multipart.Body([memoryview(body.content)]),
            ContentType=body.content_type,
            **members,
        )
    except ModelError as error:
        error.locate(name, log_tail=await log.read(aws))
        raise
    return Body(bytes(answer["Body"]), answer.get("ContentType", ""))


async def former(aws: Client, endpoint_name: str) -> Former:
    """What an endpoint serves, once nothing is changing it.

    :raises smexec.aws.border.NotFound: there is none
    """
    endpoint = await jobs.settled(aws, ENDPOINT, endpoint_name)
    config = await _config(aws, endpoint["EndpointConfigName"])
    names = {variant.get("ModelName") for variant in config["ProductionVariants"]}
    name = names.pop()
    model = None if names or name is None else await aws.call("sagemaker", "DescribeModel", ModelName=name)
    return Former(endpoint, config, model)


async def remove(aws: Client, name: str, config_name: str | None) -> None:
    """Delete an endpoint, its scaling, its configuration and its models; return when it is gone.

    :param config_name: of an endpoint that somebody else may have deleted
    """
    endpoint: dict[str, Any] = {}
    with contextlib.suppress(NotFound):
        endpoint = await jobs.settled(aws, ENDPOINT, name)
    config_name = endpoint.get("EndpointConfigName", config_name)
    for variant in endpoint.get("ProductionVariants") or [{"VariantName": VARIANT}]:
        await _unscale(aws, name, variant["VariantName"])
    await jobs.stop(aws, ENDPOINT, name)
    if config_name is None:
        return
    with contextlib.suppress(NotFound):
        config = await _config(aws, config_name)
        await jobs.delete(aws, delete_config(config_name))
        variants = [*config["ProductionVariants"], *config.get("ShadowProductionVariants", ())]
        for model in dict.fromkeys(variant["ModelName"] for variant in variants if "ModelName" in variant):
            await jobs.delete(aws, delete_model(model))


async def _unscale(aws: Client, name: str, variant: str) -> None:
    """End a variant's scaling. Nothing else tells whether it has any, nor who has set it up.

    It is no reason to let the endpoint live: DeleteEndpoint, too, ends the scaling where the caller may.
    """
    request = unscaled(name, variant)
    try:
        await aws.call(request.service, request.operation, patience=_SCALING_PATIENCE, **request.members)
    except (NotFound, AccessDenied):  # who may not ask for that has set up none
        pass
    except ServiceUnavailable as error:  # from a network that leads to SageMaker alone, say
        _log.warning("the scaling of endpoint %s may be left behind: %s", name, error)


async def _config(aws: Client, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = await aws.call("sagemaker", "DescribeEndpointConfig", EndpointConfigName=name)
    return answer
