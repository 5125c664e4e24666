from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.capture import sharing
from smexec.capture.pickling import dump_arguments, load
from smexec.capture.sharing import Sharing
from smexec.core.work import Pickled
from smexec.worker import call
from smexec.worker.protocol import Buffer

LARGE = 1_000


@pytest.fixture(autouse=True, scope="module")
def _a_thousand_bytes_are_large() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "SHARED_BYTES", LARGE)
        yield


class Model:
    """Large; counts how often it is pickled."""

    pickled = 0

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.weights = "w" * LARGE

    def __getstate__(self) -> dict[str, Any]:
        type(self).pickled += 1
        return self.__dict__


@pytest.fixture(autouse=True)
def _nothing_is_pickled() -> None:
    Model.pickled = 0


def apart(arguments: Pickled) -> list[Sequence[Buffer]]:
    """What it has in common with others: large objects, as there are no futures here."""
    assert all(isinstance(item, list) for item in arguments.shared)
    return cast("list[Sequence[Buffer]]", arguments.shared)


def received(arguments: Pickled) -> tuple[Any, ...]:
    """The positional arguments as they arrive in the container."""
    args, kwargs = call._load(arguments.sections, [load(sections) for sections in apart(arguments)])
    assert kwargs == {}
    return tuple(args)


def dumped(calls: Sequence[tuple[Any, ...]]) -> list[Pickled]:
    together = Sharing(still=True)
    return [together.dump(args, {}) for args in calls]


