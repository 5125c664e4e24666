from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.core import assembly
from smexec.core.assembly import Assembly, assemble
from smexec.core.packing import Kind
from smexec.core.settings import Settings
from smexec.core.work import Batch, Call, Function, Pickled, Stored
from smexec.worker import batch as wire
from smexec.worker import protocol
from smexec.worker.protocol import Buffer, Header
from smexec.worker.values import Values

LARGE = 100
SETTINGS, KIND = Settings(), Kind("map")


@pytest.fixture(autouse=True, scope="module")
def _a_hundred_bytes_are_large() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "SHARED_BYTES", LARGE)
        yield


def function(*sections: bytes, name: str = "f", **sources: str) -> Function:
    return Function(name, sections, sources)


FUNCTION = function(b"f")


def call(function: Function, *arguments: Buffer) -> Call:
    return Call(function, Pickled(arguments), SETTINGS, KIND)


def sharing(own: bytes, *shared: list[bytes]) -> Call:
    return Call(FUNCTION, Pickled([own], shared), SETTINGS, KIND)


def sha256(section: Buffer) -> str:
    return hashlib.sha256(section).hexdigest()


def assembled(*calls: Call, **header: Any) -> Assembly:
    return assemble(Batch(calls), header, sha256)


def header_of(made: Assembly) -> Header:
    return protocol.decode_body(b"".join(made.body))[0]


def unpacked(made: Assembly, folder: Path) -> wire.Batch:
    for digest, section in made.shared.items():
        (folder / digest).write_bytes(section)
    values = Values(folder, b"key")
    return wire.decode(*protocol.decode_body(bytearray(b"".join(made.body))), folder, values)


sections = st.lists(
    st.binary(max_size=8) | st.sampled_from([b"L" * LARGE, b"M" * 200]), min_size=1, max_size=3
)
functions = st.lists(sections.map(lambda some: function(*some)), min_size=1, max_size=3)
batches = functions.flatmap(
    lambda some: st.lists(st.tuples(st.sampled_from(some), sections), min_size=1, max_size=8)
)


@given(batches)
def test_every_call_finds_its_function_and_arguments(
    tmp_path_factory: pytest.TempPathFactory, batch: list[tuple[Function, list[bytes]]]
) -> None:
    made = assembled(*(call(function, *arguments) for function, arguments in batch))
    found = unpacked(made, tmp_path_factory.mktemp("shared"))
    assert len(found.calls) == len(batch)
    for number, (function, arguments) in enumerate(batch):
        assert [bytes(part) for part in found.arguments(number)] == arguments
        loaded = found.object(found.calls[number].function)
        assert [bytes(part) for part in loaded] == list(function.sections)


@given(batches)
def test_large_sections_travel_once_and_beside_the_batch(batch: list[tuple[Function, list[bytes]]]) -> None:
    made = assembled(*(call(function, *arguments) for function, arguments in batch))
    used = {bytes(part) for function, arguments in batch for part in [*function.sections, *arguments]}
    large = {part for part in used if len(part) >= LARGE}
    assert {bytes(section) for section in made.shared.values()} == large
    assert all(sha256(section) == digest for digest, section in made.shared.items())
    assert len(header_of(made)["shared"]) == len(large)
    assert not any(part in b"".join(made.body) for part in large)


@given(batches)
def test_equal_pickles_are_one_function(batch: list[tuple[Function, list[bytes]]]) -> None:
    """``submit`` pickles anew each time."""
    again = [(Function("g", list(function.sections), {}), arguments) for function, arguments in batch]
    made = assembled(*(call(function, *arguments) for function, arguments in batch + again))
    assert len(header_of(made)["objects"]) == len({tuple(function.sections) for function, _ in batch})


def test_what_several_calls_refer_to_is_one_object() -> None:
    large, other = [b"L" * LARGE], [b"pickle", b"L" * LARGE]
    calls = [sharing(b"a", large, other), sharing(b"b", other), sharing(b"c", list(large))]
    header = header_of(assembled(*calls))
    assert [shared for _, _, shared in header["calls"]] == [[1, 2], [2], [1]]
    assert header["objects"] == [[0], [1], [2, 1]]
    assert len(header["shared"]) == 1


def test_what_a_call_has_twice_though_equal_is_two_objects_of_the_same_sections() -> None:
    header = header_of(assembled(sharing(b"a", [b"L" * LARGE], [b"L" * LARGE])))
    assert [shared for _, _, shared in header["calls"]] == [[1, 2]]
    assert header["objects"] == [[0], [1], [1]]


def test_only_what_is_a_calls_own_counts_for_its_size() -> None:
    assert sharing(b"own", [b"L" * LARGE]).size == 3


def test_small_sections_of_one_owner_travel_once() -> None:
    """The same array in each argument tuple, if it is too small to be an object of its own."""
    array = bytearray(50)
    pickles = [b"pickle %d" % number for number in range(3)]
    made = assembled(*(call(function(b"f"), pickled, memoryview(array)) for pickled in pickles))
    assert header_of(made)["sizes"] == [1, 8, 50, 8, 8]


def test_parts_of_one_owner_are_told_apart() -> None:
    array = bytearray(b"abcdef")
    parts = [memoryview(array)[:3], memoryview(array)[3:], memoryview(array)[:2]]
    header, found = protocol.decode_body(b"".join(assembled(call(function(b"f"), b"", *parts)).body))
    assert [bytes(found[number]) for number in header["calls"][0][1]] == [b"", b"abc", b"def", b"ab"]


def test_sources_are_those_of_all_functions() -> None:
    one, other = function(b"1", **{"a.py": "A"}), function(b"2", **{"b.py": "B"})
    header = header_of(assembled(call(one, b""), call(other, b""), slots=2))
    assert (header["sources"], header["slots"]) == ({"a.py": "A", "b.py": "B"}, 2)


def test_the_digest_of_the_same_memory_is_asked_for_once() -> None:
    asked: list[int] = []

    def digest(section: Buffer) -> str:
        asked.append(memoryview(section).nbytes)
        return sha256(section)

    array = bytearray(LARGE)
    assemble(Batch([call(function(b"f"), b"%d" % number, array) for number in range(9)]), {}, digest)
    assert asked == [LARGE]


def test_nothing_is_copied() -> None:
    array = bytearray(LARGE - 1)
    made = assembled(call(function(b"f"), array))
    assert any(isinstance(part, memoryview) and part.obj is array for part in made.body)


def test_values_of_other_calls_are_objects_that_lie_elsewhere() -> None:
    one, two, other = Stored("event 1", 0), Stored("event 1", 7), Stored("event 2", 0)
    calls = [Call(FUNCTION, Pickled([b""], shared), SETTINGS, KIND) for shared in ([one, two], [other, one])]
    made = assembled(*calls)
    header = header_of(made)
    assert made.values == ["event 1", "event 2"]
    places = [{"event": name, "call": call} for name, call in (one, two, other)]
    assert header["objects"] == [[0], *places]
    assert [shared for *_, shared in header["calls"]] == [[1, 2], [3, 1]]
