"""What CPython tests on the insides of its own pools, said again by what can be seen from outside."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
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


def test_cancel_futures(tmp_path: Path) -> None:
    release = tmp_path / "release"
    os.mkfifo(release)

    executor = LocalExecutor(max_workers=1)
    first = executor.submit(release.read_text)
    others = [executor.submit(abs, -1) for _ in range(20)]
    while not first.running():
        time.sleep(0.01)
    releasing = threading.Thread(target=release.write_text, args=["done"])
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
    gc.collect()
    assert dropped() is None


def test_shutdown_no_wait() -> None:
    executor = LocalExecutor(max_workers=3)
    results = executor.map(abs, range(-2, 2))
    executor.shutdown(wait=False)
    assert list(results) == [2, 1, 0, 1]


def test_map_submits_without_iteration(tmp_path: Path) -> None:
    def leave_a_mark(number: int) -> None:
        (tmp_path / str(number)).touch()

    with LocalExecutor(max_workers=3) as executor:
        executor.map(leave_a_mark, range(4))
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2", "3"}


def test_map_chunksize_must_be_positive() -> None:
    with LocalExecutor(max_workers=1) as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, range(4), chunksize=-1)
