"""Endpoints as they run: deployments that come, take each other's place, and go."""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smexec.local.account import Account
from smexec.local.data_capture import Capture, settings_of
from smexec.local.layout import JobFailure
from smexec.local.logs import ENDPOINTS, create_group
from smexec.local.model import ServiceError
from smexec.local.run import INTERNAL_ERROR, Platform, cancelled
from smexec.local.serving import DELETED, PING_SECONDS, Capacities, Endpoint, EndpointConfig
from smexec.local.serving_host import STOP_SECONDS, ModelServer

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger("smexec.local")


@dataclass(frozen=True)
class Variant:
    """A variant that serves: one container, however many instances it has."""

    name: str
    patience: float
    server: ModelServer


class Deployment:
    """The variants of one configuration as they run.

    Attributes:
        path: a directory of its own.
        capture: takes what is asked and answered, if the configuration wants that.
    """

    def __init__(self, endpoint: Endpoint, config: EndpointConfig, platform: Platform) -> None:
        self._directory = tempfile.TemporaryDirectory(
            prefix="", dir=platform.directory, ignore_cleanup_errors=True
        )
        self.path = Path(self._directory.name)
        self._endpoint = endpoint
        self._variants: list[Variant] = []
        settings = settings_of(config.request)
        storage = platform.around.storage
        self.capture = Capture(settings, endpoint.name, storage, self.path) if settings else None

    async def start(self, variants: list[Variant]) -> None:
        """Until all of them are healthy.

        Raises:
            JobFailure: one is not, or cannot be started.
        """
        self._variants = variants
        starts = [asyncio.create_task(one.server.start(one.patience)) for one in variants]
        try:
            healthy = await asyncio.gather(*starts)
        finally:
            await cancelled(*starts)
        for variant, well in zip(variants, healthy, strict=True):
            if not well:
                raise JobFailure(
                    f"The primary container for production variant {variant.name} did not pass the ping "
                    "health check. Please check CloudWatch logs for this endpoint."
                )

    async def idle(self) -> None:
        """Wait until all that was asked of it is answered."""
        await asyncio.gather(*(variant.server.idle() for variant in self._variants))

    async def stop(self, grace: float) -> None:
        """End all containers, by force those that do not end in that time, or until this is cancelled."""
        try:
            await asyncio.gather(*(variant.server.stop(grace) for variant in self._variants))
        finally:
            if self.capture:
                await self.capture.close()
            await asyncio.to_thread(self._directory.cleanup)

    def choose(self, name: str | None) -> Variant | None:
        """The variant of that name, if there is one; one by weight if there is no name."""
        if name is None:
            weights = [self._endpoint.capacities[variant.name].weight for variant in self._variants]
            return random.choices(self._variants, weights)[0]
        return next((variant for variant in self._variants if variant.name == name), None)


class Hosting:
    """Runs the endpoints of an account. An async context manager; at its end all of them end."""

    def __init__(self, platform: Platform, account: Account) -> None:
        self._platform = platform
        self._account = account
        self._serving: dict[str, Deployment] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(deployment.stop(0.0) for deployment in self._serving.values()))

    def deploy(self, endpoint: Endpoint, config: EndpointConfig, capacities: Capacities) -> None:
        """Begin to serve a configuration, in the place of the one that is served."""
        self._begin(self._deploy(endpoint, config, capacities))

    def rescale(self, endpoint: Endpoint) -> None:
        """Begin to give its variants the capacities that they are to have."""
        self._begin(self._rescale(endpoint))

    def remove(self, endpoint: Endpoint) -> None:
        """Begin to end it; its name is free afterwards."""
        self._begin(self._remove(endpoint))

    def serving(self, name: str) -> Deployment | None:
        """What answers for an endpoint."""
        return self._serving.get(name)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deploy(self, endpoint: Endpoint, config: EndpointConfig, capacities: Capacities) -> None:
        """An update that fails leaves in service what was; a creation that fails leaves nothing."""
        former = self._serving.get(endpoint.name)
        reason = await self._replaced(endpoint, config)
        if reason:
            endpoint.fail(reason)
            return
        endpoint.serve(config, capacities)
        if former:
            await _retire(former)

    async def _rescale(self, endpoint: Endpoint) -> None:
        await asyncio.sleep(self._platform.config.cold_start)
        assert endpoint.config is not None
        endpoint.serve(endpoint.config, endpoint.desired)

    async def _replaced(self, endpoint: Endpoint, config: EndpointConfig) -> str | None:
        """Let a new deployment serve the endpoint; if that fails, why."""
        deployment = Deployment(endpoint, config, self._platform)
        try:
            await create_group(self._platform.around.logs, _group(endpoint))
            await asyncio.sleep(self._platform.config.cold_start)
            await deployment.start(self._variants(endpoint, config, deployment.path))
            self._serving[endpoint.name] = deployment
        except JobFailure as failure:
            return str(failure)
        except ServiceError as error:  # a model is gone
            return error.message
        except Exception:
            _log.exception("the deployment of %s failed", endpoint.name)
            return INTERNAL_ERROR
        finally:
            if self._serving.get(endpoint.name) is not deployment:
                await deployment.stop(0.0)
        return None

    def _variants(self, endpoint: Endpoint, config: EndpointConfig, directory: Path) -> list[Variant]:
        variants = []
        for one in config.request["ProductionVariants"]:
            name, model = one["VariantName"], self._account.models.get(one["ModelName"])
            patience = float(one.get("ContainerStartupHealthCheckTimeoutInSeconds", PING_SECONDS))
            around = self._platform.around
            server = ModelServer(model, _group(endpoint), name, directory / name, around)
            variants.append(Variant(name, patience, server))
        return variants

    async def _remove(self, endpoint: Endpoint) -> None:
        deployment = self._serving.pop(endpoint.name, None)
        if deployment:
            await deployment.stop(STOP_SECONDS)
        self._account.endpoints.delete(endpoint)
        endpoint.enter(DELETED)


async def _retire(former: Deployment) -> None:
    """End one whose place is taken, once requests that it has begun are answered."""
    grace = 0.0
    try:
        await former.idle()
        grace = STOP_SECONDS
    finally:
        await former.stop(grace)


def _group(endpoint: Endpoint) -> str:
    """Its logs'."""
    return f"{ENDPOINTS}/{endpoint.name}"
