"""The records of models, endpoint configurations and endpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from smexec.local.checks import duplicates
from smexec.local.model import invalid
from smexec.local.resources import Resource, without_nulls

DELETED = "Deleted"
"""What an endpoint that nobody can describe any more has as its status, for those who wait for it."""

PING_SECONDS = 240.0  # for the first answer, unless the variant says otherwise


@dataclass(eq=False)
class Model(Resource):
    """One CreateModel request."""

    kind: ClassVar[str] = "Model"
    noun: ClassVar[str] = "model"

    @property
    def containers(self) -> list[dict[str, Any]]:
        """The definitions of its containers."""
        primary = self.request.get("PrimaryContainer")
        return [primary] if primary else list(self.request["Containers"])

    def describe(self, now: float | None = None) -> dict[str, Any]:
        """The DescribeModel response."""
        return {"EnableNetworkIsolation": False, **super().describe(now)}


@dataclass(eq=False)
class EndpointConfig(Resource):
    """One CreateEndpointConfig request."""

    kind: ClassVar[str] = "EndpointConfig"
    noun: ClassVar[str] = "endpoint configuration"

    @property
    def variants(self) -> dict[str, Mapping[str, Any]]:
        """By their names."""
        return {variant["VariantName"]: variant for variant in self.request["ProductionVariants"]}


@dataclass(frozen=True)
class Capacity:
    """Of a variant: its share of the traffic, beside those of the others, and its instances.

    Attributes:
        instances: None if it is serverless.
    """

    weight: float
    instances: int | None

    @classmethod
    def initial(cls, variant: Mapping[str, Any]) -> Capacity:
        """What an endpoint configuration says."""
        return cls(weight(variant), variant.get("InitialInstanceCount"))


Capacities = Mapping[str, Capacity]
"""By the name of the variant."""


@dataclass(eq=False)
class Endpoint(Resource):
    """One CreateEndpoint request and what has become of it.

    Attributes:
        config: the configuration that it serves, or is to serve first.
        coming: instances, by type, of the one that takes its place, while the endpoint is Updating.
        capacities: of its variants, once it serves.
        desired: as they are to become.
        failure_reason: of the last creation or update, if that failed.
    """

    kind: ClassVar[str] = "Endpoint"
    noun: ClassVar[str] = "endpoint"

    config: EndpointConfig | None = None
    coming: Counter[str] = field(default_factory=Counter)
    capacities: Capacities = field(default_factory=dict)
    desired: Capacities = field(default_factory=dict)
    failure_reason: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._status = "Creating"

    @property
    def status(self) -> str:
        """EndpointStatus."""
        return self._status

    @property
    def in_progress(self) -> bool:
        """Whether it changes, so that nothing else can be asked of it."""
        return self._status not in {"InService", "Failed"}

    @property
    def instances(self) -> Mapping[str, int]:
        """Instance type to number: during an update those of both configurations."""
        if self.status == "Failed":
            return {}
        assert self.config is not None
        return instances_of(self.config, self.desired) + self.coming

    def enter(self, status: str, failure_reason: str | None = None) -> None:
        """Go to another status."""
        self._status = status
        self.failure_reason = failure_reason
        self._touch(self.clock())

    def update(self, instances: Counter[str]) -> None:
        """A configuration that needs those is to take the place of the one that is served."""
        self.coming = instances
        self.enter("Updating")

    def rescale(self, desired: Capacities) -> None:
        """Its variants are to have other capacities."""
        self.desired = desired
        self.enter("Updating")

    def serve(self, config: EndpointConfig, capacities: Capacities) -> None:
        """Be in service with a configuration."""
        self.config, self.coming = config, Counter()
        self.capacities = self.desired = capacities
        self.enter("InService")

    def fail(self, reason: str) -> None:
        """Its creation or its update has failed; what was in service before stays so."""
        self.coming = Counter()
        self.enter("InService" if self.capacities else "Failed", reason)

    def describe(self, now: float | None = None) -> dict[str, Any]:
        """The DescribeEndpoint response."""
        assert self.config is not None
        members = {
            **super().describe(now),
            "EndpointConfigName": self.config.name,
            "ProductionVariants": self._variants(self.config) if self.capacities else None,
            "DataCaptureConfig": _capture_summary(self.config),
            "FailureReason": self.failure_reason,
        }
        return without_nulls(members)

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """The entry in ListEndpoints."""
        return {**super().summary(now), "LastModifiedTime": self.modified, "EndpointStatus": self.status}

    def _variants(self, config: EndpointConfig) -> list[dict[str, Any]]:
        return [
            without_nulls(
                {
                    "VariantName": name,
                    "CurrentWeight": now.weight,
                    "DesiredWeight": self.desired[name].weight,
                    "CurrentInstanceCount": now.instances,
                    "DesiredInstanceCount": self.desired[name].instances,
                    "CurrentServerlessConfig": config.variants[name].get("ServerlessConfig"),
                }
            )
            for name, now in self.capacities.items()
        ]


def _capture_summary(config: EndpointConfig) -> dict[str, Any] | None:
    settings = config.request.get("DataCaptureConfig")
    if settings is None:
        return None
    enabled = settings.get("EnableCapture", True)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": settings["InitialSamplingPercentage"],
        "DestinationS3Uri": settings["DestinationS3Uri"],
        "KmsKeyId": settings.get("KmsKeyId", ""),
    }


def instances_of(config: EndpointConfig, capacities: Capacities) -> Counter[str]:
    """Instance type to number that a configuration needs; capacities win over what it says."""
    found: Counter[str] = Counter()
    for name, variant in config.variants.items():
        count = capacities.get(name, Capacity.initial(variant)).instances
        if count is not None:
            found[variant["InstanceType"]] += count
    return found


def kept(config: EndpointConfig, former: Capacities, request: Mapping[str, Any]) -> Capacities:
    """The capacities that a configuration begins with, of those before what UpdateEndpoint is to retain."""
    excluded = {one["VariantPropertyType"] for one in request.get("ExcludeRetainedVariantProperties", ())}
    capacities = {name: Capacity.initial(variant) for name, variant in config.variants.items()}
    if not request.get("RetainAllVariantProperties"):
        return capacities
    for name in capacities.keys() & former.keys():
        before, fresh = former[name], capacities[name]
        capacities[name] = Capacity(
            fresh.weight if "DesiredWeight" in excluded else before.weight,
            fresh.instances if "DesiredInstanceCount" in excluded else before.instances,
        )
    return capacities


def changed(present: Capacities, request: Mapping[str, Any]) -> Capacities:
    """The capacities that an UpdateEndpointWeightsAndCapacities request asks for.

    Raises:
        ServiceError: there is no such variant, or there would be no traffic.
    """
    capacities = dict(present)
    for change in request["DesiredWeightsAndCapacities"]:
        name = change["VariantName"]
        if name not in capacities:
            raise invalid(f"The endpoint has no production variant {name}.")
        before = capacities[name]
        count = change.get("DesiredInstanceCount", before.instances)
        capacities[name] = Capacity(float(change.get("DesiredWeight", before.weight)), count)
    if not any(one.weight for one in capacities.values()):
        raise invalid("At least one variant must have a DesiredWeight above 0.")
    return capacities


def weight(variant: Mapping[str, Any]) -> float:
    """The share that a configuration gives it."""
    return float(variant.get("InitialVariantWeight", 1.0))


def data_url(container: Mapping[str, Any]) -> str | None:
    """Where a container's model is: an archive, or a folder, whose address ends in a slash."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    url: str | None = container.get("ModelDataUrl") or source.get("S3Uri")
    return url


