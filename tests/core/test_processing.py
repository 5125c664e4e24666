from __future__ import annotations

import contextlib
import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec import errors
from smexec.core import processing
from smexec.core.command import arguments
from smexec.core.processing import IDLE, Orders, ProcessingCargo, ProcessingResult, input_from, output_to
from smexec.core.run import Keys, Run
from smexec.core.settings import SETTINGS, make
from smexec.core.work import Folder, Place
from smexec.local.model import parse_request, service_model
from smexec.local.processing import problems

ROLE = "arn:aws:iam::123456789012:role/Execution"
PLACE = Place("eu-west-1", "ml.m5.large", ROLE, "image:tag", "s3://bucket/root")
RUN = Run("abcdefgh", b"k" * 32)
OUTPUTS = [output_to("html", "s3://bucket/reports"), output_to("own", None)]
CODE = Folder({"report.R": b"1"})


def requested(orders: Orders | None = None, place: Place = PLACE, **settings: Any) -> dict[str, Any]:
    """A request, as the service's own model takes it."""
    made = make(settings, {})
    cargo = ProcessingCargo(made, replace(orders or Orders(outputs=OUTPUTS), folders={"code": CODE.sha256}))
    ((operation, members),) = cargo.requests("job", RUN, place)
    assert operation == "CreateProcessingJob"
    parsed = parse_request(operation, json.dumps(members).encode())
    assert not list(problems(parsed))
    assert parsed == members
    return parsed


