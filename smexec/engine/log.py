"""The end of a job's log, for those of its calls that ended without a word of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

_TRIES, _PAUSE = 3, 0.5  # CloudWatch shows a line a moment after it was written

Lines = tuple[str, ...]


class Log:
    """One job's. Many may want it at a time; it is asked for once for all who wait."""

    def __init__(self) -> None:
        self._lines: Lines = ()
        self._asked = 0  # times
        self._asking = anyio.Lock()

    async def tail(self, ask: Callable[[], Awaitable[Lines]]) -> Lines:
        """What ``ask`` gives, asked for by this caller or by another one after this one came."""
        before = self._asked
        async with self._asking:
            if self._asked == before:
                await self._ask(ask)
            return self._lines

    async def _ask(self, ask: Callable[[], Awaitable[Lines]]) -> None:
        """Only the first time it may be too early: a log that stays empty is not waited for again."""
        tries = 1 if self._asked else _TRIES
        for attempt in range(tries):
            await anyio.sleep(_PAUSE if attempt else 0)
            self._asked += 1
            self._lines = await ask()
            if self._lines:
                return
