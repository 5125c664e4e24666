"""The /opt/ml of a host, against what containers of the real service show."""

from __future__ import annotations

import ipaddress
import json
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.local.layout import (
    FAILURE_LIMIT,
    Host,
    TrainingLayout,
    environment,
    hosts_of,
    input_data_config,
    input_mode,
    read_told,
    resource_config,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback is one address")


def channel(name: str, **changes: Any) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": "s3://bucket/data/",
        "S3DataDistributionType": "FullyReplicated",
    }
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": source},
        "CompressionType": "None",
        "RecordWrapperType": "None",
        **changes,
    }


REQUEST: dict[str, Any] = {
    "TrainingJobName": "job-1",
    "AlgorithmSpecification": {"TrainingImage": "image:tag", "TrainingInputMode": "File"},
    "HyperParameters": {"a": "1", "sagemaker_program": '"train.R"'},
    "Environment": {"MINE": "x", "AWS_REGION": "mine"},
    "InputDataConfig": [channel("train", ContentType="text/csv"), channel("rest", InputMode="FastFile")],
    "ResourceConfig": {"InstanceType": "ml.c5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
}
GROUPS = {
    "InstanceGroups": [
        {"InstanceGroupName": "heads", "InstanceType": "ml.m5.large", "InstanceCount": 1},
        {"InstanceGroupName": "hands", "InstanceType": "ml.c5.large", "InstanceCount": 2},
    ]
}


def read(layout: TrainingLayout, name: str) -> Any:
    return json.loads((layout.config / f"{name}.json").read_text(encoding="utf-8"))


class TestConfigurationFiles:
    @pytest.fixture
    def layout(self, tmp_path: Path) -> TrainingLayout:
        layout = TrainingLayout(tmp_path / "algo-1")
        layout.make()
        layout.write_config(REQUEST, hosts_of(REQUEST["ResourceConfig"])[0])
        return layout

    def test_hyperparameters_are_as_given(self, layout: TrainingLayout) -> None:
        assert read(layout, "hyperparameters") == {"a": "1", "sagemaker_program": '"train.R"'}

    def test_resources(self, layout: TrainingLayout) -> None:
        assert read(layout, "resourceconfig") == {
            "current_group_name": "homogeneousCluster",
            "current_host": "algo-1",
            "current_instance_type": "ml.c5.xlarge",
            "hosts": ["algo-1"],
            "instance_groups": [
                {
                    "hosts": ["algo-1"],
                    "instance_group_name": "homogeneousCluster",
                    "instance_type": "ml.c5.xlarge",
                }
            ],
            "network_interface_name": "eth0",
            "topology": None,
        }

    def test_channels(self, layout: TrainingLayout) -> None:
        assert read(layout, "inputdataconfig") == {
            "train": {
                "ContentType": "text/csv",
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
            },
            "rest": {
                "TrainingInputMode": "FastFile",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
            },
        }

    def test_without_parameters_and_channels_the_files_are_there(self, tmp_path: Path) -> None:
        layout = TrainingLayout(tmp_path / "host")
        layout.make()
        bare = {key: REQUEST[key] for key in ("AlgorithmSpecification", "ResourceConfig")}
        layout.write_config(bare, hosts_of(bare["ResourceConfig"])[0])
        assert read(layout, "hyperparameters") == {}
        assert read(layout, "inputdataconfig") == {}

    def test_the_directories_that_are_there_beforehand(self, layout: TrainingLayout) -> None:
        directories = {path.relative_to(layout.opt_ml).as_posix() for path in layout.opt_ml.rglob("*/")}
        assert {"input/config", "input/data", "model", "output/data", "checkpoints"} <= directories
        assert layout.workdir.is_dir()


class TestHosts:
    def test_groups(self) -> None:
        hosts = hosts_of(GROUPS)
        assert [(host.name, host.group, host.instance_type) for host in hosts] == [
            ("algo-1", "heads", "ml.m5.large"),
            ("algo-2", "hands", "ml.c5.large"),
            ("algo-3", "hands", "ml.c5.large"),
        ]
        shown = resource_config(hosts, hosts[2])
        assert shown["current_group_name"] == "hands"
        assert shown["hosts"] == ["algo-1", "algo-2", "algo-3"]
        assert shown["instance_groups"][1] == {
            "hosts": ["algo-2", "algo-3"],
            "instance_group_name": "hands",
            "instance_type": "ml.c5.large",
        }

    @linux
    @given(st.integers(1, 1000), st.text())
    def test_each_has_an_address_of_its_own(self, count: int, job: str) -> None:
        resources = {"InstanceType": "t", "InstanceCount": count}
        addresses = [ipaddress.ip_address(host.address(job)) for host in hosts_of(resources)]
        assert len(set(addresses)) == count
        assert all(address.is_loopback for address in addresses)

    @linux
    def test_jobs_do_not_share_them(self) -> None:
        host = hosts_of({"InstanceType": "t", "InstanceCount": 1})[0]
        assert len({host.address(f"job-{number}") for number in range(100)}) == 100


def test_the_channels_own_input_mode_wins() -> None:
    assert input_mode(REQUEST, REQUEST["InputDataConfig"][0]) == "File"
    assert input_mode(REQUEST, REQUEST["InputDataConfig"][1]) == "FastFile"


def test_a_file_system_has_a_configuration_too() -> None:
    request = {**REQUEST, "InputDataConfig": [channel("x", DataSource={"FileSystemDataSource": {}})]}
    assert input_data_config(request)["x"]["S3DistributionType"] == "FullyReplicated"


class TestEnvironment:
    def test_what_the_platform_sets(self) -> None:
        host = Host("algo-2", "ml.c5.xlarge", "homogeneousCluster")
        shown = environment({"TrainingJobName": "job-1"}, "arn:job", host, "us-east-1")
        assert shown == {
            "TRAINING_JOB_NAME": "job-1",
            "TRAINING_JOB_ARN": "arn:job",
            "AWS_REGION": "us-east-1",
            "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
            "DMLC_INTERFACE": "eth0",
            "SAGEMAKER_METRICS_DIRECTORY": "/opt/ml/output/metrics/sagemaker",
            "HOSTNAME": "algo-2",
        }

    def test_the_requests_own_wins(self) -> None:
        shown = environment(REQUEST, "arn:job", hosts_of(REQUEST["ResourceConfig"])[0], "us-east-1")
        assert shown["MINE"] == "x"
        assert shown["AWS_REGION"] == "mine"


class TestCheckpoints:
    @pytest.mark.parametrize("path", [None, "/opt/ml/checkpoints/", "/opt/ml/checkpoints"])
    def test_by_default(self, tmp_path: Path, path: str | None) -> None:
        layout = TrainingLayout(tmp_path, PurePosixPath(path) if path else None)
        assert layout.checkpoints == tmp_path / "ml" / "checkpoints"
        assert layout.mounts()["/opt/ml/checkpoints"] == layout.checkpoints

    def test_elsewhere_in_opt_ml(self, tmp_path: Path) -> None:
        layout = TrainingLayout(tmp_path / "host", PurePosixPath("/opt/ml/model/state"))
        layout.make()
        assert layout.checkpoints.is_dir()
        assert layout.checkpoints == tmp_path / "host" / "ml" / "model" / "state"

    def test_elsewhere(self, tmp_path: Path) -> None:
        layout = TrainingLayout(tmp_path / "host", PurePosixPath("/tmp/state"))
        layout.make()
        assert layout.mounts()["/tmp/state"] == layout.checkpoints
        assert layout.checkpoints.is_dir()
        assert not layout.checkpoints.is_relative_to(layout.opt_ml)

    def test_a_real_images_own_files_stay(self, tmp_path: Path) -> None:
        # Every published R container has its code in /opt/ml itself.
        assert "/opt/ml" not in TrainingLayout(tmp_path).mounts()


class TestFailureFile:
    @pytest.fixture
    def layout(self, tmp_path: Path) -> TrainingLayout:
        layout = TrainingLayout(tmp_path / "host")
        layout.make()
        return layout

    def test_none(self, layout: TrainingLayout) -> None:
        assert read_told(layout.failure) == ""

    def test_its_first_characters(self, layout: TrainingLayout) -> None:
        layout.failure.write_text("ä" * (FAILURE_LIMIT + 5), encoding="utf-8")
        assert read_told(layout.failure) == "ä" * FAILURE_LIMIT

    def test_no_text(self, layout: TrainingLayout) -> None:
        layout.failure.write_bytes(b"\xff\xfe oops")
        assert read_told(layout.failure) == "\ufffd\ufffd oops"

    def test_no_file(self, layout: TrainingLayout) -> None:
        layout.failure.mkdir()
        assert read_told(layout.failure) == ""

    def test_a_link_is_not_followed_out_of_the_container(
        self, layout: TrainingLayout, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_text("of the host")
        layout.failure.symlink_to(secret)
        assert read_told(layout.failure) == ""
