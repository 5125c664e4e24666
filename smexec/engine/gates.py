"""Waiting for an instance while the account has none free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable

import anyio

from smexec.core import cadence
from smexec.core.market import Machine


class Gates:
    """One for each kind of machine. The first flight in line asks, the others stand behind it.

    What lands may be what any of them waits for: accounts limit the sum over all types, too.
    """

    def __init__(self) -> None:
        self._turns: defaultdict[Machine, anyio.Lock] = defaultdict(anyio.Lock)
        self._news = anyio.Event()
        self._passed = 0  # and not landed

    async def enter(
        self, machine: Machine, wanted: Callable[[], bool], ask: Callable[[], Awaitable[bool]]
    ) -> None:
        """Ask until there is an instance, or none is wanted any more.

        :param ask: gives whether there is
        """
        async with self._turns[machine]:
            refusals = 0
            while wanted():
                news = self._news
                if await ask():
                    self._passed += 1
                    return
                delay = cadence.probe_delay(refusals, alone=not self._passed)
                with anyio.move_on_after(delay) as pause:
                    await news.wait()
                refusals = refusals + 1 if pause.cancelled_caught else 0

    def landed(self) -> None:
        """A job that had passed has ended: its instance is free, or will be soon."""
        self._passed -= 1
        self.wake()

    def wake(self) -> None:
        """Have those who wait look up: what they wait for may not be wanted any more."""
        self._news.set()
        self._news = anyio.Event()
