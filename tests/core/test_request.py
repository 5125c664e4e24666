from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, example, settings
from hypothesis import given as given_by
from hypothesis import strategies as st

from smexec.core.cargo import BatchCargo
from smexec.core.run import Keys, Run
from smexec.core.settings import SETTINGS, Settings, make
from smexec.core.work import Place
from smexec.errors import SettingsError
from smexec.local.checks import check_consistency
from smexec.local.model import parse_request, service_model
from smexec.worker import protocol, todo

ROLE = "arn:aws:iam::123456789012:role/Execution"
PLACE = Place("eu-west-1", "ml.m5.large", ROLE, "image:tag", "s3://bucket/root")
RUN = Run("abcdefgh", b"k" * 32)
DIGEST = "d" * 64
TYPES: list[str] = service_model().shape_for("TrainingInstanceType").metadata["enum"]


def of_cargo(cargo: BatchCargo, *where: Any) -> dict[str, Any]:
    (request,) = cargo.requests(*where)
    assert request.operation == "CreateTrainingJob"
    return dict(request.members)


def requested(place: Place = PLACE, function: str = "f", **given: Any) -> dict[str, Any]:
    name = RUN.job_name(given.get("job_name_prefix") or f"smexec-{function}", 1)
    return of_cargo(BatchCargo(name, make(given, {}), function, DIGEST), name, RUN, place)


def as_the_service_sees(request: dict[str, Any]) -> dict[str, Any]:
    """Refused by botocore's model, or as it is."""
    parsed = parse_request("CreateTrainingJob", json.dumps(request).encode())
    check_consistency(parsed)
    return parsed


# -- every setting reaches the request -----------------------------------------------------------------------

VPC = {"subnets": ["subnet-1", "subnet-2"], "security_group_ids": ["sg-1"]}
SPOT = {"use_spot_instances": True, "max_wait_time_in_seconds": 90000}
REACHES: list[tuple[str, dict[str, Any], str, Any]] = [
    ("instance_count", {"instance_count": 3}, "ResourceConfig.InstanceCount", 3),
    ("job_name_prefix", {"job_name_prefix": "my-job"}, "TrainingJobName", "my-job-abcdefgh-00001"),
    ("volume_size", {"volume_size": 50}, "ResourceConfig.VolumeSizeInGB", 50),
    ("max_runtime_in_seconds", {"max_runtime_in_seconds": 60}, "StoppingCondition.MaxRuntimeInSeconds", 60),
    ("max_retry_attempts", {"max_retry_attempts": 3}, "RetryStrategy.MaximumRetryAttempts", 3),
    (
        "keep_alive_period_in_seconds",
        {"keep_alive_period_in_seconds": 600},
        "ResourceConfig.KeepAlivePeriodInSeconds",
        600,
    ),
    ("environment_variables", {"environment_variables": {"A": "b"}}, "Environment", {"A": "b"}),
    ("tags", {"tags": {"team": "risk"}}, "Tags", [{"Key": "team", "Value": "risk"}]),
    ("subnets", VPC, "VpcConfig.Subnets", ["subnet-1", "subnet-2"]),
    ("security_group_ids", VPC, "VpcConfig.SecurityGroupIds", ["sg-1"]),
    ("s3_kms_key", {"s3_kms_key": "alias/k"}, "OutputDataConfig.KmsKeyId", "alias/k"),
    ("volume_kms_key", {"volume_kms_key": "alias/v"}, "ResourceConfig.VolumeKmsKeyId", "alias/v"),
    ("use_spot_instances", SPOT, "EnableManagedSpotTraining", True),
    ("max_wait_time_in_seconds", SPOT, "StoppingCondition.MaxWaitTimeInSeconds", 90000),
    (
        "encrypt_inter_container_traffic",
        {"encrypt_inter_container_traffic": True},
        "EnableInterContainerTrafficEncryption",
        True,
    ),
    (
        "disable_output_compression",
        {"disable_output_compression": True},
        "OutputDataConfig.CompressionType",
        "NONE",
    ),
    ("enable_network_isolation", {"enable_network_isolation": True}, "EnableNetworkIsolation", True),
]
BY_PLACE = {"instance_type", "role", "image_uri", "s3_root_uri"}  # where the settings leave a choice
NO_FIELD = {"session", "calls_per_job", "slots", "gpus_per_call", "timeout_per_call"}


def member(request: dict[str, Any], path: str) -> Any:
    value: Any = request
    for name in path.split("."):
        value = value.get(name) if value else None
    return value


@pytest.mark.parametrize(("name", "given", "path", "value"), REACHES, ids=[row[0] for row in REACHES])
def test_the_setting_reaches_its_member(name: str, given: dict[str, Any], path: str, value: Any) -> None:
    assert name in given
    assert member(requested(), path) != value
    assert member(as_the_service_sees(requested(**given)), path) == value


def test_no_setting_is_forgotten() -> None:
    assert {row[0] for row in REACHES} | BY_PLACE | NO_FIELD == set(SETTINGS)


