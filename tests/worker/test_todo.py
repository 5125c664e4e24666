from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.core.cargo import _HYPERPARAMETER_LIMIT
from smexec.core.packing import BATCH_CALLS
from smexec.core.run import NAME_LIMIT
from smexec.worker import todo
from smexec.worker.protocol import BadSignature
from tests.worker.conftest import JOB, KEY

FIRST = JOB[:-1] + "0"


@given(st.sets(st.integers(0, BATCH_CALLS - 1)))
def test_the_calls_arrive_as_they_were_told(calls: set[int]) -> None:
    told = todo.read(KEY, JOB, todo.write(KEY, JOB, FIRST, calls))
    assert told == todo.Todo(FIRST, sorted(calls))
    assert told.of(BATCH_CALLS) == sorted(calls)


def test_the_largest_batch_fits_into_a_hyperparameter() -> None:
    longest = "j" * NAME_LIMIT
    assert len(todo.write(KEY, longest, longest, range(BATCH_CALLS))) <= _HYPERPARAMETER_LIMIT


def test_a_job_that_is_told_nothing_runs_all_of_its_own() -> None:
    told = todo.read(KEY, JOB, None)
    assert (told.batch, told.of(3)) == (JOB, [0, 1, 2])


def test_what_another_job_was_told_is_refused() -> None:
    with pytest.raises(BadSignature):
        todo.read(KEY, JOB, todo.write(KEY, FIRST, FIRST, [1]))


def test_what_another_tells_is_refused() -> None:
    with pytest.raises(BadSignature):
        todo.read(KEY, JOB, todo.write(b"another key", JOB, FIRST, [1]))


@given(st.text() | st.binary().map(lambda content: base64.b64encode(content).decode()))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        todo.read(KEY, JOB, text)
