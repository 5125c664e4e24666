"""What map reads, when it starts, and what becomes of what was begun when an iterable fails."""

from __future__ import annotations

import concurrent.futures
import gc
import itertools
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec import SageMakerExecutor
from smexec.results import Arguments, AsTheyCome
from smexec.testing import LocalService


@pytest.mark.parametrize(
    ("iterables", "count", "endless"),
    [
        ([[1, 2, 3]], 3, False),
        ([[1, 2, 3], range(2)], 2, False),
        ([], 0, False),
        ([iter([1])], None, False),
        ([[1, 2], iter([1])], None, False),
        ([[1, 2], itertools.count()], 2, False),
        ([[1, 2], itertools.repeat(0)], 2, False),
        ([itertools.repeat(0, 3)], None, False),
        ([itertools.count()], None, True),
        ([itertools.count(), itertools.cycle([1])], None, True),
    ],
)
def test_how_many_calls_can_be_seen(iterables: list[Iterable[Any]], count: int | None, endless: bool) -> None:
    arguments = Arguments.of_columns(iterables)
    assert (arguments.count, arguments.endless) == (count, endless)


def test_no_more_is_visible_than_the_buffer_holds() -> None:
    assert Arguments.of_columns([range(9)]).visible(4) == 4
    assert Arguments.of_columns([range(3)]).visible(4) == 3
    assert Arguments.of_columns([iter(range(9))]).visible(4) is None
    assert Arguments.of_rows([(1, 2), (3, 4)]).visible(None) == 2


@pytest.mark.parametrize("iterables", [[itertools.count()], [itertools.repeat(1), itertools.cycle("ab")]])
def test_what_has_no_end_needs_a_buffer(iterables: list[Iterable[Any]]) -> None:
    with SageMakerExecutor() as executor, pytest.raises(ValueError, match="no end: give buffersize="):
        executor.map(max, *iterables)


def test_no_result_is_waited_for_once_the_time_is_up() -> None:
    """Python 3.10's SimpleQueue.get() would wait for ever, where it is interrupted at the wrong moment."""
    for _ in range(100_000):
        with pytest.raises(concurrent.futures.TimeoutError):
            AsTheyCome().next(time.monotonic())


def test_calls_start_while_an_iterable_keeps_the_next_one_back(smexec_service: LocalService) -> None:
    """A generator that waits for the first results would wait for ever."""
    first_two = threading.Event()

    def numbers() -> Iterator[int]:
        yield from [1, 2]
        assert first_two.wait(60)
        yield 3

    with SageMakerExecutor(max_workers=2) as executor:
        watch = threading.Thread(target=_when_ended, args=(smexec_service, 2, first_two))
        watch.start()
        assert list(executor.map(abs, numbers())) == [1, 2, 3]
        watch.join()


def _when_ended(service: LocalService, jobs: int, event: threading.Event) -> None:
    service.wait_for_requests(**{"s3.GetObject": jobs})
    event.set()


def test_an_iterable_that_raises_ends_what_was_begun_for_it(
    smexec_service: LocalService, tmp_path: Path
) -> None:
    def numbers() -> Iterator[float]:
        yield 60.0
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        raise ZeroDivisionError("mine")

    def begin(seconds: float) -> None:
        (tmp_path / "begun").touch()
        time.sleep(seconds)

    with SageMakerExecutor() as executor, pytest.raises(ZeroDivisionError, match="mine"):
        executor.map(begin, numbers())
    assert smexec_service.requests()["sagemaker.StopTrainingJob"] == 1


def test_an_argument_that_cannot_be_pickled_ends_what_was_begun_before_it(
    smexec_service: LocalService,
) -> None:
    smexec_service.configure(delays={"Starting": 30.0})
    unpicklable = r"argument 0 \(dict\), at \['key'\] \(lock\), cannot be pickled"
    with SageMakerExecutor() as executor, pytest.raises(TypeError, match=unpicklable):
        executor.map(len, [{}, {"key": threading.Lock()}])
    assert "none in flight" in repr(executor)


def test_calls_go_on_if_nobody_takes_their_results(smexec_service: LocalService, tmp_path: Path) -> None:
    """As in the standard library: some want what calls do to the world, and nothing else."""
    with SageMakerExecutor(max_workers=2) as executor:
        executor.map(lambda number: (tmp_path / str(number)).touch(), range(4))
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2", "3"}


def test_calls_are_cancelled_if_their_results_are_dropped_halfway(
    smexec_service: LocalService, gate: Path
) -> None:
    with SageMakerExecutor(max_workers=1) as executor:
        results = executor.map(Path.read_text, [gate, gate], chunksize=1)
        with gate.open("w"):  # the first is there
            smexec_service.configure(delays={"Starting": 600.0})
        assert next(results) == ""
        del results
    assert "none in flight" in repr(executor)  # long before the second would have started


def test_memory_is_flat_over_many_parameters(smexec_service: LocalService) -> None:
    """However many there are: what is held is the buffer."""
    levels = []
    with SageMakerExecutor(max_workers=2) as executor:
        executor.submit(abs, 0).result()  # imports: each line of them would be traced, and its trace copied
        tracemalloc.start()
        try:
            results = executor.map(abs, itertools.count(), buffersize=1_000)
            for number, result in enumerate(results):
                assert result == number
                if number % 1_000 == 999:
                    while "none in flight" not in repr(executor):  # those that are wait for their results
                        time.sleep(0.01)
                    gc.collect()
                    levels.append(_held_by_smexec())
                if number == 3_999:
                    break
        finally:
            tracemalloc.stop()
        results.close()
    assert levels[-1] - levels[0] < 1_000_000  # bytes: the futures of the calls between take seven times that


def _held_by_smexec() -> int:
    ours = tracemalloc.Filter(True, "*/smexec/*")
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([ours]).traces)


def test_a_future_in_flight_costs_less_than_4_kib(smexec_service: LocalService) -> None:
    smexec_service.configure(delays={"Starting": 60.0})
    calls = 5_000
    with SageMakerExecutor(max_workers=1) as executor:
        executor.submit(abs, 0)  # imports, the loop, its threads
        smexec_service.wait_for_requests(**{"sagemaker.CreateTrainingJob": 1})
        tracemalloc.start()
        try:
            results = executor.map(abs, range(calls))
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        results.close()
        executor.shutdown(cancel_futures=True)
    assert held / calls < 4096


def test_it_is_known_where_reading_runs_no_code_of_the_users() -> None:
    rows = [(1, 2), (3, 4)]
    assert Arguments.of_columns([[1], (2,), range(3), itertools.repeat(4)]).still
    assert Arguments.of_rows(rows).still
    assert not Arguments.of_columns([[1], iter([2])]).still
    assert not Arguments.of_rows(row for row in rows).still
    assert not Arguments.of_rows([(1, 2), (number for number in (3, 4))]).still
