"""What of loading shows without AWS: the digests of large sections."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from smexec.core.work import Function
from smexec.engine.loading import Digests
from smexec.worker.call import dump
from smexec.worker.protocol import Buffer


def sections(value: object) -> list[Buffer]:
    return dump(value)[1:]


def sha256(section: Buffer) -> str:
    return hashlib.sha256(section).hexdigest()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what was hashed."""
    sizes: list[int] = []
    real = hashlib.sha256

    def counting(content: Buffer) -> object:
        sizes.append(memoryview(content).nbytes)
        return real(content)

    monkeypatch.setattr(hashlib, "sha256", counting)
    return sizes


def function() -> Function:
    return Function("f", [], {})


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_hashed_once_for_a_map(hashed: list[int], order: str) -> None:
    array, digests = np.ones((10, 20), order=order), Digests().of(function())  # type: ignore[call-overload]
    calls = [sections(array) for _ in range(5)]
    assert len({digests(section) for (section,) in calls}) == 1
    assert hashed == [array.nbytes]


def test_jobs_of_a_map_share_what_they_know(hashed: list[int]) -> None:
    array, digests, one = np.ones(100), Digests(), function()
    for _ in range(3):
        digests.of(one)(sections(array)[0])
    assert hashed == [array.nbytes]


def test_an_array_that_was_changed_since_the_last_map_is_another() -> None:
    array, digests = np.ones(100), Digests()
    before = digests.of(function())(sections(array)[0])
    array[:] = 2
    after = digests.of(function())(sections(array)[0])
    assert before != after == sha256(array.data)


def test_parts_of_one_array_are_told_apart() -> None:
    array, of = np.arange(100.0), Digests().of(function())
    halves = [array[:50], array[50:]]
    assert [of(sections(half)[0]) for half in halves] == [sha256(half.data) for half in halves]


def test_parts_of_what_is_no_array_are_told_apart() -> None:
    content, of = bytearray(b"a" * 50 + b"b" * 50), Digests().of(function())
    parts = [memoryview(content)[:50], memoryview(content)[50:]]
    assert [of(part) for part in parts] == [sha256(part) for part in parts]


def test_memory_that_was_used_again_is_hashed_again() -> None:
    of = Digests().of(function())
    for number in range(50):
        array = np.full(1000, number)
        (section,) = sections(array)
        assert of(section) == sha256(array.data)
        del array, section


def test_nothing_is_known_of_maps_that_are_gone() -> None:
    digests, one, array = Digests(), function(), np.ones(10)
    digests.of(one)(sections(array)[0])
    assert len(digests._by_function) == 1
    del one
    assert len(digests._by_function) == 0
