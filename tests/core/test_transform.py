from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec import errors
from smexec.core import transform
from smexec.core.run import Run
from smexec.core.settings import SETTINGS, make
from smexec.core.transform import IDLE, Orders, TransformCargo, TransformResult, source_at
from smexec.core.work import Place
from smexec.local.model import parse_request, service_model

ROLE = "arn:aws:iam::123456789012:role/Execution"
PLACE = Place("eu-west-1", "ml.m5.large", ROLE, "image:tag", "s3://bucket/root")
RUN = Run("abcdefgh", b"k" * 32)
MODEL = "s3://bucket/model.tar.gz"
ORDERS = Orders(model_data=MODEL, source=source_at("s3://bucket/in/", "text/csv", "Line"))


def requested(orders: Orders = ORDERS, **settings: Any) -> dict[str, Any]:
    """The members of both requests, as the service's own model takes them."""
    requests = TransformCargo(make(settings, {}), orders).requests("job", RUN, PLACE)
    assert [request.operation for request in requests] == ["CreateModel", "CreateTransformJob"]
    for operation, members in requests:
        assert parse_request(operation, json.dumps(members).encode()) == members
    model, job = (request.members for request in requests)
    return {"Model": model, "Job": job}


VPC = {"subnets": ["subnet-1", "subnet-2"], "security_group_ids": ["sg-1"]}
REACHES: list[tuple[str, dict[str, Any], str, Any]] = [
    ("instance_count", {"instance_count": 3}, "Job.TransformResources.InstanceCount", 3),
    ("volume_kms_key", {"volume_kms_key": "alias/v"}, "Job.TransformResources.VolumeKmsKeyId", "alias/v"),
    ("s3_kms_key", {"s3_kms_key": "alias/k"}, "Job.TransformOutput.KmsKeyId", "alias/k"),
    ("tags", {"tags": {"team": "risk"}}, "Job.Tags", [{"Key": "team", "Value": "risk"}]),
    (
        "environment_variables",
        {"environment_variables": {"A": "b"}},
        "Model.PrimaryContainer.Environment",
        {"A": "b"},
    ),
    ("subnets", VPC, "Model.VpcConfig.Subnets", ["subnet-1", "subnet-2"]),
    ("security_group_ids", VPC, "Model.VpcConfig.SecurityGroupIds", ["sg-1"]),
    ("enable_network_isolation", {"enable_network_isolation": True}, "Model.EnableNetworkIsolation", True),
]
BY_PLACE = {"instance_type", "role", "image_uri", "s3_root_uri", "session", "job_name_prefix"}


def member(request: dict[str, Any], path: str) -> Any:
    value: Any = request
    for name in path.split("."):
        value = value.get(name) if value else None
    return value


@pytest.mark.parametrize(("name", "given", "path", "value"), REACHES, ids=[row[0] for row in REACHES])
def test_the_setting_reaches_its_member(name: str, given: dict[str, Any], path: str, value: Any) -> None:
    assert name in given
    assert member(requested(), path) != value
    assert member(requested(**given), path) == value


def test_no_setting_is_forgotten() -> None:
    assert {row[0] for row in REACHES} | BY_PLACE | IDLE == set(SETTINGS)


def test_the_job_asks_a_model_of_its_own() -> None:
    requests = requested()
    assert requests["Model"]["ModelName"] == requests["Job"]["ModelName"] == "job"
    assert requests["Model"]["PrimaryContainer"] == {"Image": "image:tag", "ModelDataUrl": MODEL}
    (leaving,) = TransformCargo(make({}, {}), ORDERS).leavings("job", well=True)
    assert leaving == ("DeleteModel", {"ModelName": "job"})


def test_answers_go_below_the_run_unless_they_are_wanted_elsewhere() -> None:
    output = requested()["Job"]["TransformOutput"]
    assert output == {"S3OutputPath": "s3://bucket/root/runs/abcdefgh/output/job/output/answers"}
    orders = Orders(model_data=None, source=ORDERS.source, target={"S3OutputPath": "s3://bucket/out"})
    assert requested(orders)["Job"]["TransformOutput"] == {"S3OutputPath": "s3://bucket/out"}


def values(shape: str) -> list[str]:
    listed: list[str] = service_model().shape_for(shape).metadata["enum"]
    return listed


optional = st.fixed_dictionaries(
    {},
    optional={
        "BatchStrategy": st.sampled_from(values("BatchStrategy")),
        "MaxConcurrentTransforms": st.integers(0, 100),
        "MaxPayloadInMB": st.integers(0, 100),
        "DataProcessing": st.just({"InputFilter": "$[1:]", "JoinSource": "Input"}),
    },
)


@given(optional, st.none() | st.sampled_from(values("SplitType")))
def test_what_is_given_is_in_the_request(members: dict[str, Any], split_type: str | None) -> None:
    source = source_at("s3://bucket/in/", None, split_type)
    job = requested(Orders(model_data=MODEL, source=source, members=members))["Job"]
    assert {name: job[name] for name in members} == members
    assert job["TransformInput"].get("SplitType") == split_type
    assert "ContentType" not in job["TransformInput"]


def test_what_is_completed_has_a_result() -> None:
    members = {"TransformJobName": "job", "TransformOutput": {"S3OutputPath": "s3://bucket/out"}}
    cargo = TransformCargo(make({}, {}), ORDERS)
    ended = cargo.ended({**members, "TransformJobStatus": "Completed"}, ())
    assert ended.value == TransformResult("job", "s3://bucket/out")
    failed = cargo.ended({**members, "TransformJobStatus": "Failed", "FailureReason": "ClientError: bad"}, ())
    assert isinstance(failed.error, errors.JobFailed)
    assert "ClientError: bad" in str(failed.error)


def test_its_errand_has_no_layers() -> None:
    errand = transform.errand(ORDERS, make({"job_name_prefix": "mine"}, {}))
    assert (errand.layers, errand.prefix) == ((), "mine")
