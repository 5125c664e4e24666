"""Futures as arguments, over the real wire."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smexec.future
from smexec import Future, SageMakerExecutor
from smexec.errors import CallNotPicklable, DependencyFailed, FutureNotPicklable, SignatureError
from smexec.testing import LocalService


@dataclass
class Plan:
    """An object of the user's own."""

    name: str
    steps: list[Any]


def negative(number: Any) -> Any:
    return -number


def both(one: Any, other: Any) -> Any:
    return one + other


def size(of: Any) -> int:
    return len(of)


def total(numbers: list[Any]) -> Any:
    return sum(numbers)


def until(path: Path, value: Any) -> Any:
    """The value, once there is a file."""
    while not path.exists():
        time.sleep(0.02)
    return value


def objects(service: LocalService, executor: SageMakerExecutor) -> dict[str, int]:
    """Key → bytes of what a run has in the bucket."""
    pages = service.client("s3").get_paginator("list_objects_v2").paginate(Bucket=service.bucket)
    found = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
    return {key: size for key, size in found.items() if executor.run_id in key}


def brought(service: LocalService, future: Future[Any]) -> list[str]:
    """The channels of a call's job."""
    job = service.client("sagemaker").describe_training_job(TrainingJobName=future.job_name)
    return [channel["ChannelName"] for channel in job["InputDataConfig"]]


def test_a_chain(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=2) as executor:
        one = executor.submit(abs, -1)
        two = executor.submit(add, one, 1)
        three = executor.submit(add, 1, two)
        assert three.result() == 3
    assert "smexec_values" in brought(smexec_service, two)
    assert "smexec_values" not in brought(smexec_service, one)


def test_all_at_once_with_one_job_at_a_time_and_a_shutdown_that_waits(smexec_service: LocalService) -> None:
    executor = SageMakerExecutor(max_workers=1, calls_per_job=10)
    top = executor.submit(abs, -1)
    left, right = executor.submit(add, top, 1), executor.submit(add, top, 2)
    bottom = executor.submit(add, left, right)
    executor.shutdown(wait=True)
    assert bottom.result(0) == 5


def test_wherever_a_future_is(smexec_service: LocalService) -> None:
    def same(plan: Plan, *, table: dict[str, Any]) -> tuple[Any, bool]:
        return plan.steps, plan.steps[0] is table["again"][0]

    with SageMakerExecutor(max_workers=1) as executor:
        value = executor.submit(list, "ab")
        steps, is_same = executor.submit(
            same, Plan("p", [value, (value,)]), table={"again": [value]}
        ).result()
    assert steps == [["a", "b"], (["a", "b"],)]
    assert is_same


def test_a_fan_in(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=2, calls_per_job=5) as executor:
        squares = [executor.submit(pow, number, 2) for number in range(20)]
        assert executor.submit(total, squares).result() == sum(number**2 for number in range(20))


def test_a_large_value_does_not_pass_through_the_client_again(smexec_service: LocalService) -> None:
    def table() -> np.ndarray[Any, Any]:
        return np.arange(650_000.0)

    def change(values: Any, by: float) -> float:
        values += by
        return float(values.sum())

    with SageMakerExecutor(max_workers=2) as executor:
        values = executor.submit(table)
        assert values.result()[2] == 2.0  # that somebody has it here changes nothing
        sums = list(executor.map(change, [values, values, values, values], [0.0, 1.0, 2.0, 3.0]))
    whole = float(np.arange(650_000.0).sum())
    assert sums == [whole + 650_000 * by for by in range(4)]  # each call changes its own
    sizes = objects(smexec_service, executor)
    assert sum(size for key, size in sizes.items() if "/events/" in key) > 5_000_000
    assert sum(size for key, size in sizes.items() if "/events/" not in key) < 100_000


def test_a_map_over_futures(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=2) as executor:
        ones = [executor.submit(abs, -number) for number in range(4)]
        assert list(executor.map(add, ones, itertools.repeat(1))) == [1, 2, 3, 4]
        assert list(executor.starmap(add, [(one, one) for one in ones])) == [0, 2, 4, 6]