def is_folder(container: Mapping[str, Any]) -> bool:
    """Whether its model is all below an address, and no archive."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    return bool(source.get("S3DataType") == "S3Prefix")


def model_problems(request: Mapping[str, Any]) -> Iterator[str]:
    """What members of a CreateModel request that depend on each other have wrong."""
    if ("PrimaryContainer" in request) == bool(request.get("Containers")):
        yield "A model must have either PrimaryContainer or Containers, and not both."
    if len(request.get("Containers", ())) > 1:
        yield "The local service has no inference pipelines: a model must have one container."
    if "ExecutionRoleArn" not in request:
        yield "A model must have an ExecutionRoleArn."
    for container in [request.get("PrimaryContainer", {}), *request.get("Containers", ())]:
        if container and "Image" not in container:
            yield "The local service has no model packages: a container must have an Image."
        yield from _source_problems(container.get("ModelDataSource", {}).get("S3DataSource", {}))


def _source_problems(source: Mapping[str, Any]) -> Iterator[str]:
    kind = source.get("S3DataType"), source.get("CompressionType")
    if source and kind not in {("S3Object", "Gzip"), ("S3Prefix", "None")}:
        yield "The local service takes a ModelDataSource of S3Object and Gzip, or of S3Prefix and None."
    elif kind[0] == "S3Prefix" and not source["S3Uri"].endswith("/"):
        yield f"The S3Uri {source['S3Uri']} of an S3Prefix must end with a slash."


def config_problems(request: Mapping[str, Any]) -> Iterator[str]:
    """What members of a CreateEndpointConfig request that depend on each other have wrong."""
    variants = request["ProductionVariants"]
    yield from duplicates("variant name", [variant["VariantName"] for variant in variants])
    for variant in variants:
        name = variant["VariantName"]
        if "ModelName" not in variant:
            yield f"Variant {name}: the local service has no inference components; it must have a ModelName."
        given = {"InstanceType", "InitialInstanceCount", "ServerlessConfig"} & variant.keys()
        if given not in ({"InstanceType", "InitialInstanceCount"}, {"ServerlessConfig"}):
            yield f"Variant {name} must have InstanceType and InitialInstanceCount, or a ServerlessConfig."
    if variants and not any(map(weight, variants)):
        yield "At least one variant must have an InitialVariantWeight above 0."
