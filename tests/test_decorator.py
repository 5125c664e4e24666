"""``@remote``."""

from __future__ import annotations

import pytest

from smexec import Future, SageMakerExecutor, errors, remote
from smexec.testing import LocalService


@remote(instance_type="ml.m5.24xlarge", max_workers=2)
def divide(x: float, y: float) -> float:
    """x by y."""
    print(f"Calculating {x}/{y}")
    return x / y


@remote
def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)


def test_calling_blocks_and_returns_the_value(smexec_service: LocalService) -> None:
    assert divide(3, 2) == 1.5
    jobs = smexec_service.client("sagemaker").list_training_jobs(NameContains=divide.executor.run_id)
    name = jobs["TrainingJobSummaries"][0]["TrainingJobName"]
    assert name.startswith("smexec-divide-")
    job = smexec_service.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert job["ResourceConfig"]["InstanceType"] == "ml.m5.24xlarge"


def test_what_it_raises_is_raised(smexec_service: LocalService) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        divide(1, 0)
    assert "x / y" in str(caught.value.__cause__)


def test_submit_map_and_local(smexec_service: LocalService) -> None:
    future = divide.submit(x=3, y=2)
    assert isinstance(future, Future)
    assert future.result(60) == 1.5
    assert list(divide.map([1, 2], [2, 4])) == [0.5, 0.5]
    assert divide.local(1, 4) == 0.25


class Scaler:
    """Has a method that runs as a job, and one that calls it there."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @remote
    def scale(self, number: int) -> int:
        return self.factor * number

    def twice(self, number: int) -> int:
        return self.scale(self.scale(number))


def test_a_method(smexec_service: LocalService) -> None:
    three = Scaler(3)
    assert three.scale(2) == Scaler.scale(three, 2) == three.scale.local(2) == 6
    assert list(three.scale.map([1, 2])) == [3, 6]
    assert three.scale.executor is Scaler.scale.executor
    with SageMakerExecutor() as executor:
        assert executor.submit(three.twice, 2).result() == 18
    assert repr(three.scale) == "<remote Scaler.scale>"


def test_inside_a_job_it_is_the_function_itself(smexec_service: LocalService) -> None:
    assert factorial(4) == 24
    jobs = smexec_service.client("sagemaker").list_training_jobs(NameContains=factorial.executor.run_id)
    assert len(jobs["TrainingJobSummaries"]) == 1


def test_it_looks_like_the_function() -> None:
    assert getattr(divide, "__name__", None) == "divide"
    assert divide.__doc__ == "x by y."
    assert repr(divide) == "<remote divide>"


def test_settings_are_checked_where_they_are_written() -> None:
    with pytest.raises(errors.SettingsError, match="did you mean volume_size"):
        remote(volume_siz=3)(len)
