from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from smexec.worker import call


def raised(function: Any, *args: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        function(*args)
    return caught.value


def test_buffers_stay_where_they_are() -> None:
    array = np.arange(1000.0)
    sections = call.dump([array, array])
    assert len(sections) == 2  # one pickle, one buffer: the same array is not sent twice
    assert np.shares_memory(np.frombuffer(sections[1], "u1"), array)
    one, other = pickle.loads(sections[0], buffers=sections[1:])
    assert one is other


def test_what_lies_scattered_in_memory_is_gathered() -> None:
    array = np.arange(20.0).reshape(4, 5)[::2, ::2]
    sections = call.dump(array)
    np.testing.assert_array_equal(pickle.loads(sections[0], buffers=sections[1:]), array)


def test_an_exception_as_text() -> None:
    header = call.describe(raised(int, "x"), skip=0)
    assert header["type"] == "ValueError"
    assert header["message"] == "invalid literal for int() with base 10: 'x'"
    assert header["traceback"].endswith(f"ValueError: {header['message']}\n")


def test_frames_that_are_ours_are_left_out() -> None:
    error = raised(lambda: int("x"))
    frames = [call.describe(error, skip)["traceback"].count("  File ") for skip in range(4)]
    assert frames[0] > frames[1] >= 1
    assert frames[-1] == 1  # one is left: where it was raised


def test_an_exception_whose_traceback_cannot_be_formatted() -> None:
    class Hostile(Exception):
        @property
        def __cause__(self) -> BaseException:  # type: ignore[override]
            raise LookupError

        def __str__(self) -> str:
            raise LookupError

    header = call.describe(Hostile())
    assert header["type"].endswith("Hostile")
    assert header["message"] == "<its str() raised LookupError>"
    assert header["traceback"] == "<its traceback could not be formatted: LookupError>\n"
