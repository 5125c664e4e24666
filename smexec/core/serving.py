"""Endpoints: a model, a configuration and what serves it, created, changed and deleted together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smexec.core import checks
from smexec.core.cargo import Cargo
from smexec.core.jobtype import ENDPOINT, UPDATE
from smexec.core.model import create_model, delete_model, exchanged
from smexec.core.postmortem import why
from smexec.core.request import Request, tags
from smexec.core.run import NAME_LIMIT, Run
from smexec.core.settings import Settings
from smexec.core.training import Trained
from smexec.core.work import Outcome, Place
from smexec.errors import EndpointFailed, InvalidRequest, JobFailed, SettingsError, SmexecError

VARIANT = "AllTraffic"  # as the SageMaker SDK calls the only one
_SCALABLE = "sagemaker:variant:DesiredInstanceCount"
_INVOCATIONS = "SageMakerVariantInvocationsPerInstance"
# What Describe answers and Create takes as well.
_OF_MODEL = (
    "PrimaryContainer", "Containers", "InferenceExecutionConfig", "ExecutionRoleArn", "VpcConfig",
    "EnableNetworkIsolation",
)  # fmt: skip
_OF_CONFIG = (
    "ProductionVariants", "DataCaptureConfig", "KmsKeyId", "AsyncInferenceConfig", "ExplainerConfig",
    "ShadowProductionVariants", "ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What an endpoint is started with, beside its settings.

    :ivar model: the S3 URI of what the image serves; None: it has all it needs
    :ivar environment: variables of the container
    :ivar variant: further members of the ProductionVariant
    :ivar capture: DataCaptureConfig
    :ivar scaling: how many instances there may be, and for how much each
    """

    model: str | None
    environment: Mapping[str, str] = field(default_factory=dict)
    variant: Mapping[str, Any] = field(default_factory=dict)
    capture: Mapping[str, Any] | None = None
    scaling: Scaling | None = None


@dataclass(frozen=True)
class Scaling:
    """Instances are added and taken away so that each has about so many invocations a minute.

    :ivar cooldowns: seconds: ``ScaleInCooldown``, ``ScaleOutCooldown``
    """

    least: int
    most: int
    invocations_per_instance: float
    cooldowns: Mapping[str, int] = field(default_factory=dict)

    def requests(self, endpoint: str) -> Sequence[Request]:
        """What registers it, once the endpoint is in service."""
        target = _target(endpoint)
        policy = {
            "TargetValue": self.invocations_per_instance,
            "PredefinedMetricSpecification": {"PredefinedMetricType": _INVOCATIONS},
            **self.cooldowns,
        }
        named = {
            "PolicyName": endpoint,
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": policy,
        }
        range_ = {"MinCapacity": self.least, "MaxCapacity": self.most}
        return (
            Request("RegisterScalableTarget", target | range_),
            Request("PutScalingPolicy", target | named),
        )


def unscaled(endpoint: str, variant: str = VARIANT) -> Request:
    """What ends the scaling of an endpoint, its policies included."""
    return Request("DeregisterScalableTarget", _target(endpoint, variant))


def _target(endpoint: str, variant: str = VARIANT) -> dict[str, str]:
    resource = f"endpoint/{endpoint}/variant/{variant}"
    return {"ServiceNamespace": "sagemaker", "ResourceId": resource, "ScalableDimension": _SCALABLE}


