from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from smexec.core.packing import Kind
from smexec.core.settings import Settings
from smexec.core.work import Call, Dependency, Function, Pickled, Stored
from smexec.engine.connections import DependencyCancelled, Wait, connected
from smexec.errors import DependencyFailed

STORED = Stored("0000000000001_job_0", 2)


def call(*shared: Any) -> Call:
    return Call(Function("f", [b"f"], {}), Pickled([b"arguments"], shared), Settings(), Kind("test"))


def depends_on(future: Future[Any], stored: Stored | None = None) -> Dependency:
    return Dependency(future, lambda: stored, lambda: [b"%d" % future.result()])


def futures(count: int) -> list[Future[Any]]:
    return [Future() for _ in range(count)]


def fail(future: Future[Any]) -> None:
    future.set_exception(ValueError("x"))


def cancel(future: Future[Any]) -> None:
    assert future.cancel()


def test_it_is_over_when_the_last_has_landed() -> None:
    some, said = futures(3), list[int]()
    Wait([depends_on(future) for future in some], lambda: said.append(1))
    for future in reversed(some):
        assert not said
        future.set_result(0)
    assert said == [1]


def test_those_that_have_landed_before_count() -> None:
    (one, other), said = futures(2), list[int]()
    one.set_result(0)
    Wait([depends_on(one), depends_on(other)], lambda: said.append(1))
    assert not said
    other.set_result(0)
    assert said == [1]


@pytest.mark.parametrize("end", [fail, cancel])
def test_it_is_over_as_soon_as_there_is_a_value_that_will_not_come(end: Callable[[Any], None]) -> None:
    some, said = futures(3), list[int]()
    Wait([depends_on(future) for future in some], lambda: said.append(1))
    end(some[1])
    assert said == [1]
    some[0].set_result(0)
    end(some[2])
    assert said == [1]


def test_a_future_that_has_landed_does_not_keep_what_waited_for_it() -> None:
    class Waiting:
        def over(self) -> None:
            """Go on."""

    (future,), waiting = futures(1), Waiting()
    there = weakref.ref(waiting)
    Wait([depends_on(future)], waiting.over)
    del waiting
    assert there() is not None
    future.set_result(0)
    gc.collect()
    assert there() is None


def test_values_take_the_places_of_their_futures() -> None:
    one, other = futures(2)
    one.set_result(1)
    other.set_result(2)
    made = connected(call([b"large"], depends_on(one), depends_on(other, STORED)))
    assert made.arguments.shared == [[b"large"], [b"1"], STORED]
    assert made.arguments.sections == [b"arguments"]
    assert made.dependencies == []


def test_the_first_that_failed_is_the_reason() -> None:
    pending, broken, other = futures(3)
    fail(broken)
    other.set_exception(KeyError("y"))
    with pytest.raises(DependencyFailed, match="ValueError: x") as caught:
        connected(call(depends_on(pending), depends_on(broken), depends_on(other)))
    assert caught.value.__cause__ is broken.exception()


def test_one_that_was_cancelled() -> None:
    pending, gone = futures(2)
    cancel(gone)
    with pytest.raises(DependencyCancelled):
        connected(call(depends_on(pending), depends_on(gone)))
