from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smexec.core import model
from smexec.core.settings import make
from smexec.core.work import Place
from smexec.local.model import parse_request

ROLE = "arn:aws:iam::123456789012:role/Execution"
PLACE = Place("eu-west-1", "ml.m5.large", ROLE, "image:tag", "s3://bucket/root")
ARCHIVE = "s3://bucket/model.tar.gz"


def requested(
    model_data: str | None = ARCHIVE, environment: dict[str, str] | None = None, **settings: Any
) -> dict[str, Any]:
    """A request, as the service's own model takes it."""
    operation, members = model.create_model(make(settings, {}), "m", PLACE, model_data, environment or {})
    assert operation == "CreateModel"
    assert parse_request(operation, json.dumps(members).encode()) == members
    return dict(members)


def test_a_model_is_its_data_and_an_image() -> None:
    assert requested() == {
        "ModelName": "m",
        "PrimaryContainer": {"Image": "image:tag", "ModelDataUrl": ARCHIVE},
        "ExecutionRoleArn": ROLE,
        "EnableNetworkIsolation": False,
    }


def test_a_model_may_be_the_image_alone() -> None:
    assert requested(None)["PrimaryContainer"] == {"Image": "image:tag"}


def test_what_was_left_uncompressed_is_a_folder() -> None:
    source = requested("s3://bucket/model/")["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]
    assert source == {"S3Uri": "s3://bucket/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}


def test_a_container_is_created_as_it_was_described() -> None:
    source = {"S3DataSource": {"S3Uri": "s3://bucket/model/"}}
    described = {"Image": "i", "ModelDataUrl": "s3://bucket/model/", "ModelDataSource": source}
    assert model.exchanged(described, None) == {"Image": "i", "ModelDataSource": source}
    assert model.exchanged(described, ARCHIVE) == {"Image": "i", "ModelDataUrl": ARCHIVE}
    assert model.exchanged({"Image": "i"}, None) == {"Image": "i"}


@given(st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,9}", fullmatch=True), st.text(max_size=9)))
def test_settings_reach_it(environment: dict[str, str]) -> None:
    request = requested(
        environment=environment,
        enable_network_isolation=True,
        tags={"team": "risk"},
        subnets=["subnet-1"],
        security_group_ids=["sg-1"],
    )
    assert request["EnableNetworkIsolation"] is True
    assert request["PrimaryContainer"].get("Environment", {}) == environment
    assert request["Tags"] == [{"Key": "team", "Value": "risk"}]
    assert request["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}


def test_its_end_has_its_name() -> None:
    operation, members = model.delete_model("m")
    assert parse_request(operation, json.dumps(members).encode()) == {"ModelName": "m"}
