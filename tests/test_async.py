"""Executors in async code, under asyncio and trio: no loop is held up, and what is cancelled ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from smexec import Future, Processing, SageMakerExecutor
from smexec.core.errand import Errand
from smexec.core.settings import Settings
from smexec.errors import CallNotPicklable, JobStopped, ScriptError
from smexec.testing import LocalService

both = pytest.mark.anyio


class Slow(Processing):
    """Takes as long to be read as the test wants."""

    def __init__(self, gate: Path, **given: Any) -> None:
        super().__init__(**given)
        self._gate = gate

    def prepare(self, base: Settings) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Errand]:
        self._gate.read_text()
        return super().prepare(base)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def executor(smexec_session: LocalService) -> Iterator[SageMakerExecutor]:
    with smexec_session.environ(), SageMakerExecutor(max_workers=4) as executor:
        yield executor


class Held:
    """A number that is pickled only when it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def __reduce__(self) -> tuple[Any, ...]:
        assert self.let_go.wait(60)
        return int, (7,)


MUCH = bytes(5 << 20)  # what a loop is not to wait for


async def until_running(future: Future[Any]) -> None:
    with anyio.fail_after(60):
        while not future.running():
            await anyio.sleep(0.02)


@both
async def test_a_call_is_awaited(executor: SageMakerExecutor) -> None:
    assert await executor.submit(pow, 2, 3) == 8


@both
async def test_what_is_done_is_awaited_at_once(executor: SageMakerExecutor) -> None:
    future = executor.submit(pow, 2, 3)
    assert await future == 8
    assert await future == 8


@both
async def test_what_a_call_raised_is_raised_where_it_is_awaited(executor: SageMakerExecutor) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        await executor.submit(divmod, 1, 0)
    assert "divmod" in str(caught.value.__cause__) or caught.value.__cause__ is not None


@both
async def test_the_loop_goes_on_while_a_call_is_awaited(executor: SageMakerExecutor, gate: Path) -> None:
    async def let_go() -> None:
        await until_running(future)
        await anyio.to_thread.run_sync(gate.write_text, "end")

    async with anyio.create_task_group() as tasks:
        future = executor.submit(gate.read_text)
        tasks.start_soon(let_go)
        assert await future == "end"


@both
async def test_cancelling_who_awaits_cancels_a_call_that_waits(smexec_service: LocalService) -> None:
    smexec_service.configure(delays={"Starting": 60.0})
    async with SageMakerExecutor() as executor:
        future = executor.submit(time.sleep, 60)
        with anyio.move_on_after(0.2):
            await future
        assert future.cancelled()


@both
async def test_cancelling_who_awaits_stops_a_call_that_runs(smexec_service: LocalService) -> None:
    async with SageMakerExecutor() as executor:
        future = executor.submit(time.sleep, 60)
        await until_running(future)
        with anyio.move_on_after(0.1):
            await future
        error = await anyio.to_thread.run_sync(future.exception)
    assert isinstance(error, JobStopped)


@both
async def test_results_are_iterated_over_in_order(executor: SageMakerExecutor) -> None:
    assert [value async for value in executor.map(abs, range(-3, 0))] == [3, 2, 1]
    assert [value async for value in executor.map(abs, range(0))] == []


@both
async def test_results_are_iterated_over_as_they_come(executor: SageMakerExecutor, tmp_path: Path) -> None:
    def wait_for_file(number: int) -> int:
        while number == 0 and not (tmp_path / "end").exists():
            time.sleep(0.02)
        return number

    came = []
    async for value in executor.map(wait_for_file, range(4), chunksize=1, ordered=False):
        came.append(value)
        if len(came) == 3:
            (tmp_path / "end").touch()
    assert sorted(came) == [0, 1, 2, 3]
    assert came[-1] == 0


@both
async def test_a_buffer_is_refilled_in_async_code_too(executor: SageMakerExecutor) -> None:
    results = executor.map(abs, itertools.count(), buffersize=2)
    async with contextlib.aclosing(results):
        async for value in results:
            if value == 4:
                break


