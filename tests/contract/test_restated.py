"""What CPython tests on the insides of its own pools, said again by what can be seen from outside."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent import futures
from pathlib import Path
from pickle import PicklingError

import pytest
from executors import LocalExecutor

from smexec.errors import CallNotPicklable


class ErrorAtPickle:
    def __reduce__(self) -> tuple[object, ...]:
        raise PicklingError("Error in pickle")


def test_error_at_task_pickle() -> None:
    with LocalExecutor(max_workers=2) as executor:
        with pytest.raises(CallNotPicklable):
            executor.submit(id, ErrorAtPickle())
        assert executor.submit(abs, -1).result() == 1


def test_context_manager_shutdown() -> None:
    with LocalExecutor(max_workers=5) as executor:
        assert list(executor.map(abs, range(-2, 2))) == [2, 1, 0, 1]
    with pytest.raises(RuntimeError):
        executor.submit(abs, 1)


def test_cancel_futures(gate: Path) -> None:
    executor = LocalExecutor(max_workers=1)
    first = executor.submit(gate.read_text)
    others = [executor.submit(abs, -1) for _ in range(20)]
    while not first.running():
        time.sleep(0.01)

    def release() -> None:
        while not all(future.cancelled() for future in others):
            time.sleep(0.01)
        gate.write_text("done")

    releasing = threading.Thread(target=release)
    releasing.start()
    executor.shutdown(cancel_futures=True)
    releasing.join()
    assert first.result() == "done"
    assert all(future.cancelled() for future in others)


def test_results_are_computed_after_the_executor_was_dropped() -> None:
    executor = LocalExecutor(max_workers=3)
    dropped = weakref.ref(executor)
    results = executor.map(abs, range(-2, 2))
    del executor
    assert list(results) == [2, 1, 0, 1]
    del results
    while dropped() is not None:  # until the thread that has brought the last result lets go of it
        gc.collect()
        time.sleep(0.01)


def test_shutdown_no_wait() -> None:
    executor = LocalExecutor(max_workers=3)
    results = executor.map(abs, range(-2, 2))
    executor.shutdown(wait=False)
    assert list(results) == [2, 1, 0, 1]


def test_map_timeout(gate: Path) -> None:
    with LocalExecutor(max_workers=3) as executor:
        results = executor.map(read_last, range(3), [gate] * 3, timeout=0.1)
        *first, last = results._waiting
        futures.wait(first)  # a result that is there comes, though time is over
        while not last.running():  # or it would be cancelled
            time.sleep(0.01)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(futures.TimeoutError):
            next(results)
        gate.write_text("")


def read_last(number: int, gate: Path) -> int:
    if number == 2:
        gate.read_text()
    return number


def test_first_exception(gate: Path, tmp_path: Path) -> None:
    with LocalExecutor(max_workers=3) as executor:
        first = executor.submit(abs, -1)
        failing = executor.submit(fail_after, tmp_path / "first")
        last = executor.submit(gate.read_text)
        futures.wait([first])
        (tmp_path / "first").touch()
        finished, pending = futures.wait([first, failing, last], return_when=futures.FIRST_EXCEPTION)
        assert (finished, pending) == ({first, failing}, {last})
        gate.write_text("")


def fail_after(first: Path) -> None:
    while not first.exists():
        time.sleep(0.01)
    raise ValueError


def test_map_submits_without_iteration(tmp_path: Path) -> None:
    def leave_a_mark(number: int) -> None:
        (tmp_path / str(number)).touch()

    with LocalExecutor(max_workers=3) as executor:
        executor.map(leave_a_mark, range(4))
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2", "3"}


def test_map_chunksize_must_be_positive() -> None:
    with LocalExecutor(max_workers=1) as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, range(4), chunksize=-1)
