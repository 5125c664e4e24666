"""What the standard library promises of an Executor, on jobs of the local service, over the real wire."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import operator
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec import Future, SageMakerExecutor
from smexec.errors import CallNotPicklable, SettingsError
from smexec.testing import LocalService


@pytest.fixture(scope="module")
def executor(smexec_session: LocalService) -> Iterator[SageMakerExecutor]:
    with smexec_session.environ(), SageMakerExecutor(max_workers=4) as executor:
        yield executor


class Scaler:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, number: int) -> int:
        return self.factor * number

    def scale(self, number: int) -> int:
        return self.factor * number

    @classmethod
    def double(cls, number: int) -> int:
        return cls(2).scale(number)


class ExitsWhenPickledAgain:
    """The first time is in the container, where it was made; the second is here."""

    def __init__(self, again: bool = False) -> None:
        self.again = again

    def __reduce__(self) -> Any:
        return sys.exit(3) if self.again else (type(self), (True,))


def capture(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        (lambda x: x + 1, (1,), 2),
        (Scaler(3).scale, (2,), 6),
        (Scaler(3), (2,), 6),
        (Scaler.double, (2,), 4),
        (functools.partial(pow, 2), (5,), 32),
        (functools.partial(functools.partial(capture, 1), b=2), (3,), ((1, 3), {"b": 2})),
        (max, (1, 2), 2),
        (str, (1,), "1"),
        (dict, (), {}),
        (operator.itemgetter(1), ([1, 2],), 2),
        ("a-b".split, ("-",), ["a", "b"]),
    ],
)
def test_takes_any_callable(
    executor: SageMakerExecutor, function: Callable[..., Any], args: tuple[Any, ...], value: object
) -> None:
    assert executor.submit(function, *args).result(60) == value


def test_keyword_arguments_may_have_any_name(executor: SageMakerExecutor) -> None:
    assert executor.submit(capture, 1, self=2, fn=3, args=4).result(60) == (
        (1,),
        {"self": 2, "fn": 3, "args": 4},
    )
    with pytest.raises(TypeError):
        executor.submit(fn=capture)  # type: ignore[call-overload]


def test_is_an_executor_and_its_futures_are_futures(executor: SageMakerExecutor) -> None:
    future = executor.submit(pow, 2, 3)
    assert isinstance(executor, concurrent.futures.Executor)
    assert isinstance(future, Future)
    assert isinstance(future, concurrent.futures.Future)
    done, waiting = concurrent.futures.wait([future], timeout=60)
    assert (done, waiting) == ({future}, set())
    assert list(concurrent.futures.as_completed([future])) == [future]
    assert future.status == "succeeded"


def test_can_be_awaited(executor: SageMakerExecutor) -> None:
    async def both() -> list[int]:
        return list(await asyncio.gather(executor.submit(pow, 2, 3), executor.submit(pow, 2, 4)))

    assert asyncio.run(both()) == [8, 16]


def test_async_with_waits_without_blocking_the_loop(smexec_service: LocalService, gate: Path) -> None:
    async def let_go(future: Future[str]) -> None:
        while not future.running():
            await asyncio.sleep(0.01)
        gate.write_text("")

    async def run() -> Future[str]:
        async with SageMakerExecutor() as executor:
            future = executor.submit(gate.read_text)
            letting_go = asyncio.create_task(let_go(future))  # which the leaving waits for
        await letting_go
        return future

    assert asyncio.run(run()).done()


def test_what_the_user_wrote_here_needs_no_module_there(executor: SageMakerExecutor) -> None:
    def whereabouts() -> tuple[str, bool]:
        import sys

        return Scaler.__module__, Scaler.__module__ in sys.modules

    module, imported = executor.submit(whereabouts).result(60)
    assert module == Scaler.__module__
    assert not imported
    result = executor.submit(Scaler, 5).result(60)
    assert type(result) is Scaler  # the class came back as the one that was sent


def test_arrays_may_be_changed_at_both_ends(executor: SageMakerExecutor) -> None:
    numpy = pytest.importorskip("numpy")

    def negate(array: Any) -> Any:
        array *= -1
        return array

    array = numpy.arange(100_000.0)
    result = executor.submit(negate, array).result(60)
    result += 1
    assert (result == 1 - array).all()


# -- map -------------------------------------------------------------------------------------------


def test_map_keeps_the_order(executor: SageMakerExecutor) -> None:
    def wait_and_return(number: int) -> int:
        time.sleep((3 - number) / 10)
        return number

    assert list(executor.map(wait_and_return, range(4))) == [0, 1, 2, 3]
    assert list(executor.map(pow, [2, 3], [3, 2], chunksize=2)) == [8, 9]
    assert list(executor.map(pow, [], [])) == []


def test_map_raises_at_the_place_of_the_call_that_raised(executor: SageMakerExecutor) -> None:
    results = executor.map(divmod, [1, 1, 1], [2, 0, 1])
    assert next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_reads_no_further_than_its_buffer(executor: SageMakerExecutor) -> None:
    read = []

    def numbers() -> Iterator[int]:
        for number in range(6):
            read.append(number)
            yield number

    results = executor.map(abs, numbers(), buffersize=2)
    assert read == [0, 1]
    assert next(results) == 0
    assert read == [0, 1, 2]
    assert list(results) == [1, 2, 3, 4, 5]


def test_map_over_an_endless_iterator_is_cancelled_when_dropped(smexec_service: LocalService) -> None:
    import itertools

    with SageMakerExecutor(max_workers=2) as executor:
        results = executor.map(abs, itertools.count(), buffersize=2)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        results.close()


def test_map_times_out(smexec_service: LocalService) -> None:
    smexec_service.configure(delays={"Starting": 30.0})
    with SageMakerExecutor() as executor:
        results = executor.map(abs, [1], timeout=0.5)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)


@pytest.mark.parametrize("bad", [{"chunksize": 0}, {"buffersize": 0}])
def test_map_refuses_sizes_below_one(executor: SageMakerExecutor, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="size must be"):
        executor.map(abs, [1], **bad)
    with pytest.raises(TypeError):
        executor.map(abs, [1], buffersize="2")  # type: ignore[call-overload]


def test_map_keeps_no_result_that_it_handed_out(executor: SageMakerExecutor) -> None:
    def make(number: int) -> Scaler:
        return Scaler(number)

    for result in executor.map(make, range(3)):
        reference = weakref.ref(result)
        del result
        _collect(reference)


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1])
def test_max_workers_must_be_positive(number: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        SageMakerExecutor(number)


def test_a_misspelt_setting_is_an_error_that_lists_near_ones() -> None:
    with pytest.raises(SettingsError, match="instance_typ'; did you mean instance_type"):
        SageMakerExecutor(instance_typ="ml.m5.large")


def test_what_cannot_be_pickled_is_refused_at_once_and_by_name(smexec_service: LocalService) -> None:
    smexec_service.reset_requests()
    with SageMakerExecutor() as executor:
        with pytest.raises(CallNotPicklable, match=r"argument 1 \(lock\) cannot be pickled"):
            executor.submit(capture, 1, threading.Lock())
        with pytest.raises(CallNotPicklable, match=r"argument key= \(lock\) cannot be pickled"):
            executor.submit(capture, key=threading.Lock())
        assert "none in flight" in repr(executor)
    assert smexec_service.requests()["sagemaker.CreateTrainingJob"] == 0


# -- cancel and stop -------------------------------------------------------------------------------


def test_a_queued_call_can_be_cancelled(smexec_service: LocalService, gate: Path) -> None:
    smexec_service.reset_requests()
    with SageMakerExecutor(max_workers=1) as executor:
        first = executor.submit(gate.read_text)
        second = executor.submit(time.sleep, 30)
        assert second.cancel()
        assert second.cancel()
        done, _ = concurrent.futures.wait([second], timeout=60)  # waiters get to know
        assert done == {second}
        gate.write_text("first")
        assert first.result(60) == "first"
    assert second.job_name is None
    assert smexec_service.requests()["sagemaker.CreateTrainingJob"] == 1


def test_a_starting_call_can_be_cancelled_and_its_job_is_stopped(smexec_service: LocalService) -> None:
    smexec_service.configure(delays={"Starting": 30.0})
    with SageMakerExecutor() as executor:
        future = executor.submit(time.sleep, 30)
        _until(lambda: _status(smexec_service, future.job_name) == "InProgress")
        assert not future.running()
        assert future.cancel()
    smexec_service.wait(str(future.job_name), "Stopping", "Stopped")
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(0)


def test_a_running_call_cannot_be_cancelled_but_stopped(smexec_service: LocalService) -> None:
    from smexec.errors import JobStopped

    with SageMakerExecutor() as executor:
        future = executor.submit(time.sleep, 60)
        _until(future.running)
        assert not future.cancel()
        assert future.status == "running"
        future.stop()
        error = future.exception(60)
    assert isinstance(error, JobStopped)
    assert error.job_name == future.job_name
    assert smexec_service.wait(str(future.job_name))["TrainingJobStatus"] == "Stopped"


def test_stopping_the_last_call_that_is_wanted_stops_the_job(smexec_service: LocalService) -> None:
    with SageMakerExecutor(calls_per_job=2, slots=2) as executor:
        futures = [executor.submit(time.sleep, 60) for _ in range(2)]
        _until(lambda: all(future.running() for future in futures))
        for future in futures:  # one right after the other: the first has not landed by then
            future.stop()
    assert smexec_service.wait(str(futures[0].job_name))["TrainingJobStatus"] == "Stopped"


def test_cancelling_the_task_that_awaits_cancels_the_call(smexec_service: LocalService, gate: Path) -> None:
    async def run(executor: SageMakerExecutor) -> Future[None]:
        executor.submit(gate.read_text)
        future = executor.submit(time.sleep, 60)  # queued behind the first

        async def wait() -> None:
            await future

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return future

    with SageMakerExecutor(max_workers=1) as executor:
        future = asyncio.run(run(executor))
        assert future.cancelled()
        gate.write_text("")


# -- shutdown --------------------------------------------------------------------------------------


def test_submit_after_shutdown_is_an_error() -> None:
    executor = SageMakerExecutor()
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(pow, 2, 2)


def test_shutdown_waits_and_leaves_no_thread(smexec_service: LocalService) -> None:
    before = set(threading.enumerate())
    executor = SageMakerExecutor()
    future = executor.submit(time.sleep, 0.3)
    executor.shutdown()
    assert future.done()
    others = {thread for thread in threading.enumerate() if thread.name != "smexec-closer"} - before
    assert not {thread for thread in others if not thread.name.startswith(("asyncio-portal", "AnyIO"))}


def test_shutdown_may_cancel_what_has_not_started(smexec_service: LocalService, gate: Path) -> None:
    executor = SageMakerExecutor(max_workers=1)
    first = executor.submit(gate.read_text)
    rest = [executor.submit(time.sleep, 30) for _ in range(5)]
    _until(first.running)
    executor.shutdown(wait=False, cancel_futures=True)
    gate.write_text("first")
    executor.shutdown()
    assert first.result(0) == "first"
    assert all(future.cancelled() for future in rest)


def test_a_dropped_executor_is_collected_and_finishes_its_calls(smexec_service: LocalService) -> None:
    executor = SageMakerExecutor()
    future = executor.submit(pow, 2, 3)
    reference = weakref.ref(executor)
    del executor
    _collect(reference)
    assert future.result(60) == 8


def test_keeps_no_reference_to_a_finished_call(executor: SageMakerExecutor) -> None:
    scaler = Scaler(2)
    reference = weakref.ref(scaler)
    future = executor.submit(scaler.scale, 2)
    del scaler
    assert future.result(60) == 4
    _collect(reference)
    finished = weakref.ref(future)
    del future
    _collect(finished)


def test_many_threads_may_submit(executor: SageMakerExecutor) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda number: executor.submit(abs, -number), range(8)))
    assert [future.result(60) for future in futures] == list(range(8))
    assert len({future.job_name for future in futures}) == 8


def test_a_callback_may_submit(executor: SageMakerExecutor) -> None:
    second: concurrent.futures.Future[int] = concurrent.futures.Future()

    def go_on(first: concurrent.futures.Future[int]) -> None:
        executor.submit(pow, first.result(), 2).add_done_callback(lambda f: second.set_result(f.result()))

    executor.submit(pow, 2, 2).add_done_callback(go_on)
    assert second.result(60) == 16


def test_a_callback_that_ends_its_thread_ends_nothing_else(
    executor: SageMakerExecutor, gate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SystemExit ended the loop, and the callbacks after it were left out: what depends on the call, say."""
    future = executor.submit(gate.read_text)
    future.add_done_callback(lambda _: sys.exit(3))
    dependent = executor.submit(capture, future)
    gate.write_text("value")
    assert dependent.result(60) == (("value",), {})
    assert "exception calling callback for <Future" in caplog.text