def test_what_depends_on_a_call_that_failed_fails(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1) as executor:
        broken = executor.submit(int, "x")
        after = executor.submit(negative, broken)
        last = executor.submit(add, 1, after)
        error, cause = last.exception(), after.exception()
        assert isinstance(error, DependencyFailed)
        assert isinstance(cause, DependencyFailed)
        assert error.__cause__ is cause
        assert cause.__cause__ is broken.exception()
        assert "ValueError: invalid literal" in str(cause)
        assert after.job_name is None
        late = executor.submit(negative, broken)  # of a failure that was known before
        assert isinstance(late.exception(), DependencyFailed)
    assert smexec_service.requests()["sagemaker.CreateTrainingJob"] == 1


def test_it_fails_at_once_whatever_the_others_do(smexec_service: LocalService, tmp_path: Path) -> None:
    with SageMakerExecutor(max_workers=2) as executor:
        slow = executor.submit(until, tmp_path / "go", 1)
        after = executor.submit(add, slow, executor.submit(int, "x"))
        assert isinstance(after.exception(), DependencyFailed)
        assert not slow.done()
        (tmp_path / "go").touch()


def test_what_depends_on_a_call_that_was_cancelled_is_cancelled(smexec_service: LocalService) -> None:
    smexec_service.configure(delays={"Starting": 60.0})
    with SageMakerExecutor(max_workers=1) as executor:
        first = executor.submit(abs, -1)
        second = executor.submit(negative, first)
        third = executor.submit(negative, second)
        told = threading.Event()
        third.add_done_callback(lambda _: told.set())
        assert third.status == "queued"
        assert first.cancel()
        assert told.wait(60)
        assert second.cancelled()
        assert third.cancelled()


def test_one_that_waits_can_be_cancelled_alone(smexec_service: LocalService, tmp_path: Path) -> None:
    with SageMakerExecutor(max_workers=1) as executor:
        first = executor.submit(until, tmp_path / "go", 2)
        second, other = executor.submit(negative, first), executor.submit(negative, first)
        assert second.cancel()
        (tmp_path / "go").touch()
        assert other.result() == -2
    assert second.cancelled()
    assert smexec_service.requests()["sagemaker.CreateTrainingJob"] == 2


def test_shutdown_cancels_those_that_wait(smexec_service: LocalService) -> None:
    smexec_service.configure(delays={"Starting": 60.0})
    executor = SageMakerExecutor(max_workers=1)
    first = executor.submit(abs, -1)
    second = executor.submit(negative, first)
    executor.shutdown(wait=True, cancel_futures=True)
    assert first.cancelled()
    assert second.cancelled()


@pytest.mark.parametrize("compressed", [True, False], ids=["archive", "files"])
def test_where_s3_is_out_of_the_jobs_reach(smexec_service: LocalService, compressed: bool) -> None:
    isolated = {"enable_network_isolation": True, "disable_output_compression": not compressed}
    with SageMakerExecutor(max_workers=2, **isolated) as executor:
        two = executor.submit(add, executor.submit(np.ones, 3), 1)
        assert two.result().tolist() == [2.0, 2.0, 2.0]
    assert "smexec_values" not in brought(smexec_service, two)


def test_what_is_passed_on_to_many_is_pickled_once(smexec_service: LocalService, gate: Path) -> None:
    class Counted:
        pickled = 0

        def __reduce__(self) -> Any:
            type(self).pickled += 1
            return str, ("x" * 100_000,)

    with SageMakerExecutor(max_workers=1) as one, SageMakerExecutor(max_workers=1) as other:
        first = one.submit(abs, -1)
        first.result()
        first._result = Counted()  # type: ignore[assignment]  # what cannot come back from a job as itself

        def many() -> Iterator[Future[Any]]:
            for _ in range(5):
                yield first
                while not Counted.pickled:
                    time.sleep(0.01)
                time.sleep(0.01)  # in which what nobody holds is gone

        other.submit(gate.read_text)  # the only job, behind which the calls wait
        results = other.map(size, many())
        gate.write_text("")
        assert list(results) == [100_000] * 5
    assert Counted.pickled == 1


