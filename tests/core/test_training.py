from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from smexec import errors
from smexec.core import training
from smexec.core.run import Run
from smexec.core.settings import make
from smexec.core.training import Orders, Trained, TrainingCargo
from smexec.core.work import Place
from smexec.local.checks import check_consistency
from smexec.local.model import parse_request

PLACE = Place(
    "eu-west-1", "ml.m5.large", "arn:aws:iam::123456789012:role/Execution", "image:tag", "s3://b/root"
)
SOURCE = f"s3://b/root/layers/{'d' * 64}/sourcedir.tar.gz"


def cargo(**given: Any) -> TrainingCargo:
    orders = Orders(
        program="train.R",
        hyperparameters=training.encode({"rounds": 100, "formula": "rings ~ ."}),
        metrics={"rmse": "rmse=([0-9.]+)"},
    )
    return TrainingCargo("first", make(given, {}), orders, "d" * 64, result=lambda trained: trained)


def requested(**given: Any) -> dict[str, Any]:
    (request,) = cargo(**given).requests("job", Run(), PLACE)
    check_consistency(parse_request("CreateTrainingJob", json.dumps(request.members).encode()))
    return dict(request.members)


def test_hyperparameters_are_those_of_framework_containers() -> None:
    assert requested()["HyperParameters"] == {
        "rounds": "100",
        "formula": '"rings ~ ."',
        "sagemaker_submit_directory": f'"{SOURCE}"',
        "sagemaker_program": '"train.R"',
        "sagemaker_region": '"eu-west-1"',
        "sagemaker_job_name": '"job"',
    }


def test_under_isolation_the_code_is_where_the_platform_puts_it() -> None:
    request = requested(enable_network_isolation=True)
    directory = json.loads(request["HyperParameters"]["sagemaker_submit_directory"])
    assert directory == "/opt/ml/input/data/code/sourcedir.tar.gz"
    (channel,) = request["InputDataConfig"]
    assert (channel["ChannelName"], channel["DataSource"]["S3DataSource"]["S3Uri"]) == ("code", SOURCE)


def test_the_image_has_its_own_entry_point() -> None:
    algorithm = requested()["AlgorithmSpecification"]
    assert "ContainerEntrypoint" not in algorithm
    assert algorithm["MetricDefinitions"] == [{"Name": "rmse", "Regex": "rmse=([0-9.]+)"}]


def test_numbers_of_numpy_are_numbers() -> None:
    assert training.encode({"a": np.int64(3), "b": np.array([1.5, 2])}) == {"a": "3", "b": "[1.5, 2.0]"}


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 257, 5])
def test_names_are_those_that_the_service_takes(name: Any) -> None:
    with pytest.raises(errors.ScriptError, match="name"):
        training.encode({name: 1})


def described(status: str, **members: Any) -> dict[str, Any]:
    output = {"S3OutputPath": "s3://b/root/output", "CompressionType": "GZIP"}
    base = {"TrainingJobName": "job", "TrainingJobStatus": status, "SecondaryStatus": status}
    algorithm = {"TrainingImage": "image:tag", "TrainingInputMode": "File"}
    return {**base, "OutputDataConfig": output, "AlgorithmSpecification": algorithm, **members}


def test_what_is_completed_has_a_result() -> None:
    metrics = [{"MetricName": "rmse", "Value": 0.25}]
    description = described("Completed", FinalMetricDataList=metrics, BillableTimeInSeconds=7)
    model, output = cargo().artifacts(description)
    assert (model, output) == tuple(f"s3://b/root/output/job/output/{n}.tar.gz" for n in ("model", "output"))
    outcome = cargo().ended(description, [model])
    given = {"rounds": 100, "formula": "rings ~ ."}
    assert outcome.value == Trained("job", model, None, {"rmse": 0.25}, given, 7, "image:tag")


@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_left_uncompressed_is_a_folder(slash: str) -> None:
    output = {"S3OutputPath": "s3://b/root/output", "CompressionType": "NONE"}
    left = {"S3ModelArtifacts": f"s3://b/root/output/job/output/model{slash}"}
    description = described("Completed", OutputDataConfig=output, ModelArtifacts=left)
    folders = tuple(f"s3://b/root/output/job/output/{name}/" for name in ("model", "data"))
    assert cargo().artifacts(description) == folders
    assert cargo().ended(description, folders).value.model == folders[0]


def test_what_failed_is_an_error_with_what_it_left() -> None:
    description = described("Failed", FailureReason="AlgorithmError: Error in lm(), exit code: 1")
    _, output = cargo().artifacts(description)
    error = cargo().ended(description, [output]).error
    assert isinstance(error, errors.JobFailed)
    assert (error.model, error.output) == (None, output)
