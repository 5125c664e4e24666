"""The records of models, endpoint configurations and endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from smexec.local.checks import duplicates
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
        """The definitions of its containers; more than one make a pipeline."""
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


@dataclass(eq=False)
class Endpoint(Resource):
    """One CreateEndpoint request and what has become of it.

    Attributes:
        config: the configuration that it serves, or is to serve first.
        failure_reason: of the last creation or update, if that failed.
    """

    kind: ClassVar[str] = "Endpoint"
    noun: ClassVar[str] = "endpoint"

    config: EndpointConfig | None = None
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

    def enter(self, status: str, failure_reason: str | None = None) -> None:
        """Go to another status."""
        self._status = status
        self.failure_reason = failure_reason
        self._touch(self.clock())

    def serve(self, config: EndpointConfig) -> None:
        """Be in service with a configuration."""
        self.config = config
        self.enter("InService")

    def describe(self, now: float | None = None) -> dict[str, Any]:
        """The DescribeEndpoint response."""
        assert self.config is not None
        in_service = self.status not in {"Creating", "Failed"}
        members = {
            **super().describe(now),
            "EndpointConfigName": self.config.name,
            "ProductionVariants": self._variants(self.config) if in_service else None,
            "DataCaptureConfig": self.config.request.get("DataCaptureConfig"),
            "FailureReason": self.failure_reason,
        }
        return without_nulls(members)

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """The entry in ListEndpoints."""
        return {**super().summary(now), "LastModifiedTime": self.modified, "EndpointStatus": self.status}

    def _variants(self, config: EndpointConfig) -> list[dict[str, Any]]:
        return [
            {
                "VariantName": variant["VariantName"],
                "CurrentWeight": weight(variant),
                "DesiredWeight": weight(variant),
                "CurrentInstanceCount": variant.get("InitialInstanceCount", 1),
                "DesiredInstanceCount": variant.get("InitialInstanceCount", 1),
            }
            for variant in config.request["ProductionVariants"]
        ]


def weight(variant: Mapping[str, Any]) -> float:
    """Its share of the traffic, beside those of the others."""
    return float(variant.get("InitialVariantWeight", 1.0))


def data_url(container: Mapping[str, Any]) -> str | None:
    """Where a container's model is: an archive, or a folder, whose address ends in a slash."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    url: str | None = container.get("ModelDataUrl") or source.get("S3Uri")
    return url


def model_problems(request: Mapping[str, Any]) -> Iterator[str]:
    """What members of a CreateModel request that depend on each other have wrong."""
    if ("PrimaryContainer" in request) == bool(request.get("Containers")):
        yield "A model must have either PrimaryContainer or Containers, and not both."
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