def test_the_place_reaches_the_request() -> None:
    request = requested()
    assert request["ResourceConfig"]["InstanceType"] == "ml.m5.large"
    assert request["RoleArn"] == ROLE
    assert request["AlgorithmSpecification"]["TrainingImage"] == "image:tag"
    assert request["OutputDataConfig"]["S3OutputPath"] == "s3://bucket/root/runs/abcdefgh/output"


def test_what_is_not_set_is_not_in_the_request() -> None:
    request = requested()
    assert not {"Environment", "Tags", "VpcConfig", "RetryStrategy", "CheckpointConfig"} & set(request)
    assert "MaxWaitTimeInSeconds" not in request["StoppingCondition"]
    assert not {"KeepAlivePeriodInSeconds", "VolumeKmsKeyId"} & set(request["ResourceConfig"])
    assert "KmsKeyId" not in request["OutputDataConfig"]


@pytest.mark.parametrize("given", [SPOT, {"max_retry_attempts": 3}])
def test_a_job_that_may_be_started_again_has_checkpoints(given: dict[str, Any]) -> None:
    request = as_the_service_sees(requested(**given))
    uri = Keys(PLACE.root, RUN.id).checkpoints(request["TrainingJobName"])
    assert request["CheckpointConfig"] == {"S3Uri": uri}


def test_another_job_of_a_batch_finds_what_the_first_had() -> None:
    keys, first = Keys(PLACE.root, RUN.id), "smexec-f-abcdefgh-00001"
    cargo = BatchCargo(first, make({"max_retry_attempts": 3}, {}), "f", DIGEST, shares=True)
    request = of_cargo(cargo, "smexec-f-abcdefgh-00002", RUN, PLACE, [0, 2])
    sealed = request["HyperParameters"][protocol.TODO]
    assert todo.read(RUN.key, "smexec-f-abcdefgh-00002", sealed) == (first, [0, 2])
    assert channels(request)[protocol.BATCH_CHANNEL] == keys.batch(first)
    assert channels(request)[protocol.SHARED_CHANNEL] == keys.manifest(first)
    assert request["CheckpointConfig"]["S3Uri"] == keys.checkpoints(first)


def test_spot_waits_as_long_as_it_may_run_unless_told_otherwise() -> None:
    request = requested(use_spot_instances=True, max_runtime_in_seconds=60)
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}


# -- what the worker is told ---------------------------------------------------------------------------------


def channels(request: dict[str, Any]) -> dict[str, str]:
    return {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
        for channel in request["InputDataConfig"]
    }


def test_worker_and_call_come_by_channels_of_their_own() -> None:
    keys = Keys(PLACE.root, RUN.id)
    request = requested()
    name = request["TrainingJobName"]
    assert channels(request) == {"smexec_worker": keys.worker_file(DIGEST), "smexec_batch": keys.batch(name)}


def test_the_key_goes_with_the_orders_unless_there_is_a_key_to_encrypt_it_with() -> None:
    plain, encrypted = requested(), requested(s3_kms_key="alias/k")
    assert plain["HyperParameters"][protocol.KEY] == RUN.key.hex()
    assert RUN.key.hex() not in json.dumps(encrypted)
    assert channels(encrypted)["smexec_key"] == Keys(PLACE.root, RUN.id).run_key
    assert encrypted["HyperParameters"][protocol.SSE_KMS_KEY] == "alias/k"


def test_the_orders() -> None:
    orders = requested(function="Model.fit", enable_network_isolation=True)["HyperParameters"]
    assert orders[protocol.RUN] == "abcdefgh"
    assert orders[protocol.EVENTS] == "s3://bucket/root/runs/abcdefgh/events/"
    assert orders[protocol.ISOLATED] == "true"
    assert orders[protocol.FUNCTION] == "Model.fit"


def test_the_worker_is_started_once_its_digest_holds() -> None:
    python, flag, program, path, digest = requested()["AlgorithmSpecification"]["ContainerEntrypoint"]
    assert (python, flag, digest) == ("python", "-c", DIGEST)
    assert path == "/opt/ml/input/data/smexec_worker/worker.pyz"
    compile(program, "<boot>", "exec")
    assert len(program) <= 256


def test_the_interpreter_is_the_places() -> None:
    place = Place("eu-west-1", "ml.m5.large", ROLE, "image", "s3://bucket", sys.executable)
    assert requested(place)["AlgorithmSpecification"]["ContainerEntrypoint"][0] == sys.executable


# -- whatever the settings allow, the service takes ----------------------------------------------------------


def text(alphabet: str, least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=least, max_size=most)