small = st.none() | st.integers() | st.text(max_size=5)
nested = st.recursive(
    small, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(small, inner, max_size=3)
)


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Calls that have objects in common, large and small, at any depth."""
    heap: list[Any] = [list(range(LARGE)), {"large": "x" * LARGE}, np.arange(LARGE)[::2]]
    heap += draw(st.lists(nested, max_size=3))
    for _ in range(draw(st.integers(0, 4))):
        heap.append(draw(st.lists(st.sampled_from(heap), max_size=3)))
    return draw(st.lists(st.lists(st.sampled_from(heap), max_size=4).map(tuple), max_size=6))


def shape(thing: Any, seen: dict[int, int]) -> Any:
    """What can be told of an object: its content, and which of what is in it are the same object."""
    if isinstance(thing, list | dict | np.ndarray):
        if id(thing) in seen:
            return seen[id(thing)]
        seen[id(thing)] = len(seen)
    if isinstance(thing, np.ndarray):
        return thing.tolist()
    if isinstance(thing, list | tuple):
        return [shape(item, seen) for item in thing]
    return {key: shape(item, seen) for key, item in thing.items()} if isinstance(thing, dict) else thing


@given(batches())
def test_what_is_sent_arrives_with_all_its_identities(calls: list[tuple[Any, ...]]) -> None:
    for args, arguments in zip(calls, dumped(calls), strict=True):
        assert shape(received(arguments), {}) == shape(args, {})


@pytest.mark.parametrize("wrapped", [lambda x: x, lambda x: (x, 1), lambda x: {"data": x}, lambda x: [1, x]])
def test_a_large_argument_of_many_calls_is_pickled_once(wrapped: Any) -> None:
    model = Model()
    calls = dumped([(wrapped(model), number) for number in range(9)])
    assert Model.pickled == 2  # once to find that it is large
    assert len({id(arguments.shared[0]) for arguments in calls}) == 1
    assert max(len(arguments.sections[0]) for arguments in calls) < 200


def test_each_of_several_is_pickled_once() -> None:
    train, test = Model(), Model()
    calls = dumped([(train, test, 1), (test, 2), (train, 3), (test, train)])
    assert Model.pickled == 4
    assert [len(arguments.shared) for arguments in calls] == [2, 1, 1, 2]


def test_the_same_argument_twice_is_sent_once() -> None:
    model = Model()
    assert [len(arguments.shared) for arguments in dumped([(model, model), ([model], model)])] == [1, 1]


def test_what_is_large_in_a_call_alone_is_pickled_with_it() -> None:
    """Only of the first it is hoped that others will have it too."""
    calls = dumped([(Model(), number) for number in range(20)])
    assert [len(pickled.shared) for pickled in calls] == [1, *[0] * 19]
    assert Model.pickled == 21


def test_what_turns_out_to_be_in_several_is_pickled_apart_from_then_on() -> None:
    models = [Model() for _ in range(3)]
    calls = dumped([(models[number % 3], number) for number in range(12)])
    assert [len(pickled.shared) for pickled in calls] == [1, 0, 0, *[1] * 9]
    assert Model.pickled == 2 * 3


def test_one_after_the_other_each_is_uploaded_once() -> None:
    models = [Model() for _ in range(3)]
    calls = dumped([(model, number) for model in models for number in range(4)])
    assert [len(pickled.shared) for pickled in calls] == [1] * 12


def test_what_is_small_is_each_calls_own() -> None:
    item = ["small"]
    assert [arguments.shared for arguments in dumped([(item,), (item,)])] == [(), ()]


def test_arrays_are_buffers_anyway() -> None:
    array = np.arange(LARGE)
    calls = dumped([(array,), (array,)])
    assert [arguments.shared for arguments in calls] == [(), ()]
    assert np.shares_memory(np.frombuffer(calls[1].sections[1], "i8"), array)


def test_but_those_that_must_be_copied_are_so_once() -> None:
    array = np.arange(4 * LARGE).reshape(LARGE, 4)[::2, ::2]
    one, other = dumped([(array, 1), (array, 2)])
    assert one.shared[0] is other.shared[0]
    np.testing.assert_array_equal(received(other)[0], array)


@pytest.mark.parametrize("node", [Model(), object()], ids=["large", "small"])
def test_a_part_of_it_that_is_an_argument_too_arrives_as_the_same_object(node: Any) -> None:
    graph = Model(node)
    for arguments in dumped([(graph, node), (graph, [node]), (node, graph)]):
        args = received(arguments)
        inner = next(arg for arg in args if getattr(arg, "parts", ()))
        outer = next(arg for arg in args if arg is not inner)
        assert inner.parts[0] is (outer[0] if isinstance(outer, list) else outer)


def test_values_that_it_has_in_common_with_the_rest_do_not_matter() -> None:
    """There is one ``dtype`` of a kind, and one class: they must not keep what is large from being shared."""
    model = Model(np.float64(1), ["name"], Model)
    calls = dumped([(model, np.float64(number), "name", Model) for number in range(3)])
    assert {len(arguments.shared) for arguments in calls} == {1}


def test_what_may_have_changed_between_two_calls_travels_as_it_is_then() -> None:
    model = Model()
    together = Sharing()
    for number in range(4):
        model.parts = (number,)
        pickled = together.dump((model, number), {})
        assert received(pickled)[0].parts == (number,)
        assert len(pickled.shared) == 1


def test_what_has_not_changed_is_in_memory_once() -> None:
    table = [list(range(LARGE)), *range(99)]
    together = Sharing()
    one, other = (together.dump((table, number), {}) for number in range(2))
    assert one.shared[0] is other.shared[0]


def test_little_is_kept() -> None:
    together = Sharing(still=True)
    for _ in range(100):
        together.dump((Model(),), {})
    assert len(together._seen) <= 16


def test_what_cannot_be_pickled_is_named_when_its_call_is_dumped() -> None:
    lock = [threading.Lock()]
    together = Sharing()
    with pytest.raises(TypeError, match=r"argument 0 \(list\), at \[0\] \(lock\), cannot be pickled"):
        dump_arguments(print, (lock, 1), {}, None, sharing=together)


def test_the_users_own_classes_travel_by_value() -> None:
    model = Model()
    arguments = dump_arguments(functools.partial(print, 1), (model,), {}, __name__, sharing=Sharing())
    (pickled,) = apart(arguments)
    assert b"__getstate__" in bytes(pickled[0])
