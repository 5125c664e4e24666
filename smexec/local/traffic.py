"""The requests that come in: how many of each, and which of them are to fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from smexec.local.config import ServiceConfig
from smexec.local.faults import Fault, Faults
from smexec.local.limits import Rates
from smexec.local.wire import Operation, named_error


class Traffic:
    """Counts requests by API, hands out the faults that were ordered, and holds clients to the rates.

    Attributes:
        counts: number of requests by API, ``service.Operation``; those that were refused count as well.
        faults: the faults that were ordered.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.counts: Counter[str] = Counter()
        self.faults = Faults()
        self._config = config
        self._rates = Rates(config)
        self._grown = asyncio.Event()

    def arrived(self, operation: Operation, text: Callable[[], str]) -> Fault | None:
        """Count a request; the fault that is to hit it. `text` gives what faults may look for in it."""
        self.counts[str(operation)] += 1
        # A new event for each request: whoever waited is woken, whoever comes later waits for the next.
        self._grown.set()
        self._grown = asyncio.Event()
        return self.faults.take(operation, text)

    def check_rate(self, operation: Operation, now: float) -> None:
        """Refuse what is above the rate of its API; `now` in seconds of any steady clock.

        Raises:
            ServiceError: in the words of the operation's protocol.
        """
        if not all(self._rates.allow(name, now) for name in (operation.name, str(operation))):
            raise named_error("throttle", operation, self._config.account)

    async def reached(self, wanted: Mapping[str, int]) -> None:
        """Wait until each API was asked at least that many times."""
        while any(self.counts[name] < count for name, count in wanted.items()):
            await self._grown.wait()