@dataclass(frozen=True)
class EndpointCargo(Cargo):
    """A model that is to be served.

    :ivar suffix: of the names of model and configuration, where the endpoint's alone may be those of others
    :ivar serving: makes what the call's value is, of the endpoint's name
    """

    settings: Settings
    orders: Orders
    suffix: str
    serving: Callable[[str], Any]
    type = ENDPOINT

    def requests(self, job: str, run: Run, place: Place, left: Iterable[int] = ()) -> Sequence[Request]:  # noqa: ARG002
        """Model, configuration, endpoint."""
        name = part_name(job, self.suffix)
        members = {"EndpointName": job, "EndpointConfigName": name}
        return (
            create_model(self.settings, name, place, self.orders.model, self.orders.environment),
            self._config(name, place),
            Request("CreateEndpoint", members | tags(self.settings)),
        )

    def finishing(self, job: str) -> Sequence[Request]:
        """Its scaling."""
        return self.orders.scaling.requests(job) if self.orders.scaling else ()

    def leavings(self, job: str, *, well: bool) -> Sequence[Request]:
        """All of it, unless it is in service."""
        if well:
            return ()
        name = part_name(job, self.suffix)
        endpoint = Request("DeleteEndpoint", {"EndpointName": job})
        return unscaled(job), endpoint, delete_config(name), delete_model(name)

    def ended(self, description: Mapping[str, Any], found: Collection[str]) -> Outcome:  # noqa: ARG002
        """What is in service has come about."""
        name = description["EndpointName"]
        if description["EndpointStatus"] != "InService":
            return Outcome(error=_failed(description, "the endpoint did not come into service"))
        if description["EndpointConfigName"] != part_name(name, self.suffix):
            return Outcome(error=InvalidRequest(f"endpoint {name} is another, which serves another model"))
        return Outcome(value=self.serving(name))

    def _config(self, name: str, place: Place) -> Request:
        settings = self.settings
        variant = {
            "VariantName": VARIANT,
            "ModelName": name,
            "InstanceType": place.instance_type,
            "InitialInstanceCount": settings.instance_count,
            **self.orders.variant,
        }
        members: dict[str, Any] = {"EndpointConfigName": name, "ProductionVariants": [variant]}
        if self.orders.capture:
            members["DataCaptureConfig"] = dict(self.orders.capture)
        if settings.volume_kms_key:
            members["KmsKeyId"] = settings.volume_kms_key
        return Request("CreateEndpointConfig", members | tags(settings))


@dataclass(frozen=True)
class Changes:
    """What of an endpoint is to be another.

    :ivar resized: whether its instance type is; which one, the place says
    """

    model: str | None = None
    image_uri: str | None = None
    environment: Mapping[str, str] | None = None
    instance_count: int | None = None
    resized: bool = False

    @property
    def of_model(self) -> bool:
        """Whether there must be another model."""
        return any(given is not None for given in (self.model, self.image_uri, self.environment))


@dataclass(frozen=True)
class Former:
    """What an endpoint serves before it is changed, as it was described.

    :ivar model: of the variant; None: there are several
    """

    endpoint: Mapping[str, Any]
    config: Mapping[str, Any]
    model: Mapping[str, Any] | None

    @property
    def instance_types(self) -> tuple[str, ...]:
        """Of its variants, if they have any."""
        types = (variant.get("InstanceType") for variant in self.config["ProductionVariants"])
        return tuple(dict.fromkeys(filter(None, types)))

    @property
    def place(self) -> dict[str, Any]:
        """Settings that need not be asked for, since the new model has them of the old one."""
        if self.model is None:
            return {}
        return {"role": self.model["ExecutionRoleArn"]}

    def check(self, changes: Changes) -> None:
        """:raises SettingsError: what serves now is not one container of one model"""
        if changes.of_model and "PrimaryContainer" not in (self.model or {}):
            raise SettingsError("several models or containers are served: only their machines can change")


