"""Models, which endpoints and transform jobs run: what a training has left, and an image that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smexec.core.request import Request, tags, vpc
from smexec.core.settings import Settings
from smexec.core.work import Place

_DATA = ("ModelDataSource", "ModelDataUrl")


def create_model(
    settings: Settings, name: str, place: Place, model_data: str | None, environment: Mapping[str, str]
) -> Request:
    """The whole request.

    :param model_data: the S3 URI of ``model.tar.gz``, or of a folder, which ends in a slash; None: the image
        has all it needs
    :param environment: of its containers
    """
    request: dict[str, Any] = {
        "ModelName": name,
        "PrimaryContainer": {"Image": place.image_uri, **located(model_data)},
        "ExecutionRoleArn": place.role,
        "EnableNetworkIsolation": settings.enable_network_isolation,
    }
    if environment:
        request["PrimaryContainer"]["Environment"] = dict(environment)
    if settings.subnets:
        request["VpcConfig"] = vpc(settings)
    return Request("CreateModel", request | tags(settings))


def delete_model(name: str) -> Request:
    """The whole request."""
    return Request("DeleteModel", {"ModelName": name})


def exchanged(container: Mapping[str, Any], model_data: str | None) -> dict[str, Any]:
    """A container as it was described, as it is created: its model is in one member, if it was in two.

    :param model_data: in place of its own, if it is not None
    """
    own = next(({member: container[member]} for member in _DATA if member in container), {})
    others = {member: value for member, value in container.items() if member not in _DATA}
    return others | (located(model_data) if model_data else own)


def located(uri: str | None) -> dict[str, Any]:
    """The member of a container that says where its model is; none if the image has it."""
    if uri is None:
        return {}
    if not uri.endswith("/"):
        return {"ModelDataUrl": uri}
    folder = {"S3Uri": uri, "S3DataType": "S3Prefix", "CompressionType": "None"}
    return {"ModelDataSource": {"S3DataSource": folder}}
