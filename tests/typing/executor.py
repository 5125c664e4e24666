"""What type checkers make of the executor. Wrong calls are marked: a checker that accepts one is told so."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, as_completed
from concurrent.futures import Future as StandardFuture

from typing_extensions import assert_type

from smexec import Future, SageMakerExecutor


def describe(number: int, *, short: bool = False) -> str:
    return str(number)[: 1 if short else None]


def divide(x: float, y: float) -> float:
    return x / y


def clip(value: int, lowest: int, highest: int) -> int:
    return max(lowest, min(value, highest))


def total(*numbers: int) -> int:
    return sum(numbers)


def what_submit_returns(executor: SageMakerExecutor) -> None:
    assert_type(executor.submit(describe, 3), Future[str])
    assert_type(executor.submit(describe, number=3, short=True), Future[str])
    assert_type(executor.submit(divide, 3, 2).result(timeout=60), float)
    assert_type(executor.submit(divide, 3, 2).exception(), BaseException | None)
    assert_type(executor.submit(lambda: 3), Future[int])
    assert_type(executor.submit(describe, 3).job_name, str | None)
    assert_type(executor.submit(describe, 3).logs(), list[str])


def what_submit_refuses(executor: SageMakerExecutor) -> None:
    executor.submit(describe, "3")  # type: ignore[call-overload]
    executor.submit(describe)  # type: ignore[call-overload]
    executor.submit(describe, 3, True)  # type: ignore[call-overload]
    executor.submit(describe, 3, long=True)  # type: ignore[call-arg]
    executor.submit(3)  # type: ignore[call-overload]


def what_map_yields(executor: SageMakerExecutor) -> None:
    assert_type(list(executor.map(describe, range(3))), list[str])
    assert_type(next(executor.map(divide, [1, 2], [3.0, 4.0])), float)
    assert_type(list(executor.map(clip, [1], [2], itertools.repeat(3), timeout=60, chunksize=8)), list[int])
    assert_type(list(executor.map(total, [1], [2], [3], [4])), list[int])
    assert_type(list(executor.map(abs, [-1], buffersize=4, ordered=False)), list[int])
    assert_type(list(executor.map(describe, [1], return_exceptions=False)), list[str])
    assert_type(list(executor.map(describe, [1], return_exceptions=True)), list[str | BaseException])


def what_map_refuses(executor: SageMakerExecutor) -> None:
    executor.map(describe, ["3"])  # type: ignore[arg-type]
    executor.map(divide, [1, 2])  # type: ignore[arg-type]
    executor.map(describe, [1], [2])  # type: ignore[arg-type]
    executor.map(describe)  # type: ignore[call-overload]
    executor.map(describe, [1], chunk=3)  # type: ignore[call-overload]
    executor.map(describe, [1], chunksize="3")  # type: ignore[call-overload]


def what_map_cannot_know(
    executor: SageMakerExecutor, columns: list[list[int]], anything: Callable[..., int], flag: bool
) -> None:
    assert_type(list(executor.map(divide, *columns)), list[float])
    assert_type(list(executor.map(anything, [1], ["a"])), list[int])
    assert_type(list(executor.map(describe, [1], return_exceptions=flag)), list[str | BaseException])


def what_starmap_yields(executor: SageMakerExecutor, rows: Iterable[list[int]]) -> None:
    assert_type(list(executor.starmap(divide, itertools.product([1, 2], [3, 4]))), list[float])
    assert_type(list(executor.starmap(clip, rows, ordered=False)), list[int])
    assert_type(list(executor.starmap(clip, rows, return_exceptions=True)), list[int | BaseException])


def what_starmap_refuses(executor: SageMakerExecutor) -> None:
    executor.starmap(divide, [1, 2])  # type: ignore[list-item]
    executor.starmap(divide, [(1, 2)], chunk=3)  # type: ignore[call-overload]


def anybody(executor: Executor) -> StandardFuture[str]:
    return executor.submit(describe, 3)


def where_an_executor_is_wanted(executor: SageMakerExecutor) -> None:
    with executor as entered:
        assert_type(entered, SageMakerExecutor)
    assert_type(anybody(executor), StandardFuture[str])
    futures = [executor.submit(describe, number) for number in range(3)]
    assert_type(next(as_completed(futures)).result(), str)
