"""Batch Transform over the real wire, with an image that serves."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec import SageMakerExecutor, TrainingResult, Transform, TransformResult, errors
from smexec.core.settings import Settings
from smexec.testing import LocalService

IMAGE = Path(__file__).parent / "local" / "image"
LINES: dict[str, Any] = {"content_type": "text/csv", "split_type": "Line", "assemble_with": "Line"}


@pytest.fixture
def executor(smexec_service: LocalService) -> Iterator[SageMakerExecutor]:
    smexec_service.configure(image={"server:1": str(IMAGE)})
    with SageMakerExecutor(max_workers=2, image_uri="server:1", use_spot_instances=True) as executor:
        yield executor


def put(service: LocalService, key: str, content: bytes) -> str:
    service.client("s3").put_object(Bucket=service.bucket, Key=key, Body=content)
    return f"s3://{service.bucket}/{key}"


def got(service: LocalService, uri: str) -> str:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    content: bytes = service.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content.decode()


@pytest.fixture
def model(smexec_service: LocalService) -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("model.txt")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"iris"))
    return put(smexec_service, "transform/model.tar.gz", packed.getvalue())


def names(service: LocalService) -> set[str]:
    return {one["ModelName"] for one in service.client("sagemaker").list_models(MaxResults=100)["Models"]}


@pytest.fixture
def models(smexec_service: LocalService) -> Callable[[], set[str]]:
    """Names of models that a test has left; others may have left theirs before."""
    before = names(smexec_service)
    return lambda: names(smexec_service) - before


def test_a_model_answers_what_lies_in_s3(
    smexec_service: LocalService, executor: SageMakerExecutor, model: str, models: Callable[[], set[str]]
) -> None:
    source = put(smexec_service, "transform/one/rows.csv", b"1\n2\n").removesuffix("rows.csv")
    ask = Transform(model, source, accept="text/plain", strategy="SingleRecord", **LINES)
    future = executor.submit(ask)
    result = future.result(60)
    assert isinstance(result, TransformResult)
    assert result.job_name == future.job_name
    said = got(smexec_service, f"{result.output}/rows.csv.out").splitlines()
    assert [line.split() for line in said if line] == [
        ["iris", "1"],
        ["text/csv", "text/plain"],
        ["iris", "2"],
        ["text/csv", "text/plain"],
    ]
    assert models() == set()


def test_a_map_has_an_input_for_each_job(
    smexec_service: LocalService, executor: SageMakerExecutor, model: str
) -> None:
    trained = TrainingResult("job", model, None, {}, {})
    sources = [put(smexec_service, f"transform/{year}/rows.csv", str(year).encode()) for year in (2024, 2025)]
    results = executor.map(Transform(trained, content_type="text/csv", accept="text/plain"), sources)
    said = [got(smexec_service, f"{result.output}/rows.csv.out") for result in results]
    assert said == ["iris 2024 text/csv text/plain", "iris 2025 text/csv text/plain"]


def test_what_the_container_answers_is_in_the_error(
    smexec_service: LocalService, executor: SageMakerExecutor, model: str, models: Callable[[], set[str]]
) -> None:
    source = put(smexec_service, "transform/bad/rows.csv", b"fail400")
    error = executor.submit(Transform(model, source, content_type="text/csv", accept="a/b")).exception(60)
    assert type(error) is errors.JobFailed
    assert "no such column" in str(error)
    assert "started as serve" in error.log_tail
    assert models() == set()


def test_a_model_is_made_once_where_the_job_has_to_wait(
    smexec_service: LocalService, executor: SageMakerExecutor, model: str, models: Callable[[], set[str]]
) -> None:
    smexec_service.fault(
        "CreateTransformJob",
        "error",
        code="ResourceLimitExceeded",
        message="The account-level service limit 'ml.m5.large for transform job usage' is 1 Instances, with "
        "current utilization of 1 Instances and a request delta of 1 Instances.",
    )
    source = put(smexec_service, "transform/late/rows.csv", b"1")
    executor.submit(Transform(model, source, content_type="text/csv", accept="a/b")).result(60)
    requests = smexec_service.requests()
    assert (requests["sagemaker.CreateModel"], requests["sagemaker.CreateTransformJob"]) == (1, 2)
    assert models() == set()


def test_a_model_does_not_stay_where_there_is_no_job(
    smexec_service: LocalService, executor: SageMakerExecutor, model: str, models: Callable[[], set[str]]
) -> None:
    ask = Transform(model, f"s3://{smexec_service.bucket}/nothing/there/")
    assert isinstance(executor.submit(ask).exception(60), errors.InvalidRequest)
    assert models() == set()


def test_a_transform_that_is_cancelled_leaves_no_model(
    smexec_service: LocalService, executor: SageMakerExecutor, model: str, models: Callable[[], set[str]]
) -> None:
    smexec_service.configure(delays={"Starting": 600})
    source = put(smexec_service, "transform/never/rows.csv", b"1")
    future = executor.submit(Transform(model, source))
    smexec_service.wait_for_requests(**{"sagemaker.ListTransformJobs": 1})
    assert future.cancel()
    executor.shutdown()
    assert models() == set()
    assert future.job_name
    assert smexec_service.wait(future.job_name)["TransformJobStatus"] == "Stopped"


def test_what_a_transform_cannot_have_is_said_where_it_is_given() -> None:
    for place in ("model_data", "input", "output"):
        given: dict[str, Any] = {"model_data": None, place: "somewhere"}
        with pytest.raises(errors.ScriptError, match=f"{place}='somewhere'.*s3://bucket"):
            Transform(**given)
    with pytest.raises(errors.ScriptError, match="job has left no model"):
        Transform(TrainingResult("job", None, None, {}, {}))
    for folder in ("s3://bucket/model/", TrainingResult("job", "s3://bucket/model/", None, {}, {})):
        with pytest.raises(errors.ScriptError, match=r"takes no folder.*disable_output_compression"):
            Transform(folder)
    with pytest.raises(errors.ScriptError, match="s3://bucket"):
        Transform(Path("model.tar.gz"))  # type: ignore[arg-type]
    with pytest.raises(errors.SettingsError, match="volume_size is nothing that a Transform Job has"):
        Transform(None, volume_size=50)


def test_what_is_missing_is_said_by_submit(executor: SageMakerExecutor, model: str) -> None:
    with pytest.raises(errors.ScriptError, match="needs an input"):
        executor.submit(Transform(model))
    with pytest.raises(TypeError, match="one argument"):
        executor.submit(Transform(model), "s3://bucket/a", "s3://bucket/b")
    with pytest.raises(errors.ScriptError, match="image_uri"):
        Transform(model).prepare(Settings())
