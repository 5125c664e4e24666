"""Several things at a time, and one error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio


async def together(works: Iterable[Callable[[], Awaitable[None]]], at_a_time: int) -> None:
    """Do all of it. The first error ends the rest, and is raised as itself rather than in a group.

    :param works: each is taken when its turn comes
    """
    waiting = iter(works)
    failures: list[Exception] = []

    async def take_turns() -> None:
        try:
            for work in waiting:
                await work()
        except Exception as error:
            failures.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(at_a_time):
            tasks.start_soon(take_turns)
    if failures:
        raise failures[0]
