"""What type checkers make of ``await`` and ``async for``."""

from __future__ import annotations

import asyncio

from typing_extensions import assert_type

from smexec import SageMakerExecutor


def describe(number: int) -> str:
    return str(number)


def double(number: int) -> int:
    return 2 * number


async def what_await_gives(executor: SageMakerExecutor) -> None:
    assert_type(await executor.submit(describe, 3), str)
    assert_type(await asyncio.wait_for(executor.submit(describe, 3), 60), str)
    gathered = await asyncio.gather(executor.submit(describe, 3), executor.submit(double, 3))
    assert_type(gathered, tuple[str, int])
    assert_type(await asyncio.wrap_future(executor.submit(describe, 3)), str)
    assert_type(await asyncio.get_running_loop().run_in_executor(executor, describe, 3), str)


async def what_async_for_yields(executor: SageMakerExecutor) -> None:
    async with executor as entered:
        assert_type(entered, SageMakerExecutor)
    async for text in executor.map(describe, [1, 2]):
        assert_type(text, str)
    assert_type([number async for number in executor.starmap(double, [(1,), (2,)])], list[int])


async def what_cannot_be_awaited(executor: SageMakerExecutor) -> None:
    await executor.map(describe, [1, 2])  # type: ignore[misc]