def test_a_future_of_another_executor(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1) as one, SageMakerExecutor(max_workers=1) as other:
        first = one.submit(list, "ab")
        assert other.submit(add, first, ["c"]).result() == ["a", "b", "c"]
        failed = other.submit(add, one.submit(int, "x"), 1)
        assert isinstance(failed.exception(), DependencyFailed)


def test_await(smexec_service: LocalService) -> None:
    async def main() -> int:
        async with SageMakerExecutor(max_workers=1) as executor:
            first = executor.submit(bytes.upper, b"a")
            large = executor.submit(both, b"x" * (5 << 20), first)  # pickled on a thread
            return await executor.submit(size, large)

    assert asyncio.run(main()) == (5 << 20) + 1


def test_a_job_in_the_place_of_one_that_was_lost_finds_the_values_too(
    smexec_service: LocalService, tmp_path: Path
) -> None:
    def begin_and_wait(number: int) -> int:
        (tmp_path / os.environ["TRAINING_JOB_NAME"]).touch()
        until(tmp_path / "go", None)
        return number + 1

    def jobs(count: int) -> list[str]:
        while len(names := [path.name for path in tmp_path.iterdir()]) < count:
            time.sleep(0.02)
        return names

    with SageMakerExecutor(max_workers=1) as executor:
        first = executor.submit(abs, -1)
        second = executor.submit(begin_and_wait, first)  # type: ignore[call-overload]
        (lost,) = jobs(1)
        smexec_service.break_down(lost)
        ran = jobs(2)
        (tmp_path / "go").touch()
        assert second.result() == 2
    assert set(ran) == {lost, second.job_name}
    assert "smexec_values" in brought(smexec_service, second)


def test_a_value_that_another_has_written_is_not_unpickled(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1) as executor:
        first = executor.submit(abs, -1)
        first.result()
        for key in objects(smexec_service, executor):
            if "/events/" in key:
                smexec_service.client("s3").put_object(Bucket=smexec_service.bucket, Key=key, Body=b"forged")
        error = executor.submit(negative, first).exception()
        assert isinstance(error, SignatureError)
        assert "not an envelope" in str(error)


def test_with_large_arguments_that_a_map_has_in_common(smexec_service: LocalService) -> None:
    table = {str(number): f"{number:050}" for number in range(30_000)}

    def look_up(table: dict[str, str], number: Any) -> str:
        return table[str(number)]

    with SageMakerExecutor(max_workers=2) as executor:
        numbers = [executor.submit(abs, -number) for number in range(4)]
        found = list(executor.map(look_up, itertools.repeat(table, 4), numbers))
    assert found == [table[str(number)] for number in range(4)]
    assert sum("/shared/" in key for key in objects(smexec_service, executor)) == 1


def test_a_future_anywhere_else_is_an_error_that_says_so(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1) as executor:
        future = executor.submit(abs, -1)
        with pytest.raises(FutureNotPicklable, match="among the arguments"):
            pickle.dumps(future)
        with pytest.raises(CallNotPicklable, match="among the arguments"):
            executor.submit(lambda: future)
        with pytest.raises(CallNotPicklable, match=r"argument 1 \(lock\)"):
            executor.submit(add, future, threading.Lock())


def test_there_is_no_way_to_build_a_cycle(smexec_service: LocalService) -> None:
    """A future exists only once its call has been submitted; one that no call will resolve is none."""
    arguments: list[Any] = []
    with SageMakerExecutor(max_workers=1) as executor:
        itself = executor.submit(len, arguments)
        arguments.append(itself)  # too late: the arguments were pickled before there was a future
        assert itself.result() == 0
        with pytest.raises(CallNotPicklable, match="argument 0"):
            executor.submit(negative, Future())


def test_calls_that_wait_for_one_value_have_it_pickled_once() -> None:
    """However many threads ask for it at a time."""
    made: list[int] = []

    def make() -> int:
        made.append(1)
        everybody.wait(0.2)  # nobody else comes so far
        return len(made)

    everybody = threading.Event()
    get = smexec.future.once(make)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: get(), range(8))) == {1}
