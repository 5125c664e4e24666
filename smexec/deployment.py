"""Deployments: models that are put into service, as calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from smexec.core import hosting, serving
from smexec.core import settings as table
from smexec.core.errand import Errand
from smexec.core.jobtype import ENDPOINT
from smexec.core.run import Run
from smexec.core.serving import EndpointCargo, Orders
from smexec.core.settings import Settings
from smexec.core.training import Trained
from smexec.endpoint import Endpoint
from smexec.engine.engine import Engine
from smexec.engine.flight import Ticket
from smexec.errors import SettingsError
from smexec.future import Future
from smexec.program import Program, check_settings, settle

T = TypeVar("T")

_PREFIX = "smexec-endpoint"


class Deployment(Program[Endpoint]):
    """A model that is to be served; submitted, its value is the :class:`Endpoint`, in service.

    ::

        future = executor.submit(Deployment(model, instance_type=["ml.c5.xlarge", "ml.m5.xlarge"]))
        async with await future as endpoint:
            ...

    :param model: what a training has left, or the S3 URI of a ``model.tar.gz``, or of a folder, with a slash
        at its end
    :param name: the endpoint's. Default: one that nobody else has
    :param data_capture: where to keep what is asked and answered: ``{"uri": "s3://…", "percentage": 100}``,
        or the API's DataCaptureConfig
    :param autoscaling: how many instances there may be, and how many invocations a minute each is to have:
        ``{"min": 1, "max": 4, "invocations_per_instance": 70}``, and seconds as ``scale_in_cooldown`` and
        ``scale_out_cooldown``
    :param model_server_timeout: seconds for which the server in an image of AWS's waits for the model
    :param container_startup_health_check_timeout: seconds until the container must answer, 60 to 3600
    :param model_data_download_timeout: seconds until the model must be there, 60 to 3600
    :param settings: of the endpoint: ``image_uri``, which by default is the image of the training,
        ``instance_type``, ``instance_count``, ``environment_variables``, …; ``session`` only where it is not
        submitted: an executor has its own
    :raises smexec.errors.SettingsError: something is not as the service takes it
    """

    def __init__(
        self,
        model: str | Trained,
        *,
        name: str | None = None,
        data_capture: Mapping[str, Any] | None = None,
        autoscaling: Mapping[str, Any] | None = None,
        model_server_timeout: int | None = None,
        container_startup_health_check_timeout: int | None = None,
        model_data_download_timeout: int | None = None,
        **settings: Any,
    ) -> None:
        self._model = serving.model_uri(model)
        self._image_uri = model.image_uri if isinstance(model, Trained) else None
        self._name = hosting.endpoint_name(name)
        self._capture = hosting.capture(data_capture)
        self._scaling = hosting.scaling(autoscaling)
        self._timeout = model_server_timeout
        self._variant = hosting.variant(
            ContainerStartupHealthCheckTimeoutInSeconds=container_startup_health_check_timeout,
            ModelDataDownloadTimeoutInSeconds=model_data_download_timeout,
            VolumeSizeInGB=settings.get("volume_size"),  # some types have a size of their own
        )
        self._settings = settings
        check_settings(settings, hosting.IDLE, "deployment")

    def prepare(self, base: Settings) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Errand]:
        """See :class:`Program`."""
        settings = self._merged(base)

        def make(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Errand:
            if args or kwargs:
                raise TypeError("a deployment takes no arguments")
            return self._errand(settings)

        return make

    def launch(self, base: Settings) -> Future[Endpoint]:
        """Begin, without an executor."""
        return launched(self, table.make(self._given(base), {}, base))  # as which session, say

    def _given(self, base: Settings) -> dict[str, Any]:
        """Its own settings. The embedded service has no machines: there every type is the same."""
        return {**self._settings, **({"instance_type": None} if base.is_local else {})}

    def _merged(self, base: Settings) -> Settings:
        bucket = "/".join(self._model.split("/")[:3])
        root = base.s3_root_uri or f"{bucket}/smexec"  # nothing is kept there, and no bucket made for it
        own = {"image_uri": self._image_uri, "s3_root_uri": root, **self._given(base)}
        settings = settle(own, base, hosting.IDLE)
        if settings.image_uri is None:
            raise SettingsError(f"give image_uri= of an image that serves {self._model}")
        return settings

    def _errand(self, settings: Settings) -> Errand:
        environment = dict(settings.environment_variables)
        if self._timeout is not None:
            environment["SAGEMAKER_MODEL_SERVER_TIMEOUT"] = str(self._timeout)
        orders = Orders(
            model=self._model,
            environment=environment,
            variant=self._variant,
            capture=hosting.encrypted(self._capture, settings.s3_kms_key),
            scaling=self._scaling,
        )
        suffix = Run().id if self._name else ""
        serve = partial(_serving, settings, suffix)
        return Errand(
            type=ENDPOINT,
            settings=settings,
            prefix=settings.job_name_prefix or _PREFIX,
            name=self._name,
            cargo=lambda _: EndpointCargo(settings, orders, suffix, serve),
        )

    def __repr__(self) -> str:
        return f"<Deployment of {self._model}>"


def deploy(model: str | Trained, **options: Any) -> Endpoint:
    """Put a model into service, and wait until it is.

    ::

        with smexec.deploy("s3://bucket/model.tar.gz", image_uri=image) as endpoint:
            endpoint.predict([[0.5, 0.4]])

    :param options: those of :class:`Deployment`
    :raises smexec.errors.EndpointFailed: it does not come into service; all that was made is deleted
    """
    return waited(Deployment(model, **options).launch(table.make({}, os.environ)))


async def adeploy(model: str | Trained, **options: Any) -> Endpoint:
    """The same as :func:`deploy` for async code. If its task is cancelled, nothing is left behind."""
    return await Deployment(model, **options).launch(table.make({}, os.environ))


def launched(program: Program[T], base: Settings) -> Future[T]:
    """A program's call without an executor: an engine of its own, which ends with it."""
    errand, engine, ticket = program.prepare(base)((), {}), Engine(1, base), Ticket()
    future: Future[T] = Future(engine, ticket)
    engine.submit(errand, future, ticket)
    engine.close(wait=False)
    return future


def waited(future: Future[Endpoint]) -> Endpoint:
    """The endpoint; nobody who is interrupted leaves one behind."""
    try:
        return future.result()
    except BaseException:
        if not future.cancel() and not future.exception():
            future.result().delete()
        raise


def _serving(settings: Settings, suffix: str, name: str) -> Endpoint:
    return Endpoint(name, settings, serving.part_name(name, suffix))
