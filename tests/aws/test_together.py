from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator

import anyio
import pytest

from smexec.aws.together import together

Work = Callable[[], Awaitable[None]]


def test_everything_is_done_so_many_at_a_time() -> None:
    done: list[int] = []
    under_way: set[int] = set()

    async def work(number: int) -> None:
        under_way.add(number)
        assert len(under_way) <= 3
        await anyio.lowlevel.checkpoint()
        under_way.remove(number)
        done.append(number)

    anyio.run(together, (functools.partial(work, number) for number in range(10)), 3)
    assert sorted(done) == list(range(10))


def test_the_first_error_comes_as_itself_and_ends_the_rest() -> None:
    ended: list[str] = []

    async def fail() -> None:
        raise KeyError("this one")

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("waiting")

    def works() -> Iterator[Work]:
        yield wait
        yield fail
        yield wait  # pragma: no cover - nobody asks for it

    with pytest.raises(KeyError, match="this one"):
        anyio.run(together, works(), 2)
    assert ended == ["waiting"]


def test_works_that_cannot_be_had_are_an_error() -> None:
    def works() -> Iterator[Work]:
        yield anyio.lowlevel.checkpoint
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        anyio.run(together, works(), 2)


def test_whoever_ends_it_ends_all() -> None:
    async def main() -> None:
        with anyio.move_on_after(0):
            await together([anyio.sleep_forever] * 2, 2)
            raise AssertionError("it went on")

    anyio.run(main)