@dataclass(frozen=True)
class UpdateCargo(Cargo):
    """An endpoint's change. It serves as before until what is new is ready, and after a failure, too."""

    settings: Settings
    former: Former
    changes: Changes
    suffix: str
    type = UPDATE

    def requests(self, job: str, run: Run, place: Place, left: Iterable[int] = ()) -> Sequence[Request]:  # noqa: ARG002
        """Another model if there must be one, another configuration, the exchange."""
        name = part_name(job, self.suffix)
        update = {
            "EndpointName": job,
            "EndpointConfigName": name,
            # The number of instances may be autoscaling's, not that of the former configuration.
            "RetainAllVariantProperties": self.changes.instance_count is None,
        }
        return (
            *([self._model(name)] if self.changes.of_model else []),
            self._config(name, place.instance_type),
            Request("UpdateEndpoint", update),
        )

    def leavings(self, job: str, *, well: bool) -> Sequence[Request]:
        """What is not served any more, or never was."""
        if not well:
            new = part_name(job, self.suffix)
            return delete_config(new), delete_model(new)
        config = delete_config(self.former.config["EndpointConfigName"])
        is_exchanged = self.former.model is not None and self.changes.of_model
        return (config, delete_model(self.former.model["ModelName"])) if is_exchanged else (config,)  # type: ignore[index]

    def ended(self, description: Mapping[str, Any], found: Collection[str]) -> Outcome | None:  # noqa: ARG002
        """In service with what is new it has been changed; with something else it is as before."""
        if description["EndpointStatus"] != "InService":
            return Outcome(error=_failed(description, "the endpoint failed as it was changed"))
        if description["EndpointConfigName"] == part_name(description["EndpointName"], self.suffix):
            return Outcome(value=description["EndpointConfigName"])
        if description["LastModifiedTime"] == self.former.endpoint["LastModifiedTime"]:
            return None  # it has not begun
        return Outcome(error=_failed(description, "the endpoint was not changed, and serves as before"))

    def _model(self, name: str) -> Request:
        assert self.former.model is not None
        model = {key: self.former.model[key] for key in _OF_MODEL if key in self.former.model}
        container = exchanged(model["PrimaryContainer"], self.changes.model)
        if self.changes.image_uri:
            container["Image"] = self.changes.image_uri
        if self.changes.environment is not None:
            container["Environment"] = dict(self.changes.environment)
        model["PrimaryContainer"] = container
        return Request("CreateModel", {"ModelName": name, **model} | tags(self.settings))

    def _config(self, name: str, instance_type: str) -> Request:
        former = self.former.config
        config = {key: former[key] for key in _OF_CONFIG if key in former}
        own = {
            "ModelName": name if self.changes.of_model else None,
            "InstanceType": instance_type if self.changes.resized else None,
            "InitialInstanceCount": self.changes.instance_count,
        }
        changed = {member: value for member, value in own.items() if value is not None}
        config["ProductionVariants"] = [{**variant, **changed} for variant in former["ProductionVariants"]]
        return Request("CreateEndpointConfig", {"EndpointConfigName": name, **config} | tags(self.settings))


def part_name(endpoint: str, suffix: str) -> str:
    """The name of an endpoint's configuration and of its model."""
    return f"{endpoint[: NAME_LIMIT - 1 - len(suffix)].rstrip('-')}-{suffix}" if suffix else endpoint


def model_uri(model: str | Trained) -> str:
    """Where it lies.

    :raises SettingsError: it has none, or it is no such place
    """
    uri = model.model if isinstance(model, Trained) else model
    if uri is None:
        raise SettingsError("the training has left no model: its script wrote nothing to /opt/ml/model")
    try:
        checks.s3_uri(uri)
    except ValueError as error:
        raise SettingsError(f"model={uri!r}: {error}") from None
    return uri


def delete_config(name: str) -> Request:
    """The whole request."""
    return Request("DeleteEndpointConfig", {"EndpointConfigName": name})


def _failed(description: Mapping[str, Any], what: str) -> SmexecError:
    """The exception for an endpoint that does not serve what it should."""
    error = why(description, ENDPOINT)
    if type(error) is not JobFailed:  # for want of capacity, say
        return error
    failed = EndpointFailed(f"{what}: {error.failure_reason or 'the service gives no reason'}")
    failed.locate(error.job_name, error.failure_reason)
    failed.status = error.status
    return failed