IDENTIFIER = "abcXYZ019-"
given_settings = st.fixed_dictionaries(
    {},
    optional={
        "instance_type": st.sampled_from(TYPES),
        "job_name_prefix": text(IDENTIFIER, 1, 48) | st.text(max_size=10),
        "volume_size": st.integers(-1, 20000),
        "max_runtime_in_seconds": st.integers(0, 3_000_000),
        "max_wait_time_in_seconds": st.none() | st.integers(0, 3_000_000),
        "max_retry_attempts": st.integers(0, 31),
        "keep_alive_period_in_seconds": st.integers(-1, 30000),
        "environment_variables": st.dictionaries(
            text("abc_019é", 1, 3) | text("A", 500, 520),
            st.text(max_size=9) | text("xé", 510, 514),
            max_size=3,
        ),
        "tags": st.dictionaries(
            text("ab é_.:/=+-@;\n٣", 1, 5) | text("a", 126, 130),
            st.text(max_size=3) | text("é", 255, 257),
            max_size=3,
        ),
        "s3_kms_key": text(IDENTIFIER + ":/_é ", 0, 20) | text("k", 2047, 2049),
        "volume_kms_key": text(IDENTIFIER + ":/_é ", 0, 20) | text("k", 2047, 2049),
        "use_spot_instances": st.booleans(),
        "encrypt_inter_container_traffic": st.booleans(),
        "disable_output_compression": st.booleans(),
        "enable_network_isolation": st.booleans(),
        "subnets": st.lists(text(IDENTIFIER + "_é", 0, 5) | text("s", 31, 33), max_size=3)
        | st.just(["subnet-1"] * 17),
        "security_group_ids": st.lists(text(IDENTIFIER, 1, 5) | text("s", 31, 33), max_size=3)
        | st.just(["sg-1"] * 6),
        "image_uri": st.text(min_size=1, max_size=10) | text("i", 254, 256),
        "role": st.sampled_from(
            [ROLE, ROLE + "é", "arn:aws-cn:iam::123456789012:role/a/b", "arn:aws:iam::1:role/r"]
        )
        | st.from_regex(r"arn:aws[a-z-]{0,9}:iam::[0-9]{12}:role/[\w+=,.@/-]+", fullmatch=True),
        "s3_root_uri": st.from_regex(r"s3://[a-z0-9.-]{3,63}(/.{0,20})?", fullmatch=True)
        | text("a", 880, 910).map("s3://bucket/".__add__),
    },
)


@settings(suppress_health_check=[HealthCheck.filter_too_much], max_examples=150)
@given_by(given_settings, st.text(max_size=60) | text("f", 2490, 2510))
@example({}, "a\nb\u2028c")
def test_what_the_settings_take_the_service_takes(given: dict[str, Any], function: str) -> None:
    given = taken(given)
    place = Place(
        "eu-west-1",
        given.get("instance_type", "ml.m5.large"),
        given.get("role", ROLE),
        given.get("image_uri", "image"),
        make(given, {}).s3_root_uri or "s3://bucket",
    )
    request = requested(place, function, **given)
    assert as_the_service_sees(request) == request


TOGETHER = [
    {"subnets", "security_group_ids"},
    {"use_spot_instances", "max_wait_time_in_seconds"},
]


def taken(given: dict[str, Any]) -> dict[str, Any]:
    """Those settings that are not refused, so that most examples tell something."""
    alone = [{name} for name in given if not any(name in names for names in TOGETHER)]
    good: dict[str, Any] = {}
    for names in [*alone, *TOGETHER]:
        more = {**good, **{name: given[name] for name in names if name in given}}
        with contextlib.suppress(SettingsError):
            make(more, {})
            good = more
    return good


def test_the_longest_of_everything() -> None:
    root = "s3://bucket/" + "r" * 888
    request = requested(
        Place("eu-west-1", "ml.m5.large", ROLE, "i" * 255, root),
        "f" * 5000,
        job_name_prefix="p" * 48,
        tags={f"k{number}": "v" * 256 for number in range(50)},
        environment_variables={f"K{number}": "v" * 512 for number in range(100)},
        subnets=["s" * 32] * 16,
        security_group_ids=["g" * 32] * 5,
        s3_kms_key="k" * 2048,
        volume_kms_key="k" * 2048,
        keep_alive_period_in_seconds=21600,
        max_runtime_in_seconds=2419200,
        max_retry_attempts=30,
    )
    assert as_the_service_sees(request) == request
    longest = max(channels(request).values(), key=len)
    assert len(longest) <= 1024


def test_defaults_are_a_valid_request() -> None:
    assert Settings() == make({}, {})
    request = requested()
    assert as_the_service_sees(request) == request


@pytest.mark.parametrize("has", [{"shares": True}, {"takes": True}, {"shares": True, "takes": True}])
def test_what_a_batch_has_besides_comes_by_manifests(has: dict[str, bool]) -> None:
    cargo = BatchCargo("job", make({}, {}), "f", DIGEST, **has)
    request = as_the_service_sees(of_cargo(cargo, "job", RUN, PLACE))
    channels = request["InputDataConfig"]
    sources = {channel["ChannelName"]: channel["DataSource"]["S3DataSource"] for channel in channels}
    manifests = {name for name, source in sources.items() if source["S3DataType"] == "ManifestFile"}
    assert manifests == {{"shares": "smexec_shared", "takes": "smexec_values"}[name] for name in has}
    assert len({source["S3Uri"] for source in sources.values()}) == 2 + len(has)
