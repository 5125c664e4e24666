from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from smexec import errors
from smexec.core import hosting
from smexec.core.request import Request
from smexec.core.run import Run
from smexec.core.serving import Changes, EndpointCargo, Former, Orders, UpdateCargo, model_uri, part_name
from smexec.core.settings import make
from smexec.core.training import Trained
from smexec.core.work import Place
from smexec.local.model import parse_request

MODEL = "s3://b/model.tar.gz"
PLACE = Place("eu-west-1", "ml.m5.large", "arn:aws:iam::123456789012:role/Execution", "image:tag", "s3://b/r")


def cargo(suffix: str = "", orders: Orders | None = None, **given: Any) -> EndpointCargo:
    return EndpointCargo(make(given, {}), orders or Orders(model=MODEL), suffix, serving=str.upper)


def checked(*requests: Request) -> dict[str, dict[str, Any]]:
    """What the service's model takes, by operation."""
    for request in requests:
        if request.service == "sagemaker":
            parse_request(request.operation, json.dumps(request.members).encode())
    return {request.operation: dict(request.members) for request in requests}


def test_an_endpoint_is_three_requests() -> None:
    orders = Orders(model=MODEL, environment={"A": "1"}, variant={"VolumeSizeInGB": 9})
    given: dict[str, Any] = {"instance_count": 2, "tags": {"team": "risk"}, "volume_kms_key": "alias/key"}
    given |= {"subnets": ["subnet-1"], "security_group_ids": ["sg-1"], "enable_network_isolation": True}
    asked = checked(*cargo(orders=orders, **given).requests("abalone", Run(), PLACE))
    assert [*asked] == ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    assert asked["CreateModel"] == {
        "ModelName": "abalone",
        "PrimaryContainer": {"Image": "image:tag", "ModelDataUrl": MODEL, "Environment": {"A": "1"}},
        "ExecutionRoleArn": PLACE.role,
        "EnableNetworkIsolation": True,
        "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        "Tags": [{"Key": "team", "Value": "risk"}],
    }
    assert asked["CreateEndpointConfig"] == {
        "EndpointConfigName": "abalone",
        "ProductionVariants": [
            {
                "VariantName": "AllTraffic",
                "ModelName": "abalone",
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 2,
                "VolumeSizeInGB": 9,
            }
        ],
        "KmsKeyId": "alias/key",
        "Tags": [{"Key": "team", "Value": "risk"}],
    }
    assert asked["CreateEndpoint"]["EndpointConfigName"] == "abalone"


@pytest.mark.parametrize("endpoint", ["a", "a" * 63, "a" * 53 + "-" + "b" * 9])
def test_names_of_parts_are_names(endpoint: str) -> None:
    name = part_name(endpoint, "x7k2p9qa")
    assert name.endswith("-x7k2p9qa")
    assert hosting.endpoint_name(name) == name
    assert part_name(endpoint, "") == endpoint


def test_what_is_not_in_service_is_deleted_with_its_parts() -> None:
    one = cargo("x")
    assert one.leavings("abalone", well=True) == ()
    deleted = checked(*one.leavings("abalone", well=False))
    assert deleted.pop("DeregisterScalableTarget")["ResourceId"] == "endpoint/abalone/variant/AllTraffic"
    assert deleted == {
        "DeleteEndpoint": {"EndpointName": "abalone"},
        "DeleteEndpointConfig": {"EndpointConfigName": "abalone-x"},
        "DeleteModel": {"ModelName": "abalone-x"},
    }


def described(status: str, config: str = "abalone", **members: Any) -> dict[str, Any]:
    base = {"EndpointName": "abalone", "EndpointStatus": status, "EndpointConfigName": config}
    return {**base, "LastModifiedTime": 2.0, **members}


def test_what_is_in_service_has_a_value() -> None:
    assert cargo().ended(described("InService"), []).value == "ABALONE"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("The primary container for production variant AllTraffic did not pass", errors.EndpointFailed),
        ("CapacityError: Unable to provision requested ML compute capacity", errors.CapacityError),
        ("InternalServerError: We encountered an internal error", errors.InternalServerError),
    ],
)
def test_what_failed_is_an_error_with_its_reason(reason: str, kind: type[Exception]) -> None:
    error = cargo().ended(described("Failed", FailureReason=reason), []).error
    assert type(error) is kind
    assert reason in str(error)
    assert isinstance(error, errors.JobFailed)
    assert (error.job_name, error.status) == ("abalone", "Failed")


def test_an_endpoint_that_serves_something_else_is_not_ours() -> None:
    assert isinstance(cargo("x").ended(described("InService"), []).error, errors.InvalidRequest)


FORMER = Former(
    described("InService", LastModifiedTime=1.0),
    {
        "EndpointConfigName": "abalone",
        "EndpointConfigArn": "arn",
        "CreationTime": 0.0,
        "ProductionVariants": [
            {
                "VariantName": "AllTraffic",
                "ModelName": "abalone",
                "InstanceType": "ml.t2.medium",
                "InitialInstanceCount": 1,
            }
        ],
        "KmsKeyId": "alias/key",
    },
    {
        "ModelName": "abalone",
        "ModelArn": "arn",
        "ExecutionRoleArn": PLACE.role,
        "PrimaryContainer": {"Image": "image:tag", "ModelDataUrl": MODEL, "Environment": {"A": "1"}},
    },
)


