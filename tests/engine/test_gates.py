"""Gates without AWS: who asks for an instance, and when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from smexec.core import cadence
from smexec.core.market import Machine
from smexec.engine.gates import Gates

MACHINE = Machine("ml.m5.large", spot=False, instances=1)
OTHER = Machine("ml.m5.large", spot=True, instances=1)


class Account:
    """Has so many instances free.

    :ivar asked: by whom, in turn
    """

    def __init__(self, free: int) -> None:
        self.free = free
        self.asked: list[int] = []

    def asks(self, who: int) -> Callable[[], Awaitable[bool]]:
        async def ask() -> bool:
            await anyio.sleep(0)
            self.asked.append(who)
            if not self.free:
                return False
            self.free -= 1
            return True

        return ask


@pytest.fixture(autouse=True)
def hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks again by himself."""
    monkeypatch.setattr(cadence, "probe_delay", lambda _refusals, alone: 3600.0)


def test_one_asks_while_none_is_free_and_a_landing_lets_the_next_in() -> None:
    async def main() -> list[list[int]]:
        gates, account, seen = Gates(), Account(2), []
        async with anyio.create_task_group() as tasks:
            for who in range(6):
                tasks.start_soon(gates.enter, MACHINE, lambda: True, account.asks(who))
            for _ in range(4):
                await anyio.wait_all_tasks_blocked()
                seen.append(list(account.asked))
                account.free += 1
                gates.landed()
        return [*seen, account.asked]

    assert anyio.run(main) == [
        [0, 1, 2],
        [0, 1, 2, 2, 3],
        [0, 1, 2, 2, 3, 3, 4],
        [0, 1, 2, 2, 3, 3, 4, 4, 5],
        [0, 1, 2, 2, 3, 3, 4, 4, 5, 5],
    ]


def test_a_landing_while_it_is_asked_is_a_reason_to_ask_again() -> None:
    async def main() -> int:
        gates, asked = Gates(), 0

        async def ask() -> bool:
            nonlocal asked
            asked += 1
            if asked == 1:
                gates.landed()
            return asked == 2

        await gates.enter(MACHINE, lambda: True, ask)
        return asked

    assert anyio.run(main) == 2


def test_who_is_not_wanted_any_more_leaves_and_lets_the_next_ask() -> None:
    async def main() -> list[int]:
        gates, account, wanted = Gates(), Account(0), {0, 1, 2}
        async with anyio.create_task_group() as tasks:
            for who in range(3):
                tasks.start_soon(gates.enter, MACHINE, lambda who=who: who in wanted, account.asks(who))
            await anyio.wait_all_tasks_blocked()
            wanted -= {0, 1}
            gates.wake()
            await anyio.wait_all_tasks_blocked()
            account.free = 1
            gates.landed()
        return account.asked

    assert anyio.run(main) == [0, 2, 2]


def test_machines_wait_apart_and_any_landing_may_free_one() -> None:
    async def main() -> list[int]:
        gates, full, free = Gates(), Account(0), Account(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gates.enter, MACHINE, lambda: True, full.asks(1))
            tasks.start_soon(gates.enter, OTHER, lambda: True, free.asks(2))
            await anyio.wait_all_tasks_blocked()
            assert free.asked == [2]
            full.free = 1
            gates.landed()
        return full.asked

    assert anyio.run(main) == [1, 1]


def test_a_refusal_that_is_an_error_does_not_close_the_gate() -> None:
    async def refuse() -> bool:
        raise ValueError("no quota")

    async def main() -> list[int]:
        gates, account = Gates(), Account(1)
        with pytest.raises(ValueError, match="no quota"):
            await gates.enter(MACHINE, lambda: True, refuse)
        await gates.enter(MACHINE, lambda: True, account.asks(1))
        return account.asked

    assert anyio.run(main) == [1]


def test_the_pauses_grow_until_something_lands(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[tuple[int, bool]] = []

    def delay(refusals: int, *, alone: bool) -> float:
        pauses.append((refusals, alone))
        return 0.0 if refusals < 2 else 3600.0

    monkeypatch.setattr(cadence, "probe_delay", delay)

    async def main() -> None:
        gates, account = Gates(), Account(1)
        await gates.enter(MACHINE, lambda: True, account.asks(0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gates.enter, MACHINE, lambda: True, account.asks(1))
            while len(pauses) < 3:
                await anyio.sleep(0)
            await anyio.wait_all_tasks_blocked()
            gates.landed()
            while len(pauses) < 5:
                await anyio.sleep(0)
            account.free = 1

    anyio.run(main)
    assert pauses[:5] == [(0, False), (1, False), (2, False), (0, True), (1, True)]