def test_a_callback_may_shut_down_but_not_wait(smexec_service: LocalService, gate: Path) -> None:
    executor = SageMakerExecutor()
    raised: concurrent.futures.Future[RuntimeError] = concurrent.futures.Future()

    def shut_down(_: object) -> None:
        with pytest.raises(RuntimeError, match=r"shutdown\(wait=False\)") as caught:
            executor.shutdown()
        raised.set_result(caught.value)

    future = executor.submit(gate.read_text)
    future.add_done_callback(shut_down)
    gate.write_text("value")
    assert type(raised.result(60)) is RuntimeError
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    executor.shutdown()


def test_a_callback_may_wait_for_another_executor(executor: SageMakerExecutor) -> None:
    values: concurrent.futures.Future[int] = concurrent.futures.Future()

    def run_another(_: object) -> None:
        with SageMakerExecutor() as another:
            future = another.submit(abs, -2)
        values.set_result(future.result(0))

    executor.submit(abs, -1).add_done_callback(run_another)
    assert values.result(60) == 2


def test_pickling_that_ends_its_thread_is_the_futures_error(executor: SageMakerExecutor, gate: Path) -> None:
    """What is another executor's is pickled anew, on a thread of ours."""

    def value() -> ExitsWhenPickledAgain:
        gate.read_text()
        return ExitsWhenPickledAgain()

    with SageMakerExecutor() as another:
        future = executor.submit(str, another.submit(value))
        gate.write_text("")
        assert isinstance(future.exception(60), SystemExit)
    assert executor.submit(abs, -1).result(60) == 1


