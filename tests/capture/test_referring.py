from __future__ import annotations

import io
import threading
from collections import namedtuple
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.capture import referring, sharing
from smexec.capture.pickling import TooLarge, dump_arguments, dump_function
from smexec.capture.referring import Refer, dump_whole
from smexec.capture.sharing import Sharing
from smexec.core.work import Dependency, Pickled
from smexec.errors import CallNotPicklable, FutureNotPicklable
from smexec.worker import call

LARGE = 1_000


class Pledge:
    """What has a value later; as a future it cannot be pickled. :ivar value: that it will have"""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        raise FutureNotPicklable("a future")


def telling() -> Refer:
    """What stands for pledges; the same for the same."""
    known: dict[Pledge, Dependency] = {}

    def refer(thing: Any) -> Dependency | None:
        if not isinstance(thing, Pledge):
            return None
        future: Future[Any] = Future()
        future.set_result(thing.value)
        return known.setdefault(thing, Dependency(future, lambda: None, list))

    return refer


def received(pickled: Pickled) -> Any:
    """As it arrives, once there are values."""
    objects = [
        item.future.result() if isinstance(item, Dependency) else call._load(item)  # type: ignore[arg-type]
        for item in pickled.shared
    ]
    return call._load(pickled.sections, objects)


@dataclass
class Plan:
    steps: Any


Pair = namedtuple("Pair", "one other")  # noqa: PYI024
holders = [
    lambda thing: [thing, 0],
    lambda thing: {"key": [0, thing]},
    lambda thing: (1, (thing,)),
    lambda thing: Plan({"steps": thing}),
    lambda thing: Pair(thing, thing),
]


@pytest.mark.parametrize("held", holders, ids=["list", "dict", "tuple", "dataclass", "namedtuple"])
def test_its_value_takes_its_place_wherever_it_is(held: Any) -> None:
    pickled = dump_arguments(print, (held(Pledge("value")),), {}, None, refer=telling())
    assert received(pickled) == ((held("value"),), {})
    assert len(pickled.shared) == 1


def test_the_same_future_twice_has_one_value() -> None:
    one, other = Pledge(["a"]), Pledge(["a"])
    (args, kwargs) = received(dump_arguments(print, ([one, one], other), {"k": one}, None, refer=telling()))
    assert args[0][0] is args[0][1] is kwargs["k"]
    assert args[1] is not kwargs["k"]


pledges = st.builds(Pledge, st.integers())
nested = st.recursive(
    st.integers() | pledges, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


def fulfilled(thing: Any) -> Any:
    if isinstance(thing, list):
        return [fulfilled(item) for item in thing]
    if isinstance(thing, dict):
        return {key: fulfilled(item) for key, item in thing.items()}
    return thing.value if isinstance(thing, Pledge) else thing


@given(st.lists(nested, max_size=4))
def test_all_values_arrive_where_their_futures_were(args: list[Any]) -> None:
    pickled = dump_arguments(print, args, {}, None, refer=telling())
    assert list(received(pickled)[0]) == fulfilled(args)


def test_without_futures_nobody_looks_for_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def refer(thing: Any) -> None:
        raise AssertionError(thing)

    monkeypatch.setattr(referring, "_Referring", refer)
    assert dump_whole(([1, "two"],), refer).shared == ()


def test_what_was_begun_is_taken_back() -> None:
    stream = io.BytesIO()
    pickled = dump_whole([b"x" * 100_000, Pledge(1)], telling(), stream)
    assert received(pickled) == [b"x" * 100_000, 1]
    assert len(stream.getvalue()) < 101_000


def test_it_is_refused_when_it_becomes_too_large_all_the_same() -> None:
    with pytest.raises(TooLarge):
        dump_arguments(print, (Pledge(1), "x" * 1_000), {}, None, refer=telling(), most=500)


def test_what_cannot_be_pickled_is_named_beside_futures() -> None:
    with pytest.raises(CallNotPicklable, match=r"argument 1 \(list\), at \[1\] \(lock\),"):
        dump_arguments(print, (Pledge(1), [Pledge(2), threading.Lock()]), {}, None, refer=telling())


def test_a_future_that_nobody_tells_is_refused() -> None:
    with pytest.raises(CallNotPicklable, match=r"argument 0 \(Pledge\).* a future"):
        dump_arguments(print, (Pledge(1),), {}, None)
    pledge = Pledge(1)
    with pytest.raises(CallNotPicklable, match=r"the function .* a future"):
        dump_function(lambda: pledge, None)


def test_large_arguments_are_pickled_apart_beside_futures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SHARED_BYTES", LARGE)
    table, refer = [str(number) for number in range(LARGE)], telling()
    together = Sharing(still=True, refer=refer)
    for number in range(3):
        pickled = together.dump(([Pledge(number)], table, number), {})
        assert len(pickled.shared) == 2
        assert received(pickled) == (([number], table, number), {})


def test_a_large_argument_with_a_future_in_it_is_each_calls_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SHARED_BYTES", LARGE)
    plan = Plan([Pledge(1), *map(str, range(LARGE))])
    together = Sharing(still=True, refer=telling())
    for number in range(3):
        pickled = together.dump((plan, number), {})
        assert [type(item) for item in pickled.shared] == [Dependency]
        assert received(pickled)[0][0].steps[0] == 1