VPC = {"subnets": ["subnet-1", "subnet-2"], "security_group_ids": ["sg-1"]}
CLUSTER = "ProcessingResources.ClusterConfig"
REACHES: list[tuple[str, dict[str, Any], str, Any]] = [
    ("instance_count", {"instance_count": 3}, f"{CLUSTER}.InstanceCount", 3),
    ("volume_size", {"volume_size": 50}, f"{CLUSTER}.VolumeSizeInGB", 50),
    ("volume_kms_key", {"volume_kms_key": "alias/v"}, f"{CLUSTER}.VolumeKmsKeyId", "alias/v"),
    ("max_runtime_in_seconds", {"max_runtime_in_seconds": 60}, "StoppingCondition.MaxRuntimeInSeconds", 60),
    ("environment_variables", {"environment_variables": {"A": "b"}}, "Environment", {"A": "b"}),
    ("tags", {"tags": {"team": "risk"}}, "Tags", [{"Key": "team", "Value": "risk"}]),
    ("subnets", VPC, "NetworkConfig.VpcConfig.Subnets", ["subnet-1", "subnet-2"]),
    ("security_group_ids", VPC, "NetworkConfig.VpcConfig.SecurityGroupIds", ["sg-1"]),
    ("s3_kms_key", {"s3_kms_key": "alias/k"}, "ProcessingOutputConfig.KmsKeyId", "alias/k"),
    (
        "encrypt_inter_container_traffic",
        {"encrypt_inter_container_traffic": True},
        "NetworkConfig.EnableInterContainerTrafficEncryption",
        True,
    ),
    (
        "enable_network_isolation",
        {"enable_network_isolation": True},
        "NetworkConfig.EnableNetworkIsolation",
        True,
    ),
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


def test_the_code_is_an_input_beside_the_others() -> None:
    orders = Orders(
        entrypoint=["Rscript"], arguments=["x"], inputs=[input_from("sales", "s3://bucket/sales/")]
    )
    request = requested(orders)
    sales, code = request["ProcessingInputs"]
    assert sales["S3Input"]["LocalPath"] == "/opt/ml/processing/input/sales"
    assert sales["S3Input"]["S3Uri"] == "s3://bucket/sales/"
    assert code["S3Input"]["LocalPath"] == "/opt/ml/processing/input/code"
    assert code["S3Input"]["S3Uri"] == f"s3://bucket/root/layers/{CODE.sha256}/"
    assert "ProcessingOutputConfig" not in request


def test_an_output_without_a_place_gets_one_of_its_jobs_own() -> None:
    html, own = (one["S3Output"]["S3Uri"] for one in requested()["ProcessingOutputConfig"]["Outputs"])
    assert html == "s3://bucket/reports"
    assert own == Keys("s3://bucket/root", "abcdefgh").output_folder("job", "own")


def test_what_the_image_has_is_left_to_it() -> None:
    assert requested()["AppSpecification"] == {"ImageUri": "image:tag"}
    assert "Environment" not in requested()


# -- command lines -------------------------------------------------------------------------------------------

PATH = "/opt/ml/processing/input/code/report.R"


def test_a_script_is_run_by_what_its_ending_says() -> None:
    assert processing.command_line("report.R", None, in_directory=False) == Orders(
        entrypoint=["Rscript", PATH]
    )


def test_among_others_a_script_finds_itself() -> None:
    *shell, directory, program, path = processing.command_line("report.R", None, in_directory=True).entrypoint
    assert shell == ["sh", "-c", 'cd "$0" && exec "$@"']
    assert (directory, program, path) == ("/opt/ml/processing/input/code", "Rscript", PATH)


def test_the_images_entry_point_gets_the_script() -> None:
    assert processing.command_line("report.R", [], in_directory=True) == Orders(arguments=[PATH])


def test_an_ending_that_says_nothing_is_an_error() -> None:
    with pytest.raises(errors.ScriptError, match=r"nothing says what runs report\.sas.*command=\(\)"):
        processing.command_line("report.sas", None, in_directory=False)


@given(st.lists(st.text(max_size=260) | st.integers() | st.floats(), max_size=110))
def test_what_is_taken_as_arguments_the_service_takes(items: list[Any]) -> None:
    with contextlib.suppress(errors.ScriptError):
        requested(Orders(arguments=arguments(items)))


@given(st.lists(st.text("abc äöü-=%", max_size=256), max_size=100))
def test_plain_texts_are_taken(items: list[str]) -> None:
    assert arguments(items) == items


# -- settings that Training Jobs take ------------------------------------------------------------------------

TYPES: list[str] = service_model().shape_for("ProcessingInstanceType").metadata["enum"]
text = st.text("ab é_019\n", max_size=9) | st.text("x", min_size=250, max_size=260)
names = st.from_regex(r"[a-z_]{1,3}", fullmatch=True) | st.text("A", min_size=250, max_size=260)


@given(
    st.sampled_from(TYPES),
    st.integers(1, 800_000),
    st.dictionaries(names, text, max_size=3),
    st.text(min_size=1, max_size=9) | st.text("i", min_size=255, max_size=255),
)
def test_what_is_taken_the_service_takes(
    kind: str, seconds: int, variables: dict[str, str], image: str
) -> None:
    given: dict[str, Any] = {"max_runtime_in_seconds": seconds, "environment_variables": variables}
    with contextlib.suppress(errors.SettingsError):
        make({"image_uri": image}, {})
        processing.check_settings(make(given, {}))
        requested(place=Place("eu-west-1", kind, ROLE, image, "s3://bucket"), **given)


@pytest.mark.parametrize(
    "given",
    [{"max_runtime_in_seconds": 777_601}, {"environment_variables": {"A": "x" * 257}}],
)
def test_what_only_training_jobs_take_is_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(errors.SettingsError, match="Processing Job"):
        processing.check_settings(make(given, {}))


# -- ends ----------------------------------------------------------------------------------------------------


def described(status: str, **members: Any) -> dict[str, Any]:
    return {"ProcessingJobName": "job", "ProcessingJobStatus": status, **members}


def ended(status: str, **members: Any) -> Any:
    return ProcessingCargo(make({}, {}), Orders()).ended(described(status, **members), ())


def test_what_is_completed_has_a_result() -> None:
    config = {"Outputs": [*OUTPUTS[:1], {"OutputName": "features", "FeatureStoreOutput": {}}]}
    outcome = ended("Completed", ExitMessage="three rows\n", ProcessingOutputConfig=config)
    assert outcome.value == ProcessingResult("job", {"html": "s3://bucket/reports"}, "three rows")
    assert ended("Completed").value == ProcessingResult("job", {})


def test_what_failed_says_why() -> None:
    error = ended(
        "Failed", FailureReason="AlgorithmError: See job logs, exit code: 1", ExitMessage="no rows"
    ).error
    assert type(error) is errors.JobFailed
    assert (error.status, error.exit_message) == ("Failed", "no rows")
    assert "ExitMessage: no rows" in str(error)


def test_what_is_said_twice_is_told_once() -> None:
    error = ended(
        "Failed", FailureReason="AlgorithmError: no rows, exit code: 1", ExitMessage="no rows"
    ).error
    assert str(error).count("no rows") == 1


@pytest.mark.parametrize(("seconds", "kind"), [(59, errors.JobStopped), (60, errors.MaxRuntimeExceeded)])
def test_a_stop_when_the_time_was_over_is_the_limits(seconds: int, kind: type[Exception]) -> None:
    began = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    times = {"ProcessingStartTime": began, "ProcessingEndTime": began + dt.timedelta(seconds=seconds)}
    assert type(ended("Stopped", StoppingCondition={"MaxRuntimeInSeconds": 60}, **times).error) is kind


def test_a_stop_without_times_is_a_stop() -> None:
    assert type(ended("Stopped").error) is errors.JobStopped


def test_a_folder_is_named_by_paths_and_contents() -> None:
    folders = [{"a": b"1"}, {"a": b"2"}, {"b": b"1"}, {"a": b"1", "b": b"1"}, {"a/b": b"1"}, {}]
    assert len({Folder(files).sha256 for files in folders}) == len(folders)
    assert Folder({"a": b"1", "b": b"2"}).sha256 == Folder({"b": b"2", "a": b"1"}).sha256