# -- looks -----------------------------------------------------------------------------------------


def test_its_repr_is_the_dashboard(smexec_service: LocalService, gate: Path) -> None:
    with SageMakerExecutor(max_workers=1) as executor:
        assert (
            repr(executor) == f"<SageMakerExecutor run={executor.run_id} max_workers=1 calls: none in flight>"
        )
        running, queued = executor.submit(gate.read_text), executor.submit(time.sleep, 0)
        _until(running.running)
        assert "calls: 1 running, 1 queued" in repr(executor)
        assert queued.status == "queued"
        gate.write_text("")


def test_a_call_whose_future_is_done_is_not_in_flight(smexec_service: LocalService) -> None:
    told: list[str] = []
    with SageMakerExecutor() as executor:
        executor.submit(abs, -1).add_done_callback(lambda _: told.append(repr(executor)))
    assert len(told) == 1
    assert "none in flight" in told[0]


def test_its_signature_shows_every_setting() -> None:
    import inspect

    parameters = inspect.signature(SageMakerExecutor).parameters
    assert next(iter(parameters)) == "max_workers"
    assert {"instance_type", "role", "image_uri", "s3_root_uri", "session"} <= set(parameters)


def test_logs_are_what_the_call_printed(executor: SageMakerExecutor) -> None:
    future = executor.submit(print, "one\ntwo")
    future.result(60)
    _until(lambda: future.logs() == ["one", "two"])
    assert future.logs(1) == ["two"]


def _status(service: LocalService, job: str | None) -> str | None:
    if job is None:
        return None
    listed = service.client("sagemaker").list_training_jobs(NameContains=job)["TrainingJobSummaries"]
    return listed[0]["TrainingJobStatus"] if listed else None


def _until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens on another thread; the test's own time-out is the limit."""
    while not condition():
        time.sleep(0.01)


def _collect(reference: weakref.ref[Any]) -> None:
    """The thread that resolved a future may still be leaving ``set_result``."""
    while reference() is not None:
        gc.collect()
        time.sleep(0.01)
