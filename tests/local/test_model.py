from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

import pytest
from botocore.model import Shape
from hypothesis import given
from hypothesis import strategies as st

from smexec.local.model import ServiceError, operation_model, parse_request, service_model, violations

OPERATIONS = [
    "CreateTrainingJob",
    "DescribeTrainingJob",
    "ListTrainingJobs",
    "StopTrainingJob",
    "UpdateTrainingJob",
    "DeleteTrainingJob",
    "AddTags",
    "ListTags",
    "DeleteTags",
]


def request(**changes: Any) -> dict[str, Any]:
    members = {
        "TrainingJobName": "job",
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::123456789012:role/Execution",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {},
    }
    return {key: value for key, value in {**members, **changes}.items() if value is not ...}


def parsed(**changes: Any) -> dict[str, Any]:
    return parse_request("CreateTrainingJob", json.dumps(request(**changes)).encode())


def error(operation: str = "CreateTrainingJob", body: bytes | None = None, **changes: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        parse_request(operation, json.dumps(request(**changes)).encode() if body is None else body)
    return caught.value


def message(**changes: Any) -> str:
    caught = error(**changes)
    assert caught.code == "ValidationException"
    return caught.message


def test_a_valid_request_comes_through_as_it_is() -> None:
    assert parsed() == request()


def test_a_name_that_is_too_long_is_refused_in_the_services_words() -> None:
    assert message(TrainingJobName="x" * 64).startswith(
        f"2 validation errors detected: Value '{'x' * 64}' at 'trainingJobName' "
        "failed to satisfy constraint: Member must have length less than or equal to 63; Value 'xxx"
    )


LENGTH = "Member must have length"
MAP_OF_VALUES = (
    "Map value must satisfy constraint: [Member must have length less than or equal to 2500, "
    "Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: .*]"
)
ONE_OF_A_LIST = "Member must satisfy constraint: [Member must have length less than or equal to 256"


@pytest.mark.parametrize(
    ("changes", "value", "place", "constraint"),
    [
        (
            {"TrainingJobName": "a_b"},
            "'a_b'",
            "trainingJobName",
            "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        ),
        ({"TrainingJobName": ...}, "null", "trainingJobName", "Member must not be null"),
        (
            {"AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "Fil"}},
            "'Fil'",
            "algorithmSpecification.trainingInputMode",
            "Member must satisfy enum value set: [Pipe, File, FastFile]",
        ),
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 0}},
            "'0'",
            "resourceConfig.volumeSizeInGB",
            "Member must have value greater than or equal to 1",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 2_419_201}},
            "'2419201'",
            "stoppingCondition.maxRuntimeInSeconds",
            "Member must have value less than or equal to 2419200",
        ),
        (
            {"RetryStrategy": {"MaximumRetryAttempts": 31}},
            "'31'",
            "retryStrategy.maximumRetryAttempts",
            "Member must have value less than or equal to 30",
        ),
        ({"InputDataConfig": []}, "'[]'", "inputDataConfig", f"{LENGTH} greater than or equal to 1"),
        (
            {"InputDataConfig": [{"ChannelName": "ok", "DataSource": {}}, {"ChannelName": "x"}]},
            "null",
            "inputDataConfig.2.member.dataSource",
            "Member must not be null",
        ),
        (
            {"HyperParameters": {"a": "x" * 2501}},
            f"'{{a={'x' * 2501}}}'",
            "hyperParameters",
            MAP_OF_VALUES,
        ),
        ({"Environment": {"1A": "x"}}, "'{1A=x}'", "environment", "Map keys must satisfy constraint: ["),
        (
            {
                "AlgorithmSpecification": {
                    "TrainingImage": "i",
                    "TrainingInputMode": "File",
                    "ContainerEntrypoint": ["python", "x" * 257],
                }
            },
            f"'[python, {'x' * 257}]'",
            "algorithmSpecification.containerEntrypoint",
            ONE_OF_A_LIST,
        ),
        (
            {"Tags": [{"Key": "k", "Value": "semi;colon"}]},
            "'semi;colon'",
            "tags.1.member.value",
            "Member must satisfy regular expression pattern: ",
        ),
    ],
)
def test_what_the_model_forbids_is_named_with_its_place(
    changes: dict[str, Any], value: str, place: str, constraint: str
) -> None:
    expected = f"Value {value} at '{place}' failed to satisfy constraint: {constraint}"
    assert message(**changes).startswith(f"1 validation error detected: {expected}")


