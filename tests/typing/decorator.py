"""What type checkers make of ``@remote``."""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import assert_type

from smexec import Future, RemoteFunction, SageMakerExecutor, remote


@remote
def describe(number: int, *, short: bool = False) -> str:
    """Bare."""
    return str(number)[: 1 if short else None]


@remote(max_workers=2, instance_type="ml.m5.4xlarge", tags={"team": "risk"})
def divide(x: float, y: float) -> float:
    """With settings."""
    return x / y


def plain(number: int) -> int:
    return number


class Scaler:
    @remote
    def scale(self, number: int, *, twice: bool = False) -> float:
        return number * 1.5


def what_a_call_returns() -> None:
    assert_type(describe(3), str)
    assert_type(describe(3, short=True), str)
    assert_type(divide(3, y=2), float)
    assert_type(describe.local(3), str)
    assert_type(divide.executor, SageMakerExecutor)


def what_submit_returns() -> None:
    assert_type(describe.submit(3), Future[str])
    assert_type(divide.submit(x=3, y=2).result(), float)


async def what_await_gives() -> None:
    assert_type(await divide.submit(3, 2), float)
    assert_type([value async for value in divide.map([1, 2], [3, 4])], list[float])


def what_map_yields() -> None:
    assert_type(list(divide.map([1, 2], [3, 4], chunksize=1, ordered=False)), list[float])
    assert_type(list(divide.map([1], [0], return_exceptions=True)), list[float | BaseException])


def what_a_method_is() -> None:
    assert_type(Scaler().scale(3, twice=True), float)
    assert_type(Scaler().scale.submit(3), Future[float])
    assert_type(Scaler.scale(Scaler(), 3), float)


def what_is_refused() -> None:
    Scaler().scale("3")  # type: ignore[arg-type]
    describe("3")  # type: ignore[arg-type]
    describe()  # type: ignore[call-arg]
    divide.submit(3)  # type: ignore[call-arg]
    divide.local(3, 2, 1)  # type: ignore[call-arg]
    divide.map([1], [2], chunk=3)  # type: ignore[call-overload]
    divide.map(1, 2)  # type: ignore[call-overload]
    remote(3)  # type: ignore[call-overload]
    remote(2, instance_type="local")  # type: ignore[call-overload]


def made_without_decorating() -> None:
    assert_type(remote(plain)(3), int)
    decorate: Callable[[Callable[[int], int]], RemoteFunction[[int], int]] = remote(instance_type="local")
    assert_type(decorate(plain).submit(3), Future[int])
