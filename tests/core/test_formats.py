from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from smexec.core.formats import Body, decode, encode
from smexec.errors import FormatError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Nd"])).filter(
    lambda word: word.strip().lower().lstrip("+-") not in {"inf", "nan"}
)
CELLS = st.floats(allow_nan=False) | WORDS


@given(JSON)
def test_json_comes_back_as_it_was(data: Any) -> None:
    assert decode(encode(data)) == data


@given(st.lists(st.lists(CELLS, min_size=1), min_size=1))
def test_rows_come_back_as_they_were(rows: list[list[float | str]]) -> None:
    assert decode(encode(rows, "csv")) == rows


@given(arrays.arrays(arrays.scalar_dtypes().filter(lambda kind: kind.kind in "biuf"), arrays.array_shapes()))
def test_arrays_come_back_as_they_were(array: np.ndarray[Any, Any]) -> None:
    back = decode(encode(array))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")


@given(st.binary())
def test_bytes_are_sent_as_they_are(data: bytes) -> None:
    assert encode(data) == Body(data, "application/octet-stream")
    assert encode(memoryview(data), "image/png") == Body(data, "image/png")
    assert decode(Body(data, "image/png")) == data


def test_what_the_data_is_says_how_it_is_written() -> None:
    assert encode(np.eye(1)).content_type == "application/x-npy"
    assert encode("a") == Body(b'"a"', "application/json")
    frame = pd.DataFrame({"length": [0.5, 0.4], "sex": ["M", "F"]})
    assert encode(frame) == Body(b"0.5,M\n0.4,F\n", "text/csv")
    assert encode(frame, "json").content == b'[{"length": 0.5, "sex": "M"}, {"length": 0.4, "sex": "F"}]'
    assert encode("a,b", "text/csv; charset=utf-8") == Body(b"a,b", "text/csv; charset=utf-8")


@pytest.mark.parametrize("first", [["M", "F"], [None, "nan"], ["1st"], [], ["long" * 50_000]])
def test_rows_that_could_be_taken_for_names_are_said_to_be_none(first: list[Any]) -> None:
    """Our images, and others, take a first row without a number for a header."""
    assert encode([first, [1, 2]], "csv").content_type == "text/csv; header=absent"
    written_by_its_owner = encode("sex,length\nM,0.5\n", "csv")  # who may have names
    assert written_by_its_owner.content_type == "text/csv"


def test_numbers_of_numpy_are_numbers_of_json() -> None:
    assert encode({"a": np.int64(3), "b": np.array([1.5, 2])}).content == b'{"a": 3, "b": [1.5, 2.0]}'


@pytest.mark.parametrize(
    ("data", "written"),
    [
        ([1, 2.5, "a"], b"1,2.5,a\n"),
        (3, b"3\n"),
        (np.array([[1, 2], [3, 4]]), b"1,2\n3,4\n"),
        ([[None]], b'""\n'),
    ],
)
def test_a_flat_list_is_a_row(data: Any, written: bytes) -> None:
    assert encode(data, "csv").content == written


@pytest.mark.parametrize(
    ("data", "content_type", "said"),
    [
        (object(), None, "cannot be written as application/json"),
        ([{"length": 0.5}], "csv", "rows of numbers and texts"),
        (np.array([object()]), None, "cannot be written as application/x-npy"),
        ([1], "application/x-protobuf", "give bytes or a str for application/x-protobuf"),
    ],
)
def test_what_cannot_be_written_is_said(data: Any, content_type: str | None, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        encode(data, content_type)


def test_the_largest_body_is_the_services() -> None:
    assert len(encode(bytes(6_291_456)).content) == 6_291_456
    with pytest.raises(FormatError, match=r"6291457 bytes .* Batch Transform"):
        encode(bytes(6_291_457))


@pytest.mark.parametrize(
    ("content", "content_type", "read"),
    [
        (b"", "application/json", None),
        (b'{"a":1}\n{"a":2}\n', "application/jsonlines", [{"a": 1}, {"a": 2}]),
        (b"[1]", "application/vnd.risk+json", [1]),
        (b"9.3", "text/plain; charset=utf-8", "9.3"),
        (b"1e3,-.5,1_000,0x1\r\n", "TEXT/CSV", [[1000.0, -0.5, "1_000", "0x1"]]),
        (b"9.3", "", b"9.3"),
    ],
)
def test_answers_are_what_they_say_they_are(content: bytes, content_type: str, read: Any) -> None:
    assert decode(Body(content, content_type)) == read


def test_what_is_missing_in_a_table_is_no_text() -> None:
    ((cell,),) = decode(Body(b"nan\n", "text/csv"))
    assert math.isnan(cell)


@pytest.mark.parametrize("content_type", ["application/json", "application/x-npy", "text/csv"])
def test_an_answer_that_is_something_else_is_said(content_type: str) -> None:
    with pytest.raises(FormatError, match=f"not {content_type}, as it says"):
        decode(Body(b'"\xff', content_type))