@both
async def test_what_a_call_raised_ends_the_iteration(executor: SageMakerExecutor) -> None:
    results = executor.map(divmod, [1, 1, 1], [1, 0, 1])
    assert await anext(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        await anext(results)
    with pytest.raises(StopAsyncIteration):
        await anext(results)


@both
@pytest.mark.parametrize("ordered", [True, False])
async def test_an_iteration_times_out(smexec_service: LocalService, ordered: bool) -> None:
    smexec_service.configure(delays={"Starting": 60.0})
    async with SageMakerExecutor() as executor:
        with pytest.raises(concurrent.futures.TimeoutError):
            await anext(executor.map(abs, [1], timeout=0.2, ordered=ordered))


@both
async def test_cancelling_an_iteration_stops_its_calls(smexec_service: LocalService) -> None:
    async with SageMakerExecutor(max_workers=2) as executor:
        results = executor.map(time.sleep, [600, 600], chunksize=1)
        with anyio.move_on_after(1.0):
            await anext(results)
    assert "none in flight" in repr(executor)  # long before they would have ended


@both
async def test_a_cancelled_block_is_left_at_once(smexec_service: LocalService) -> None:
    smexec_service.configure(delays={"Starting": 60.0})
    with anyio.move_on_after(0.3):
        async with SageMakerExecutor() as executor:
            future = executor.submit(abs, 1)
            await anyio.sleep(60)
    assert future.cancelled()
    executor.shutdown()


@both
async def test_a_block_that_is_cancelled_while_it_waits_for_its_calls(smexec_service: LocalService) -> None:
    smexec_service.configure(delays={"Starting": 60.0})
    with anyio.move_on_after(0.3):
        async with SageMakerExecutor() as executor:
            future = executor.submit(abs, 1)
    assert future.cancelled()
    executor.shutdown()


def test_gather_and_wait_for(executor: SageMakerExecutor) -> None:
    async def run() -> tuple[list[int], int]:
        return (
            list(await asyncio.gather(executor.submit(pow, 2, 3), executor.submit(pow, 2, 4))),
            await asyncio.wait_for(executor.submit(pow, 2, 5), 60),
        )

    assert asyncio.run(run()) == ([8, 16], 32)


def test_run_in_executor(executor: SageMakerExecutor) -> None:
    async def run() -> int:
        return await asyncio.get_running_loop().run_in_executor(executor, pow, 2, 6)

    assert asyncio.run(run()) == 64


def test_a_future_that_somebody_cancelled_is_cancelled_for_who_awaits_it(
    smexec_service: LocalService,
) -> None:
    smexec_service.configure(delays={"Starting": 60.0})

    async def run(executor: SageMakerExecutor) -> None:
        future = executor.submit(abs, 1)
        assert future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future

    with SageMakerExecutor() as executor:
        asyncio.run(run(executor))


def test_several_loops_share_an_executor(executor: SageMakerExecutor) -> None:
    async def run(number: int) -> list[int]:
        return [value async for value in executor.map(abs, [number, -number])]

    found: dict[int, list[int]] = {}
    loops = [
        threading.Thread(target=lambda number=number: found.update({number: asyncio.run(run(number))}))
        for number in range(3)
    ]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    assert found == {number: [number, number] for number in range(3)}


def test_without_a_loop_awaiting_is_an_error(executor: SageMakerExecutor) -> None:
    waiting = executor.submit(abs, 1).__await__()
    with pytest.raises(RuntimeError, match="no running event loop"):
        next(waiting)


@both
async def test_what_takes_long_to_pickle_holds_up_no_loop(executor: SageMakerExecutor) -> None:
    held = Held()
    future = executor.submit(len, [MUCH, held])
    assert await executor.submit(abs, -1) == 1
    assert future.status == "queued"
    held.let_go.set()
    assert await future == 2


@both
async def test_what_takes_long_and_cannot_be_pickled_is_the_futures_exception(
    executor: SageMakerExecutor,
) -> None:
    future = executor.submit(len, [MUCH, threading.Lock()])
    with pytest.raises(CallNotPicklable, match=r"argument 0 \(list\), at \[1\] \(lock\), cannot be pickled"):
        await future


@both
async def test_a_call_that_is_being_pickled_can_be_cancelled(smexec_service: LocalService) -> None:
    held = Held()
    async with SageMakerExecutor() as executor:
        assert executor.submit(len, [MUCH, held]).cancel()
        held.let_go.set()
    assert smexec_service.requests()["sagemaker.CreateTrainingJob"] == 0


@both
async def test_no_loop_is_held_up_by_what_a_program_has_to_read(
    smexec_service: LocalService, tmp_path: Path, gate: Path
) -> None:
    (tmp_path / "data.csv").write_text("1\n")
    async with SageMakerExecutor(2) as executor:
        report = Slow(gate, command=["true"], inputs={"data": tmp_path / "data.csv"})
        future = executor.submit(report)
        await anyio.to_thread.run_sync(gate.write_text, "go")
        assert (await future).outputs == {}
        results = executor.map(report, [[], []])  # which reads it once
        await anyio.to_thread.run_sync(gate.write_text, "go")
        assert [result.outputs async for result in results] == [{}, {}]


@both
async def test_what_is_wrong_with_a_program_is_the_futures_exception(executor: SageMakerExecutor) -> None:
    future = executor.submit(Processing("none.sh"))
    with pytest.raises(ScriptError, match=r"there is no file none\.sh"):
        await future