def update(former: Former = FORMER, **changes: Any) -> UpdateCargo:
    return UpdateCargo(make({}, {}), former, Changes(**changes), "new")


def test_what_does_not_change_is_as_it_was() -> None:
    asked = checked(*update(model="s3://b/other.tar.gz").requests("abalone", Run(), PLACE))
    assert asked["CreateModel"] == {
        "ModelName": "abalone-new",
        "ExecutionRoleArn": PLACE.role,
        "PrimaryContainer": {
            "Image": "image:tag",
            "ModelDataUrl": "s3://b/other.tar.gz",
            "Environment": {"A": "1"},
        },
    }
    assert asked["CreateEndpointConfig"] == {
        "EndpointConfigName": "abalone-new",
        "KmsKeyId": "alias/key",
        "ProductionVariants": [{**FORMER.config["ProductionVariants"][0], "ModelName": "abalone-new"}],
    }
    assert asked["UpdateEndpoint"] == {
        "EndpointName": "abalone",
        "EndpointConfigName": "abalone-new",
        "RetainAllVariantProperties": True,
    }


def test_a_folder_takes_the_place_of_an_archive() -> None:
    asked = checked(*update(model="s3://b/folder/").requests("abalone", Run(), PLACE))
    container = asked["CreateModel"]["PrimaryContainer"]
    assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == "s3://b/folder/"
    assert "ModelDataUrl" not in container


def test_other_machines_serve_the_same_model() -> None:
    cargo = update(resized=True, instance_count=3)
    asked = checked(*cargo.requests("abalone", Run(), PLACE))
    (variant,) = asked["CreateEndpointConfig"]["ProductionVariants"]
    assert (variant["ModelName"], variant["InstanceType"]) == ("abalone", "ml.m5.large")
    assert variant["InitialInstanceCount"] == 3
    assert asked["UpdateEndpoint"]["RetainAllVariantProperties"] is False
    assert "CreateModel" not in asked
    deleted = checked(*cargo.leavings("abalone", well=True))
    assert deleted == {"DeleteEndpointConfig": {"EndpointConfigName": "abalone"}}


def test_what_is_not_served_any_more_is_deleted() -> None:
    cargo = update(image_uri="other:tag")
    assert checked(*cargo.leavings("abalone", well=True)) == {
        "DeleteEndpointConfig": {"EndpointConfigName": "abalone"},
        "DeleteModel": {"ModelName": "abalone"},
    }
    assert checked(*cargo.leavings("abalone", well=False)) == {
        "DeleteEndpointConfig": {"EndpointConfigName": "abalone-new"},
        "DeleteModel": {"ModelName": "abalone-new"},
    }


def test_an_update_ends_with_what_is_in_service() -> None:
    cargo = update(instance_count=2)
    assert cargo.ended(described("InService", LastModifiedTime=1.0), []) is None  # it has not begun
    new = cargo.ended(described("InService", "abalone-new"), [])
    assert new is not None
    assert new.error is None
    old = cargo.ended(described("InService", FailureReason="no pings"), [])
    assert old is not None
    assert isinstance(old.error, errors.EndpointFailed)
    assert "serves as before: no pings" in str(old.error)


@pytest.mark.parametrize("model", [None, {"ModelName": "a", "Containers": []}])
def test_of_several_models_none_is_exchanged(model: Any) -> None:
    former = dataclasses.replace(FORMER, model=model)
    former.check(Changes(instance_count=2))
    with pytest.raises(errors.SettingsError, match="only their machines"):
        former.check(Changes(image_uri="other:tag"))


def test_a_training_without_a_model_cannot_be_served() -> None:
    with pytest.raises(errors.SettingsError, match="has left no model"):
        model_uri(Trained("job", None, None, {}, {}))


def test_scaling_is_a_target_and_a_policy() -> None:
    given = {"min": 1, "max": 4, "invocations_per_instance": 70, "scale_in_cooldown": 300}
    one = cargo(orders=Orders(model=MODEL, scaling=hosting.scaling(given)))
    asked = checked(*one.finishing("abalone"))
    target = asked["RegisterScalableTarget"]
    assert target["ResourceId"] == "endpoint/abalone/variant/AllTraffic"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    policy = asked["PutScalingPolicy"]["TargetTrackingScalingPolicyConfiguration"]
    assert (policy["TargetValue"], policy["ScaleInCooldown"]) == (70.0, 300)
    assert cargo().finishing("abalone") == ()


def test_a_capture_is_the_apis_or_a_place() -> None:
    config = hosting.capture({"uri": "s3://bucket/captured"})
    asked = checked(*cargo(orders=Orders(model=MODEL, capture=config)).requests("a", Run(), PLACE))
    assert asked["CreateEndpointConfig"]["DataCaptureConfig"]["InitialSamplingPercentage"] == 100
    own = {"DestinationS3Uri": "s3://b", "InitialSamplingPercentage": 5, "CaptureOptions": []}
    assert hosting.capture(own) == {"EnableCapture": True, **own}
    assert hosting.encrypted(hosting.capture(own), "key") == {"EnableCapture": True, **own, "KmsKeyId": "key"}
    assert hosting.encrypted(None, "key") is None