def test_one_error_is_called_an_error() -> None:
    assert message(TrainingJobName=...).startswith("1 validation error detected: Value null")


@pytest.mark.parametrize("count", [101, 200])
def test_maps_have_a_greatest_size(count: int) -> None:
    text = message(Environment={f"A{number}": "" for number in range(count)})
    assert (
        "at 'environment' failed to satisfy constraint: Member must have length less than or equal to 100"
        in text
    )


def test_six_hours_of_keep_alive_are_allowed_whatever_the_model_says() -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    members = parsed(ResourceConfig={**resources, "KeepAlivePeriodInSeconds": 21_600})
    assert members["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 21_600
    assert "less than or equal to 21600" in message(
        ResourceConfig={**resources, "KeepAlivePeriodInSeconds": 21_601}
    )


def test_line_breaks_in_hyperparameters_are_refused_and_in_the_environment_allowed() -> None:
    assert "'hyperParameters'" in message(HyperParameters={"a": "one\ntwo"})
    assert parsed(Environment={"A": "one\ntwo"})["Environment"] == {"A": "one\ntwo"}


def test_tags_may_hold_letters_of_any_script_and_spaces() -> None:
    tags = [{"Key": "Größe", "Value": "日本 1+1=2 a_b:c/d@e.f-g"}]
    assert parsed(Tags=tags)["Tags"] == tags


def test_null_and_unknown_members_are_left_out() -> None:
    assert parsed(HyperParameters=None, Surprise=1) == request()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"TrainingJobName": 7}, "NUMBER_VALUE can not be converted to a String"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": "7"}},
            "STRING_VALUE can not be converted to a Integer",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": True}},
            "TRUE_VALUE can not be converted to a Integer",
        ),
        ({"Environment": []}, "START_ARRAY can not be converted to a Map"),
        ({"Environment": {"A": 1}}, "NUMBER_VALUE can not be converted to a String"),
    ],
)
def test_wrong_types_are_serialization_errors(changes: dict[str, Any], text: str) -> None:
    caught = error(**changes)
    assert (caught.code, caught.message) == ("SerializationException", text)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b'"x"'])
def test_what_is_no_json_object_is_a_serialization_error(body: bytes) -> None:
    assert error(body=body).code == "SerializationException"


def test_an_empty_body_is_an_empty_request() -> None:
    assert parse_request("ListTrainingJobs", b"") == {}


@pytest.mark.parametrize("moment", [1_700_000_000.5, "2023-11-14T22:13:20.500Z"])
def test_timestamps_become_epoch_seconds(moment: float | str) -> None:
    body = json.dumps({"CreationTimeAfter": moment}).encode()
    expected = datetime(2023, 11, 14, 22, 13, 20, 500_000, timezone.utc).timestamp()
    assert parse_request("ListTrainingJobs", body) == {"CreationTimeAfter": expected}


def test_a_timestamp_that_is_none_is_a_serialization_error() -> None:
    assert error("ListTrainingJobs", b'{"CreationTimeAfter": "soon"}').code == "SerializationException"


def test_an_operation_that_does_not_exist_is_unknown() -> None:
    with pytest.raises(ServiceError, match="UnknownOperationException"):
        parse_request("MakeCoffee", b"{}")


def shapes(shape: Any, seen: set[str]) -> None:
    """Collect the names of all shapes below `shape`."""
    if shape.name in seen:
        return
    seen.add(shape.name)
    inner: list[Any] = []
    if shape.type_name == "structure":
        inner += shape.members.values()
    elif shape.type_name == "list":
        inner.append(shape.member)
    elif shape.type_name == "map":
        inner += [shape.key, shape.value]
    for member in inner:
        shapes(member, seen)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_pattern_of_the_requests_can_be_checked(operation: str) -> None:
    names: set[str] = set()
    shapes(operation_model(operation).input_shape, names)
    for name in names:
        shape = service_model().shape_for(name)
        if shape.type_name == "string":
            list(violations(shape, "probe"))  # compiles the pattern; the suite turns its warnings into errors


@given(st.text(max_size=70))
def test_names_are_accepted_exactly_as_the_guide_says(name: str) -> None:
    allowed = len(name) <= 63 and re.fullmatch("[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name) is not None
    shape: Shape = service_model().shape_for("TrainingJobName")
    assert (not list(violations(shape, name))) == allowed
