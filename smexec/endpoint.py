"""Endpoints: models in service, asked for predictions from any code, blocking or async."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import os
import weakref
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from smexec import awaiting
from smexec.aws import endpoints, jobs, logs
from smexec.aws.client import Client
from smexec.core import formats, serving
from smexec.core import settings as table
from smexec.core.errand import Errand
from smexec.core.formats import Body
from smexec.core.jobtype import ENDPOINT, UPDATE
from smexec.core.run import Run
from smexec.core.serving import Changes, Former, UpdateCargo
from smexec.core.settings import Settings
from smexec.core.training import Trained
from smexec.engine.engine import Engine
from smexec.engine.flight import Ticket
from smexec.engine.place import hold
from smexec.errors import SettingsError
from smexec.future import Future

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger("smexec")


class Endpoint:
    """A model in service.

    ::

        with model.deploy(instance_type="ml.m5.large", image_uri=image) as endpoint:
            endpoint.predict({"length": 0.5})
            await endpoint.apredict(rows)

    Leaving the block deletes it with its configuration and model, after an error too. One that is neither
    used as a block nor deleted goes on, and is billed: ``Endpoint.attach(name)`` finds it again.

    All methods may be called from any thread. Those that begin with an a are for async code, under asyncio or
    trio, and never hold up its loop.

    :ivar name: the endpoint's, as the console shows it
    """

    def __init__(self, name: str, settings: Settings, config_name: str | None = None) -> None:
        self.name = name
        self._settings = settings
        self._config_name = config_name
        self._log = endpoints.Log(name)
        self._deleted = False
        # The embedded service must not end with the executor that the endpoint comes from.
        self._hold = hold(settings.is_local)
        self._engine = Engine(1, settings)
        closing = weakref.finalize(self, self._engine.close, wait=False)
        closing.atexit = False

    @classmethod
    def attach(cls, name: str, **settings: Any) -> Self:
        """An endpoint that there is already, whoever has made it.

        :param settings: ``session``, if it is not the environment's
        """
        return cls(name, table.make(settings, os.environ))

    def predict(
        self,
        data: Any,
        *,
        content_type: str | None = None,
        accept: str | None = None,
        target_variant: str | None = None,
    ) -> Any:
        """What the model says to ``data``.

        :param content_type: how the data is written: ``json``, ``csv``, ``npy`` or any other type, which
            bytes and texts are sent as. Default: bytes as they are, arrays of numpy as npy, frames of pandas
            as CSV, all else as JSON
        :param accept: the content type that the answer should have; by that which it has it is read: JSON as
            objects, CSV as a list of rows, npy as an array, other texts as str, all else as bytes
        :param target_variant: of several, the one that is asked
        :raises smexec.errors.FormatError: the data cannot be written so, or has more than 6,291,456 bytes
        :raises smexec.errors.ModelError: the container answered with an error
        """
        asked = self._invoke(data, content_type, accept, target_variant)
        return formats.decode(asked.result())

    async def apredict(
        self,
        data: Any,
        *,
        content_type: str | None = None,
        accept: str | None = None,
        target_variant: str | None = None,
    ) -> Any:
        """The same as :meth:`predict` for async code."""
        return formats.decode(await self._invoke(data, content_type, accept, target_variant))

    def update(
        self,
        model: str | Trained | None = None,
        *,
        image_uri: str | None = None,
        environment_variables: Mapping[str, str] | None = None,
        instance_type: str | list[str] | None = None,
        instance_count: int | None = None,
    ) -> None:
        """Have it serve something else, or from other machines, without an interruption.

        What is not given stays. It serves as before until what is new is ready, and if that fails it goes on
        so; what is not needed any more is deleted. An update that has begun goes on, whoever waits for it.

        :param instance_type: if it is a list, the next is tried where one cannot be had
        :raises smexec.errors.EndpointFailed: it failed
        """
        new = self._new(model, image_uri, environment_variables, instance_type, instance_count)
        former = self._ask(partial(endpoints.former, endpoint_name=self.name)).result()
        self._config_name = self._exchange(former, *new).result()

    async def aupdate(
        self,
        model: str | Trained | None = None,
        *,
        image_uri: str | None = None,
        environment_variables: Mapping[str, str] | None = None,
        instance_type: str | list[str] | None = None,
        instance_count: int | None = None,
    ) -> None:
        """The same as :meth:`update` for async code."""
        new = self._new(model, image_uri, environment_variables, instance_type, instance_count)
        former = await self._ask(partial(endpoints.former, endpoint_name=self.name))
        exchange = self._exchange(former, *new)
        await awaiting.ended(exchange)  # and not the future itself, which a task that is cancelled stops
        self._config_name = exchange.result()

    @property
    def status(self) -> str:
        """What the service says: Creating, InService, Updating, Failed, …

        :raises smexec.errors.ServiceError: it says nothing, or there is no such endpoint
        """
        described = self._ask(lambda aws: jobs.describe(aws, ENDPOINT, self.name)).result()
        return str(described["EndpointStatus"])

    def logs(self, lines: int = 100) -> list[str]:
        """The last lines that its containers wrote to stdout and stderr, oldest first.

        :raises smexec.errors.ServiceError: they cannot be had
        """
        return list(self._ask(lambda aws: logs.tail(aws, ENDPOINT, self.name, lines)).result())

    def delete(self) -> None:
        """Delete it with its scaling, its configuration and its models; return when it is gone.

        Twice is no error.
        """
        if not self._deleted:
            self._remove().result()
            self._forget()

    async def adelete(self) -> None:
        """The same as :meth:`delete` for async code. Once begun it goes on, whoever waits for it."""
        if self._deleted:
            return
        removal = self._remove()
        try:
            await awaiting.ended(removal)
        except BaseException:  # the task was cancelled
            removal.add_done_callback(self._removed)
            raise
        removal.result()
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.delete()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete it; a task that was cancelled does not wait for that."""
        from anyio import get_cancelled_exc_class

        if kind is None or not issubclass(kind, get_cancelled_exc_class()):
            await self.adelete()
        elif not self._deleted:
            self._remove().add_done_callback(self._removed)

    def __repr__(self) -> str:
        return f"<Endpoint {self.name}{' (deleted)' if self._deleted else ''}>"

    # -- what is asked ---------------------------------------------------------------------------------

    def _ask(self, work: Callable[[Client], Awaitable[Any]]) -> Future[Any]:
        if self._deleted:
            raise RuntimeError(f"endpoint {self.name} was deleted")
        ticket = Ticket()
        future: Future[Any] = Future(self._engine, ticket)
        self._engine.ask(work, future, ticket)
        return future

    def _invoke(
        self, data: Any, content_type: str | None, accept: str | None, target_variant: str | None
    ) -> Future[Body]:
        body = formats.encode(data, content_type)
        wanted = {"Accept": formats.full(accept), "TargetVariant": target_variant}
        members = {name: value for name, value in wanted.items() if value is not None}
        return self._ask(lambda aws: endpoints.invoke(aws, self.name, body, members, self._log))

    def _remove(self) -> Future[None]:
        name, config_name = self.name, self._config_name
        return self._ask(lambda aws: endpoints.remove(aws, name, config_name))

    def _forget(self) -> None:
        self._deleted = True
        self._hold = None
        self._engine.close(wait=False)

    def _removed(self, removal: concurrent.futures.Future[None]) -> None:
        """What nobody has waited for has ended."""
        error = removal.exception()
        if error is None:
            self._forget()
        else:
            _log.warning("endpoint %s is left behind: %s", self.name, error)

    def _new(
        self,
        model: str | Trained | None,
        image_uri: str | None,
        environment_variables: Mapping[str, str] | None,
        instance_type: str | list[str] | None,
        instance_count: int | None,
    ) -> tuple[Changes, Settings]:
        """What is to be another; and the settings, with what was given of them."""
        given = {
            "image_uri": image_uri,
            "environment_variables": environment_variables,
            "instance_count": instance_count,
            "instance_type": None if self._settings.is_local else instance_type,
        }
        settings = table.make(given, {}, self._settings)
        uri = None if model is None else serving.model_uri(model)
        environment = None if environment_variables is None else dict(settings.environment_variables)
        resized = instance_type is not None
        changes = Changes(uri, image_uri, environment, instance_count, resized)
        if changes == Changes():
            raise SettingsError("nothing is given that is to be another: model, image_uri, instance_type, …")
        return changes, settings

    def _exchange(self, former: Former, changes: Changes, settings: Settings) -> Future[str]:
        former.check(changes)
        settings = dataclasses.replace(settings, **former.place)
        if not (changes.resized or settings.is_local):
            settings = dataclasses.replace(settings, instance_type=former.instance_types)
        errand = Errand(
            type=UPDATE,
            settings=settings,
            prefix=self.name,
            name=self.name,
            cargo=lambda _: UpdateCargo(settings, former, changes, Run().id),
        )
        ticket = Ticket()
        future: Future[str] = Future(self._engine, ticket)
        self._engine.submit(errand, future, ticket)
        return future
