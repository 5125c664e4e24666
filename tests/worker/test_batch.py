from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smexec.worker import batch, protocol
from smexec.worker.batch import Batch, PackedCall
from smexec.worker.extent import Extent
from smexec.worker.protocol import BadSignature
from smexec.worker.values import Values

KEY = b"k" * 32
contents = st.lists(st.binary(max_size=40), min_size=1, max_size=8)


def travel(
    folder: Path,
    calls: list[PackedCall],
    functions: list[list[int]],
    sections: list[bytes],
    shared: list[int],
    **header: Any,
) -> Batch:
    """As the client writes it, and as the container finds it."""
    digests = {number: hashlib.sha256(sections[number]).hexdigest() for number in shared}
    for number, digest in digests.items():
        (folder / digest).write_bytes(sections[number])
    body = batch.encode(header, calls, functions, sections, digests)
    envelope = bytearray(b"".join(protocol.seal(KEY, "batch j", body)))
    return batch.decode(*protocol.unseal(KEY, "batch j", envelope), folder, Values(folder, KEY))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents, st.data())
def test_what_was_packed_comes_out(tmp_path: Path, sections: list[bytes], data: st.DataObject) -> None:
    numbers = st.integers(0, len(sections) - 1)
    shared = data.draw(st.lists(numbers, unique=True).map(lambda some: [n for n in some if sections[n]]))
    functions = data.draw(st.lists(st.lists(numbers, min_size=1, max_size=3), min_size=1, max_size=3))
    which, some = st.integers(0, len(functions) - 1), st.lists(numbers, min_size=1, max_size=3)
    calls = data.draw(st.lists(st.builds(PackedCall, which, some, st.lists(which))))
    unpacked = travel(tmp_path, calls, functions, sections, shared)
    assert unpacked.calls == calls
    for call, packed in enumerate(calls):
        assert [bytes(part) for part in unpacked.arguments(call)] == [sections[n] for n in packed.sections]
        function = [bytes(part) for part in unpacked.object(packed.function)]
        assert function == [sections[n] for n in functions[packed.function]]


def test_what_calls_have_in_common(tmp_path: Path) -> None:
    """Functions, and arguments of several calls: what one call alone has is its slot's to load."""
    calls = [PackedCall(0, [0], [2, 3]), PackedCall(1, [0], [3, 4]), PackedCall(0, [0])]
    assert travel(tmp_path, calls, [[0]] * 5, [b"x"], []).common == [0, 1, 3]


def test_what_holds_for_all_calls(tmp_path: Path) -> None:
    given = {"sources": {"f.py": "text"}, "slots": 3, "timeout": 1.5, "gpus": 2}
    unpacked = travel(tmp_path, [PackedCall(0, [0])], [[0]], [b"x"], [], **given)
    assert (unpacked.sources, unpacked.slots, unpacked.timeout, unpacked.gpus) == tuple(given.values())
    plain = travel(tmp_path, [PackedCall(0, [0])], [[0]], [b"x"], [])
    assert (plain.sources, plain.slots, plain.timeout, plain.gpus) == ({}, None, None, 0)


def test_only_what_is_not_shared_is_in_the_envelope(tmp_path: Path) -> None:
    large = b"large" * 100
    body = batch.encode({}, [PackedCall(0, [1])], [[0]], [b"f", large], {1: "digest"})
    assert large not in b"".join(body)


@pytest.mark.parametrize("shared", [[], [0, 1]], ids=["in the batch", "beside it"])
def test_memory_may_be_written_to_and_nobody_else_sees_it(tmp_path: Path, shared: list[int]) -> None:
    unpacked = travel(tmp_path, [PackedCall(0, [1])], [[0]], [b"function", b"argument"], shared)
    assert not memoryview(unpacked.object(0)[0]).readonly
    assert not memoryview(unpacked.arguments(0)[0]).readonly
    memoryview(unpacked.object(0)[0])[:1] = b"X"
    memoryview(unpacked.arguments(0)[0])[:1] = b"X"
    assert bytes(unpacked.object(0)[0]) == b"function"
    assert bytes(unpacked.arguments(0)[0]) == b"argument"
    files = sorted(path.read_bytes() for path in tmp_path.iterdir())
    assert files == ([b"argument", b"function"] if shared else [])


def test_a_shared_section_is_not_read_before_it_is_used(tmp_path: Path) -> None:
    """Its pages come from the file, whichever slot uses them."""
    content = bytes(10_000_000)
    unpacked = travel(tmp_path, [PackedCall(0, [1])], [[0]], [b"f", content], [1])
    assert isinstance(unpacked.sections[1], Extent)
    assert np.frombuffer(unpacked.arguments(0)[0], "u1").nbytes == len(content)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists descriptors there")
def test_sections_that_are_used_no_more_hold_no_file_open(tmp_path: Path) -> None:
    unpacked = travel(tmp_path, [PackedCall(0, [1])], [[0]], [b"f", b"shared"], [1])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        assert bytes(unpacked.arguments(0)[0]) == b"shared"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("forged", [b"forgeD", b"forged!", b"\0", b""])
def test_a_shared_section_must_be_what_the_header_says(tmp_path: Path, forged: bytes) -> None:
    digest = hashlib.sha256(b"forged").hexdigest()
    body = batch.encode({}, [PackedCall(0, [0])], [[0]], [b""], {0: digest})
    (tmp_path / digest).write_bytes(forged)
    with pytest.raises(BadSignature, match=digest):
        batch.decode(*protocol.decode_body(b"".join(body)), tmp_path, Values(tmp_path, KEY))


def test_a_file_is_read_into_memory_that_may_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(b"content")
    assert batch.read(path) == bytearray(b"content")
